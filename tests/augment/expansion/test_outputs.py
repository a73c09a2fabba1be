"""Names of a record's outputs."""

from pathlib import Path

import pytest

from augment.datasets import keys
from augment.expansion import spec
from augment.expansion.options import ExpansionOptions
from augment.expansion.outputs import Outputs
from augment.expansion.splits import divide
from augment.samples.sample import Record
from augment.scanning.scan import scan
from tests.augment.expansion.expansions_for_tests import PIPELINE
from tests.augment.folders_for_tests import lay_images


def described(root: Path) -> spec.ExpansionSpec:
    dataset = scan(root)
    return spec.describe(
        dataset,
        divide(dataset, None, None, copy_splits=None),
        PIPELINE.spec,
        ExpansionOptions(include_originals=True, image_format="jpeg"),
    )


def outputs_of(root: Path) -> Outputs:
    wanted = described(root)
    return Outputs(wanted, wanted.parts[0], scan(root))


def test_original_keeps_its_name(tmp_path: Path) -> None:
    names = ["cat/a.jpg", "cat/a.png", "cat/a.jpg.png", "cat/b.JPEG", "cat/c.d.png", "cat/bare"]
    root = lay_images(tmp_path, *names)
    wanted = outputs_of(root)
    assert sorted(wanted.wanted(record)[-1].file_name for record in scan(root)) == sorted(names)


@pytest.mark.parametrize("name", ["a.jpg", "bare", ".hidden", "a.b.c", "a..jpg", "é.JPEG", "a b"])
def test_original_of_a_key_without_extension_has_the_name(name: str, tmp_path: Path) -> None:
    wanted = outputs_of(lay_images(tmp_path, "cat/1.jpg"))
    whole, stem = (
        Record(f"cat/{key}", Path("/data") / name, 1, 1, 1, "") for key in (name, keys.without_extension(name))
    )
    assert {wanted.wanted(record)[-1].file_name for record in (whole, stem)} == {f"cat/{name}"}
