"""Arguments of the wrong kind for public names: always an immediate CallError with the argument's name."""

import json
import pickle
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import augment
from augment import validation
from augment.cli import expand
from augment.errors import AugmentError, CallError, JSONError
from augment.workers.pool import NUM_MAX
from tests.augment.expansion.expansions_for_tests import lay_noise

IMAGE = np.zeros((8, 8, 3), np.uint8)
PIPELINE = augment.Pipeline.parse("transforms: [HorizontalFlip]")
HALF = "\ud800"
WRONG: Any = 3
NO_INTEGERS = [1.5, "1", None, True, np.float32(1), [1], -1, 2**64, float("nan")]
NO_TEXT = [None, 3, b"cat", HALF]
NO_PATHS: list[Any] = [None, 3, b"photos", "", "a\0b", ["photos"]]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_noise(tmp_path_factory.mktemp("few") / "photos", ["cat/1.jpg", "cat/2.jpg", "dog/3.jpg"])


@pytest.fixture(scope="module")
def dataset(photographs: Path) -> augment.Dataset:
    return augment.scan(photographs)


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("image", "remedy"),
    [
        (IMAGE[:, :, 0], "numpy.stack([image] * 3, axis=-1)"),
        (IMAGE[:, :, :1], "numpy.repeat(image, 3, axis=2)"),
        (np.zeros((8, 8, 4), np.uint8), "image[:, :, :3]"),
        (IMAGE.transpose(2, 0, 1), "image.transpose(1, 2, 0)"),
        (IMAGE[None], "one image after another"),
        (IMAGE.astype(np.float32), "(image * 255).round()"),
        (IMAGE.astype(np.int64), "image.astype(numpy.uint8)"),
        (IMAGE[:0], "augment.decode_image"),
        (None, "not None; augment.decode_image"),
        ("cat.jpg", "not 'cat.jpg'; augment.decode_image"),
        (b"\xff\xd8", "augment.decode_image"),
        ([[1, 2], [3]], "give an array"),
        (Unspeakable(), "not a Unspeakable; "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_image_of_the_wrong_kind_has_its_remedy(image: Any, remedy: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: PIPELINE(image),
        lambda: PIPELINE(augment.Sample(image)),
        lambda: augment.encode_image(image, "png"),
        lambda: augment.contact_sheet([image]),
    ]
    for call in calls:
        with pytest.raises(CallError, match=re.escape("an image is uint8 (H, W, 3) RGB, not ")) as caught:
            call()
        assert remedy in str(caught.value)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"mask": IMAGE}, r"mask is integers \(8, 8, 3\); it must be integers \(H, W\)"),
        ({"mask": IMAGE[:, :, 0].astype(float)}, r"mask is floats \(8, 8\)"),
        ({"mask": "mask.png"}, "mask is <U8"),
        ({"boxes": np.zeros((2, 5))}, r"boxes is floats \(2, 5\); it must be numbers \(N, 4\)"),
        ({"boxes": [[1, 2], [3]]}, r"boxes is \[\[1, 2\], \[3\]\]; it must be numbers"),
        ({"boxes": np.zeros((2, 4)), "box_labels": np.zeros(3, int)}, "box_labels has 3 rows for 2 boxes"),
        ({"boxes": np.zeros((1, 4)), "box_labels": ["cat"]}, "box_labels is <U3"),
        ({"box_labels": np.zeros(3, int)}, "box_labels has 3 rows for 0 boxes"),
        ({"keypoints": np.zeros((2, 3))}, r"keypoints is floats \(2, 3\); it must be numbers \(N, 2\)"),
        ({"label": "cat"}, "label is 'cat'"),
    ],
)
def test_targets_of_the_wrong_kind_are_named(target: dict[str, Any], message: str) -> None:
    with pytest.raises(CallError, match=message):
        PIPELINE(augment.Sample(IMAGE, **target))


def test_lists_are_taken_for_targets_and_the_sample_is_left_alone() -> None:
    sample = augment.Sample(IMAGE, boxes=[[1, 2, 3, 4]], box_labels=[5], keypoints=[[1, 1]])  # type: ignore[arg-type]
    result = PIPELINE(sample, seed=1)
    assert result.boxes is not None
    assert result.boxes.shape == (1, 4)
    assert result.box_labels is not None
    assert result.box_labels.tolist() == [5]
    assert sample.boxes == [[1, 2, 3, 4]]


@pytest.mark.parametrize("value", [*NO_INTEGERS, Unspeakable()], ids=lambda value: f"{type(value).__name__}")
def test_numbers_that_are_none_are_refused_by_name(
    value: Any, dataset: augment.Dataset, photographs: Path, tmp_path: Path
) -> None:
    stream = augment.Stream(dataset, PIPELINE, batch_size=1)
    out = tmp_path / "out"
    calls: dict[str, list[Callable[[], object]]] = {
        "seed": [
            lambda: PIPELINE(IMAGE, seed=value),
            lambda: augment.Stream(dataset, PIPELINE, seed=value),
            lambda: augment.expand_dataset(photographs, out, PIPELINE, seed=value),
        ],
        "draw": [lambda: PIPELINE(IMAGE, draw=value)],
        "view": [lambda: PIPELINE(IMAGE, view=value)],
        "copies": [lambda: augment.expand_dataset(photographs, out, PIPELINE, copies=value)],
        "quality": [
            lambda: augment.encode_image(IMAGE, "jpeg", value),
            lambda: augment.expand_dataset(photographs, out, PIPELINE, quality=value),
        ],
        "batch_size": [lambda: augment.Stream(dataset, PIPELINE, batch_size=value)],
        "epoch": [
            lambda: stream.batch(value, 0),
            lambda: stream.batches(value),
            lambda: stream.sample(value, "cat/1"),
        ],
        "index|batch": [lambda: stream.batch(0, value)],
        "rank": [lambda: stream.batch(0, 0, rank=value), lambda: stream.batches(0, rank=value)],
        "world_size": [lambda: stream.batch(0, 0, world_size=value), lambda: stream.batches(0, world_size=value)],
        "start": [lambda: stream.batches(0, value)],
        "record": [lambda: dataset.record(value), lambda: dataset.keys([value]), lambda: dataset.records([value])],
        "max_pixels": [
            lambda: augment.decode_image(b"", max_pixels=value),
            lambda: augment.scan(photographs, max_pixels=value),
        ],
        "cell_px": [lambda: augment.contact_sheet([IMAGE], cell_px=value)],
    }
    if value is not None:
        calls |= {
            "num_workers": [lambda: augment.LocalWorkers(value)],
            "max_tasks": [lambda: augment.LocalWorkers(1, max_tasks=value)],
            "max_files": [lambda: augment.scan(photographs, max_files=value)],
            "stop": [lambda: stream.batches(0, 0, value)],
            "columns": [lambda: augment.contact_sheet([IMAGE], columns=value)],
        }
    large = {"max_pixels", "max_tasks", "max_files", "columns", "stop"}  # as large as one likes
    flagged = {"record"}  # True is a place, as in any list of Python's
    for name, some in calls.items():
        if (name in large and value == 2**64) or (name in flagged and value is True):
            continue
        for call in some:
            with pytest.raises(CallError, match=rf"^({name})\b"):
                call()
    assert not out.exists()


@pytest.mark.parametrize("value", NO_TEXT, ids=ascii)
def test_texts_that_are_none_are_refused_by_name(value: Any, dataset: augment.Dataset, photographs: Path) -> None:
    calls: dict[str, list[Callable[[], object]]] = {
        "key": [lambda: PIPELINE(IMAGE, key=value)],
        "name": [lambda: augment.Pipeline.parse("[]", name=value)],
        "image_format": [lambda: augment.encode_image(IMAGE, value)],
        "title": [lambda: augment.contact_sheet([IMAGE], title=value)],
        r"labels\[0\]": [lambda: augment.contact_sheet([IMAGE], [value])],
    }
    if value is not None:
        calls |= {
            "split": [lambda: dataset.choose(value), lambda: augment.Stream(dataset, PIPELINE, split=value)],
            "format": [lambda: augment.scan(photographs, format=value)],
        }
    for name, some in calls.items():
        for call in some:
            with pytest.raises(CallError, match=rf"^{name} is "):
                call()
    if not isinstance(value, str):
        with pytest.raises(CallError, match=r"^key is "):
            dataset.find(value)
        with pytest.raises(CallError, match=r"^text is .*; give YAML or JSON as text"):
            augment.Pipeline.parse(value)


@pytest.mark.parametrize("value", NO_PATHS, ids=ascii)
def test_paths_that_are_none_are_refused_by_name(
    value: Any, dataset: augment.Dataset, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    calls: dict[str, list[Callable[[], object]]] = {
        "root": [lambda: augment.scan(value)],
        "dataset": [
            lambda: augment.Stream(value, PIPELINE),
            lambda: augment.expand_dataset(value, "out", PIPELINE),
        ],
        "out": [lambda: augment.expand_dataset(photographs, value, PIPELINE), lambda: augment.verify_expansion(value)],
        "path": [lambda: augment.Dataset.open(value), lambda: dataset.save(value)],
    }
    if value is not None:
        calls["dataset"].append(lambda: augment.verify_expansion("out", value))
        calls["sink"] = [lambda: augment.scan(photographs, sink=value)]
    for name, some in calls.items():
        for call in some:
            with pytest.raises(CallError, match=rf"^{name} is .*; it must be .*, as text or as a pathlib\.Path$"):
                call()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(AugmentError):
        augment.Pipeline.load(value)


@pytest.mark.parametrize("value", [None, 3, b"light", {"transforms": []}, ["HorizontalFlip"], object()])
def test_pipelines_that_are_none_are_refused_before_the_scan(value: Any, photographs: Path, tmp_path: Path) -> None:
    for call in (
        lambda: augment.Stream(tmp_path / "nowhere", value),
        lambda: augment.expand_dataset(photographs, tmp_path / "out", value),
        lambda: augment.Pipeline.load(value),
    ):
        with pytest.raises(CallError, match=r"pipeline is .*; give .*the name of a preset or the path of a file"):
            call()
    with pytest.raises(CallError, match=r"^spec is .*; read a pipeline with Pipeline\.load"):
        augment.Pipeline(value)


@pytest.mark.parametrize("value", [2, True, "4", [], object()])
def test_workers_that_are_none_are_refused_where_they_are_given(
    value: Any, dataset: augment.Dataset, photographs: Path, tmp_path: Path
) -> None:
    for call in (
        lambda: augment.Stream(dataset, PIPELINE, workers=value),
        lambda: augment.expand_dataset(photographs, tmp_path / "out", PIPELINE, workers=value),
        lambda: augment.verify_expansion(tmp_path, workers=value),
    ):
        with pytest.raises(CallError, match=r"^workers is .*; give augment\.LocalWorkers\("):
            call()
    with pytest.raises(CallError, match=r"give augment\.LocalWorkers\(2\), or None"):
        augment.Stream(dataset, PIPELINE, workers=2)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [1, 0, "yes", None, []])
def test_flags_that_are_none_are_refused_by_name(
    value: Any, dataset: augment.Dataset, photographs: Path, tmp_path: Path
) -> None:
    streams: dict[str, Callable[[], object]] = {
        "shuffle": lambda: augment.Stream(dataset, PIPELINE, shuffle=value),
        "drop_last": lambda: augment.Stream(dataset, PIPELINE, drop_last=value),
    }
    calls: dict[str, Callable[[], object]] = {
        "include_originals": lambda: augment.expand_dataset(
            photographs, tmp_path / "out", PIPELINE, include_originals=value
        ),
        "update": lambda: augment.expand_dataset(photographs, tmp_path / "out", PIPELINE, update=value),
    }
    calls |= {} if value is None else streams  # None follows the split
    for name, call in calls.items():
        with pytest.raises(CallError, match=rf"^{name} is .*; it must be True or False$"):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda _: augment.decode_image("cat.jpg"), r"^data is 'cat\.jpg'; give the bytes of a file"),  # type: ignore[arg-type]
        (lambda _: augment.decode_image(None), "^data is None"),  # type: ignore[arg-type]
        (lambda _: augment.decode_image(b"", eighths=4), "^eighths is 4; it must be a function"),  # type: ignore[arg-type]
        (lambda _: augment.contact_sheet(None), "^images is None; give a list"),  # type: ignore[arg-type]
        (lambda _: augment.contact_sheet([IMAGE], "a"), "^labels is 'a'; give a list"),
        (lambda _: augment.Dataset(None), "^source is None; Dataset.open reads"),  # type: ignore[arg-type]
        (lambda _: augment.Dataset.from_buffer(b""), "^buffer is b''; give to_buffer's result"),
        (lambda dataset: dataset.read("cat/1"), "^record is 'cat/1'; give one of this dataset's records"),
        (lambda dataset: dataset.keys(3), "^indices is 3; give a list"),
        (lambda dataset: augment.scan(dataset.root, progress=WRONG), "^progress is 3; it must be a function"),
        (lambda _: augment.LocalWorkers(1, record_timeout_s="1"), "^record_timeout_s is '1'"),  # type: ignore[arg-type]
        (lambda _: augment.LocalWorkers(1, record_timeout_s=float("nan")), "^record_timeout_s is nan"),
        (lambda _: augment.LocalWorkers(1, preload="numpy"), "^preload is 'numpy'; give a list"),
        (lambda _: augment.LocalWorkers(NUM_MAX + 1), r"^num_workers is 1025; it must be an integer in \[1, 1024\]"),
    ],
)
def test_anything_else_is_refused_by_name(
    call: Callable[[augment.Dataset], object], message: str, dataset: augment.Dataset
) -> None:
    with pytest.raises(CallError, match=message):
        call(dataset)


@pytest.mark.parametrize("value", [True, "3", float("nan"), 1.0, 0.0, [], -1])
def test_budget_that_is_none_is_refused_by_name(value: Any, photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(CallError, match=r"^max_failures is .*; give a count like 10, or a fraction"):
        augment.expand_dataset(photographs, tmp_path / "out", PIPELINE, max_failures=value)
    assert not (tmp_path / "out").exists()


def test_numbers_of_numpy_are_as_good_as_others(dataset: augment.Dataset, photographs: Path, tmp_path: Path) -> None:
    stream = augment.Stream(dataset, PIPELINE, seed=np.int64(3), batch_size=np.uint8(2), shuffle=np.True_)  # type: ignore[arg-type]
    plain = augment.Stream(dataset, PIPELINE, seed=3, batch_size=2)
    assert stream.id == plain.id
    place: Any = (np.int32(1), np.int64(0))
    np.testing.assert_array_equal(stream.batch(*place).images, plain.batch(1, 0).images)
    numbers: Any = {"copies": np.int64(2), "seed": np.uint64(2**64 - 1), "max_failures": np.int32(3)}
    assert augment.expand_dataset(photographs, tmp_path / "out", PIPELINE, **numbers).num_rendered == 6


def test_machine_that_starts_fewer_workers_says_so_and_keeps_none(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    start = threading.Thread.start

    def scarce(thread: threading.Thread) -> None:
        if thread.name == "augment-worker-2":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    with pytest.raises(
        CallError, match=r"num_workers is 5 and this machine starts 2 \(can't start new thread\); give fewer"
    ):
        augment.LocalWorkers(5)
    assert threading.active_count() == before


def test_command_bounds_workers_as_the_library_does() -> None:
    with pytest.raises(CallError, match=f"at most {NUM_MAX},"):
        expand._check_workers(NUM_MAX + 1)
    assert expand._check_workers(NUM_MAX) == NUM_MAX


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a\nb", r"'a\nb'"),
        (HALF, r"'\ud800'"),
        ("é", "'é'"),
        ("x" * 99, f"'{'x' * 58}…"),
        (b"x" * 99, f"b'{'x' * 57}…"),
        (["é", None, 1.5], "['é', None, 1.5]"),
        ({"a": Path("b")}, "{'a': PosixPath('b')}"),
        (Path("a\nb"), r"'a\nb'"),
        (np.int64(3), "np.int64(3)"),
        (np.eye(2), "array([[1., 0.], [0., 1.]])"),
        (Unspeakable(), "a Unspeak"),
    ],
)
def test_value_in_a_message_is_short_and_can_be_written(value: object, words: str) -> None:
    text = validation.quoted(value)
    assert text.startswith(words)
    assert text.isprintable()
    assert len(text.encode()) < 70


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a\nb", r'"a\nb"'),
        (HALF, r'"\ud800"'),
        ([True, None, "é"], '[true, null, "é"]'),
        (float("nan"), "NaN"),
        ({1}, "{1}"),
        ("x" * 99, f'"{"x" * 58}…'),
    ],
)
def test_value_of_a_document_is_spelled_as_json(value: object, words: str) -> None:
    assert validation.quoted_json(value) == words


def test_name_in_a_message_is_short_and_without_quotes() -> None:
    assert validation.abridged(f"a\n{HALF}") == r"a\n\ud800"
    assert validation.abridged("x" * 61) == f"{'x' * 59}…"
    assert validation.abridged("x" * 60) == "x" * 60


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
_NUMBERS = st.integers(-(2**64) + 1, 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
_SCALARS: st.SearchStrategy[Any] = st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXTS)
_DOCUMENTS = st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(_TEXTS, inner), max_leaves=12)


@given(_DOCUMENTS, st.booleans(), st.sampled_from([None, 1]))
def test_json_that_means_one_thing_is_read_as_it_is(document: Any, is_ascii: bool, indent: int | None) -> None:
    text = json.dumps(document, ensure_ascii=is_ascii, indent=indent)
    assert validation.read_json("body", text) == json.loads(text)


@given(_DOCUMENTS, st.sampled_from(['{"a": 1, "a": 1}', "NaN", "-1e400", "2" * 30, r'"\ud8ff"', r'{"\udfff": 0}']))
def test_one_flaw_anywhere_is_found_and_its_path_told(document: Any, flaw: str) -> None:
    text = json.dumps({"before": document, "here": [document, "FLAW"], "after": document}).replace('"FLAW"', flaw)
    with pytest.raises(JSONError) as caught:
        validation.read_json("body", text)
    (problem,) = caught.value.problems
    assert problem.loc[:3] == ("body", "here", 1)
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - made here
    assert (str(copy), copy.problems) == (str(caught.value), caught.value.problems)


def test_brackets_in_text_are_no_depth() -> None:
    assert validation.read_json("body", json.dumps(["[" * 99 + '\\"]{' * 99])) == ["[" * 99 + '\\"]{' * 99]
    with pytest.raises(JSONError, match="MAX_JSON_DEPTH"):
        validation.read_json("body", json.dumps("]" * 200).join("[," * 2) + "[" * 80)


def test_one_repeated_key_among_very_many_is_found_at_once() -> None:
    """Counting each name anew took a minute of the event loop for 356 kB."""
    keys = [f"k{index}" for index in range(40_000)]
    text = "{" + ",".join(f'"{key}":0' for key in [*keys, keys[-1]]) + "}"
    started = time.process_time()
    with pytest.raises(JSONError, match="appears twice"):
        validation.read_json("body", text)
    assert time.process_time() - started < 5
