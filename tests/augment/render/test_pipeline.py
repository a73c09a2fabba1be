"""The public Pipeline: loading, calling, threads and processes."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.errors import CallError, PipelineError
from augment.pipelines.document import MAX_TEXT_BYTES
from augment.render import pipeline
from augment.render.pipeline import Pipeline
from augment.samples.sample import Sample
from tests.augment.transforms.catalogue_cases import noise_image, sample

TEXT = "- RandomResizedCrop: {size: [24, 24]}\n- HorizontalFlip\n- ColorJitter: {p: 1}\n"
IMAGE = noise_image(40, 50)


def test_a_file_is_called_like_a_function(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(TEXT)
    image = Pipeline.load(tmp_path / "p.yaml")(IMAGE, seed=1, key="a")
    assert image.shape == (24, 24, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, Pipeline.load(str(tmp_path / "p.yaml"))(IMAGE, seed=1, key="a"))


def test_name_is_that_of_the_file_unless_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(TEXT)
    (tmp_path / "other.json").write_text('{"name": "said", "transforms": []}')
    assert Pipeline.load(tmp_path / "mine.yaml").name == "mine"
    assert Pipeline.load(tmp_path / "other.json").name == "said"


@pytest.mark.parametrize("change", [{"seed": 2}, {"draw": 1}, {"view": 1}, {"key": "b"}])
def test_each_part_of_the_address_counts(change: dict[str, Any]) -> None:
    pipeline = Pipeline.parse(TEXT)
    address: dict[str, Any] = {"seed": 1, "draw": 0, "view": 0, "key": "a"}
    first = pipeline(IMAGE, **address)
    np.testing.assert_array_equal(first, pipeline(IMAGE, **address))
    assert not np.array_equal(first, pipeline(IMAGE, **(address | change)))


def test_what_goes_in_stays_as_it_is_and_what_comes_out_is_new() -> None:
    image = IMAGE.copy()
    result = Pipeline.parse("[]")(image)
    assert not np.shares_memory(image, result)
    result[:] = 0
    np.testing.assert_array_equal(image, IMAGE)


def test_a_sample_comes_back_as_a_sample() -> None:
    result = Pipeline.parse("[Transpose: {p: 1}]")(sample(40, 50))
    assert isinstance(result, Sample)
    assert result.label == 5
    assert result.mask is not None
    assert result.mask.shape == (50, 40)


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_anything_but_an_image_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(CallError, match="an image is uint8"):
        Pipeline.parse("[]")(wrong)


def test_threads_share_a_pipeline_and_get_the_same_pixels() -> None:
    pipeline = Pipeline.parse(TEXT)
    alone = [pipeline(IMAGE, draw=draw) for draw in range(64)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda draw: pipeline(IMAGE, draw=draw), range(64)))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_pipeline_travels_to_other_processes() -> None:
    pipeline = Pipeline.parse(TEXT)
    expected = pipeline(IMAGE)
    again = pickle.loads(pickle.dumps(pipeline))  # noqa: S301 - our own bytes
    assert again == pipeline
    assert hash(again) == hash(pipeline)
    np.testing.assert_array_equal(again(IMAGE), expected)


def test_notices_are_kept() -> None:
    assert "`seed` is dropped" in Pipeline.parse("{seed: 1, transforms: []}").notices[0]


def test_repr_says_what_it_does() -> None:
    assert repr(Pipeline.load("light")) == (
        "Pipeline(light: HorizontalFlip, RandomShiftScale, RandomBrightnessContrast)"
    )


def refusal(source: str | Path) -> str:
    with pytest.raises(PipelineError) as caught:
        Pipeline.load(source)
    return str(caught.value)


def test_neither_preset_nor_file_says_what_there_is(tmp_path: Path) -> None:
    assert "`ligth` is neither a preset nor a file; did you mean `light`?" in refusal("ligth")
    assert "presets are cifar, colour-noise, " in refusal("nothing-like-it.yaml")
    assert "neither a preset nor a file" in refusal(tmp_path / "light")


def test_a_path_is_never_a_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("light").write_text("[Transpose]")
    assert [node.name for node in Pipeline.load(Path("light")).spec.transforms] == ["Transpose"]
    assert [node.name for node in Pipeline.load("./light").spec.transforms] == ["Transpose"]
    assert len(Pipeline.load("light").spec.transforms) == 3


def test_files_that_are_no_pipelines_are_refused(tmp_path: Path) -> None:
    assert "cannot be read: Is a directory" in refusal(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: café".encode("latin-1"))
    assert "is not UTF-8 text (byte 9)" in refusal(latin)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MAX_TEXT_BYTES - 1) + "é".encode() * 10)
    assert f"a pipeline may have {MAX_TEXT_BYTES}" in refusal(large)
    assert "cannot be read" in refusal("a\0b")
    typo = tmp_path / "typo.yaml"
    typo.write_text("transforms:\n  - Rotat\n")
    assert refusal(typo).startswith("line 2: ")


def test_preset_text_is_what_is_loaded() -> None:
    for name in pipeline.preset_names():
        assert Pipeline.parse(pipeline.preset_text(name)) == Pipeline.load(name)


@pytest.mark.parametrize(
    "wrong",
    [{"seed": 1.0}, {"seed": True}, {"seed": "1"}, {"seed": -1}, {"seed": 2**64}, {"draw": -1}, {"view": 0.5},
     {"key": 3}, {"key": "\ud800"}],
)  # fmt: skip
def test_what_is_no_address_is_refused(wrong: dict[str, Any]) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(CallError, match=next(iter(wrong))):
        Pipeline.load("light")(image, **wrong)


def test_mirror_swaps_the_sides_of_keypoints_that_are_named() -> None:
    pipeline = Pipeline.parse("[HorizontalFlip: {p: 1}]")
    image = np.zeros((8, 10, 3), np.uint8)
    sample = Sample(image, keypoints=np.array([[1, 2]], np.float32), keypoint_labels=np.array([0]))
    for names, label in (((), 0), (("left_eye", "right_eye"), 1), (("nose", "right_eye"), 0), (["L.hip", "R.hip"], 1)):
        out = pipeline(sample, keypoint_names=names)
        assert out.keypoint_labels is not None
        assert out.keypoint_labels.tolist() == [label]
