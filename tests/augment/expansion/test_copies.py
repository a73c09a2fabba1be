"""Number of copies of each record."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from augment.errors import CallError, DatasetError, OutputError
from augment.expansion import copies
from augment.expansion.expand import Expansion, expand_dataset
from augment.expansion.options import Copies
from augment.expansion.verify import verify_expansion
from tests.augment.expansion.annotated_for_tests import lay_voc
from tests.augment.expansion.expansions_for_tests import PIPELINE, content, identities, lay_noise, rows

pytestmark = pytest.mark.usefixtures("nothing_left")

NAMES = [f"cat/{i}.jpg" for i in range(7)] + [f"dog/{i}.jpg" for i in range(3)] + ["owl/0.jpg"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return lay_noise(tmp_path / "unequal", NAMES)


def by_class(out: Path) -> dict[str, int]:
    return Counter(path.parent.name for path in out.rglob("*.jpg"))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("4", 4),
        ("cat=4,dog=2", {"cat": 4, "dog": 2}),
        ("*=1,cat=4", {"*": 1, "cat": 4}),
        ('{"a,b": 2, "c=d": 1}', {"a,b": 2, "c=d": 1}),
        ("x=y=3", {"x=y": 3}),
        ("balance", "balance"),
        ("balance:500", "balance:500"),
    ],
)
def test_rule_is_read_from_the_command_line(text: str, rule: Copies) -> None:
    assert copies.parse(text) == rule


@pytest.mark.parametrize("text", ["", "four", "cat", "cat=", "cat=x", "=3", "cat=1,cat=2", "balance:", "balance:0"])
def test_text_that_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(CallError, match=r"copies is .*give a number like 4"):
        copies.parse(text)


@pytest.mark.parametrize(
    ("text", "named"), [("{", "copies: not JSON"), ('{"a": 1, "a": 2}', r"copies\['a'\]: .* twice")]
)
def test_json_that_means_two_things_is_no_rule(text: str, named: str) -> None:
    with pytest.raises(CallError, match=named):
        copies.parse(text)


@pytest.mark.parametrize(
    ("copies", "include_originals", "wanted"),
    [
        ({"cat": 1, "dog": 3, "owl": 0}, False, {"cat": 7, "dog": 9}),
        ({"owl": 5, "*": 1}, True, {"cat": 14, "dog": 6, "owl": 6}),
        ("balance", False, {"cat": 7, "dog": 7, "owl": 7}),
        ("balance", True, {"cat": 7, "dog": 7, "owl": 7}),
        ("balance:10", False, {"cat": 10, "dog": 10, "owl": 10}),
        ("balance:10", True, {"cat": 10, "dog": 10, "owl": 10}),
        ("balance:2", False, {"cat": 2, "dog": 2, "owl": 2}),
    ],
)
def test_classes_have_exactly_what_the_rule_says(
    data: Path, out: Path, copies: Copies, include_originals: bool, wanted: dict[str, int]
) -> None:
    expansion = Expansion(data, out, PIPELINE, copies=copies, include_originals=include_originals)
    assert {one.class_name: one.num_after for one in expansion.plan().classes if one.num_after} == wanted
    summary = expansion.run()
    assert by_class(out) == wanted
    assert summary.num_rendered + summary.num_originals == sum(wanted.values()) == expansion.spec.num_outputs
    assert verify_expansion(out, data).ok
    per_record = Counter((row["class"], row["key"]) for row in rows(out) if row["status"] != "skipped")
    for name in wanted if isinstance(copies, str) else ():
        numbers = [per_record[name, key.removesuffix(".jpg")] for key in NAMES if key.startswith(name)]
        assert max(numbers) - min(numbers) <= 1, "copies are spread evenly"
    assert expand_dataset(data, out, PIPELINE, copies=copies, include_originals=include_originals).nothing_to_do


def test_copies_go_by_the_number_of_the_copy_whatever_the_rule(data: Path, tmp_path: Path) -> None:
    expand_dataset(data, tmp_path / "balanced", PIPELINE, copies="balance")
    expand_dataset(data, tmp_path / "plain", PIPELINE, copies=7)
    plain = content(tmp_path / "plain")
    balanced = {name: data for name, data in content(tmp_path / "balanced").items() if name.endswith(".jpg")}
    assert len(balanced) == 21
    assert balanced.items() <= plain.items()


def test_update_keeps_what_stays_the_same(data: Path, out: Path, tmp_path: Path) -> None:
    expand_dataset(data, out, PIPELINE, copies="balance:40")
    before = identities(out)
    lay_noise(data, [f"cat/new {i}.jpg" for i in range(2)])
    with pytest.raises(OutputError, match="the dataset changed"):
        expand_dataset(data, out, PIPELINE, copies="balance:40")
    plan = Expansion(data, out, PIPELINE, copies="balance:40", update=True).plan()
    summary = expand_dataset(data, out, PIPELINE, copies="balance:40", update=True)
    assert (plan.num_kept, plan.num_removed) == (summary.num_kept, summary.num_removed)
    after = identities(out)
    assert by_class(out) == {"cat": 40, "dog": 40, "owl": 40}
    kept = {name for name in before if after.get(name) == before[name]}
    assert {name for name in before if not name.startswith("cat/")} <= kept
    assert len(kept) == summary.num_kept >= 80 + 7 * 4
    expand_dataset(data, tmp_path / "fresh", PIPELINE, copies="balance:40")
    assert content(out) == content(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("copies", "arguments", "told"),
    [
        ({"cat": 1}, {}, r"how many class 'dog' get; add dog=N, or \*=N"),
        ({"cat": 1, "*": 1, "bird": 2}, {}, "class 'bird', which .* does not have; it has cat, dog, owl"),
        ({"cat": -1, "*": 1}, {}, r"copies of 'cat' is -1; it must be an integer in \[0, 10000\]"),
        ({"*": 0}, {}, "no record gets a copy"),
        ({}, {}, "give a number, an object"),
        ("balanced", {}, "copies is 'balanced'"),
        ("balance:5", {"include_originals": True}, "class 'cat' already has 7 images.*at least balance:7"),
        ("balance:20000", {}, "20000 copies of the 1 images of class 'owl'; at most 10000"),
        (True, {}, "copies is True"),
        (0, {}, "copies is 0, which only converts: include the originals"),
    ],
)
def test_rules_that_cannot_hold_are_refused(
    data: Path, out: Path, copies: Any, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(CallError, match=told):
        Expansion(data, out, PIPELINE, copies=copies, **arguments)


def test_images_without_a_class_cannot_be_balanced(data: Path, out: Path) -> None:
    lay_noise(data, ["stray.jpg"])
    with pytest.raises(DatasetError, match="1 image without a class, stray the first"):
        Expansion(data, out, PIPELINE, copies="balance")
    expand_dataset(data, out, PIPELINE, copies={"*": 2, "cat": 0, "dog": 0})
    assert {path.name for path in out.rglob("*.jpg")} == {"0__0.jpg", "0__1.jpg", "stray__0.jpg", "stray__1.jpg"}


def test_images_with_several_objects_cannot_be_balanced(tmp_path: Path, out: Path) -> None:
    data = lay_voc(tmp_path / "voc", {"train": ["a1", "a2"]})
    for rule in ("balance", {"cell": 2, "*": 1}):
        with pytest.raises(DatasetError, match=r"no single class each \(their targets are boxes, mask\).*one number"):
            Expansion(data, out, PIPELINE, copies=rule)


def test_balance_counts_the_splits_that_are_augmented(tmp_path: Path, out: Path) -> None:
    names = ["train/cat/1.jpg", "train/cat/2.jpg", "train/dog/3.jpg", *(f"val/dog/{i}.jpg" for i in range(5))]
    expand_dataset(lay_noise(tmp_path / "data", names), out, PIPELINE, copies="balance")
    assert Counter(str(path.parent.relative_to(out)) for path in out.rglob("*.jpg")) == {
        "train/cat": 2,
        "train/dog": 2,
        "val/dog": 5,
    }
