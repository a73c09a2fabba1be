"""Transforms that take images of another dataset, compared with independent formulas."""

import json
from typing import Any

import numpy as np
import pytest
from skimage import data, exposure

from augment.errors import CallError, PipelineError, Reason, RecordChangedError, RecordError
from augment.pipelines.spec import PipelineSpec
from augment.render.records import Loose
from augment.samples.sample import Sample
from augment.transforms.donors import source
from augment.transforms.runtime.compiler import Compiled, TransformedSample, check_references
from tests.augment.transforms.catalogue_cases import node, noise_image, others, sample, some

REFERRING = ("FDA", "HistogramMatching", "OverlayElements", "PixelDistributionAdaptation", "TemplateTransform")


def render(name: str, given: Sample, references: source.Source, *, draw: int = 0, **params: Any) -> TransformedSample:
    compiled = Compiled(PipelineSpec((node(name, **params),)), references={"others": references})
    return compiled(given, seed=1, draw=draw, view=0, key="k")


def adapted(name: str, image: np.ndarray, reference: np.ndarray, **params: Any) -> np.ndarray:
    return render(name, Sample(image), Loose([reference]), **params).sample.image


def photograph(height: int, width: int) -> np.ndarray:
    """Return a part of an image of a cat; its values are far from 0 and 255."""
    cat: np.ndarray = data.cat()  # type: ignore[no-untyped-call]  # scikit-image ships no types
    return (64 + cat[60 : 60 + height, 90 : 90 + width] // 4).astype(np.uint8)


def style(height: int, width: int) -> np.ndarray:
    coffee: np.ndarray = data.coffee()  # type: ignore[no-untyped-call]  # the same
    return (80 + coffee[:height, 150 : 150 + width] // 4).astype(np.uint8)


# -------------------------------------------------------------------------------------------------------------- looks


def papers_fda(image: np.ndarray, reference: np.ndarray, beta: float) -> np.ndarray:
    """Compute FDA as in the code of Yang and Soatto: a centred square of amplitudes is the reference's."""
    out = np.empty(image.shape)
    height, width = image.shape[:2]
    most, y, x = int(min(height, width) * beta), height // 2, width // 2
    square = slice(max(0, y - most), y + most + 1), slice(max(0, x - most), x + most + 1)
    for channel in range(3):
        there = np.fft.fftshift(np.fft.fft2(image[..., channel]))
        wanted = np.fft.fftshift(np.fft.fft2(reference[..., channel]))
        amplitudes, phases = np.abs(there), np.angle(there)
        amplitudes[square] = np.abs(wanted)[square]
        out[..., channel] = np.real(np.fft.ifft2(np.fft.ifftshift(amplitudes * np.exp(1j * phases))))
    return np.clip(out, 0, 255)


@pytest.mark.parametrize("size", [(96, 96), (97, 131), (64, 101), (33, 32)])
@pytest.mark.parametrize("beta", [0.0, 0.05, 0.3, 0.49])
def test_fda_is_the_formula_of_its_paper(size: tuple[int, int], beta: float) -> None:
    image, reference = photograph(*size), style(*size)
    made = adapted("FDA", image, reference, beta_limit=[beta, beta])
    assert np.abs(made - papers_fda(image, reference, beta)).max() <= 0.5 + 1e-6


def test_low_frequencies_have_the_amplitudes_of_the_reference_and_the_rest_its_own() -> None:
    image, reference = photograph(96, 128), style(96, 128)
    made = adapted("FDA", image, reference, beta_limit=[0.1, 0.1])
    spectra = [np.fft.fft2(each.astype(float), axes=(0, 1)) for each in (made, image, reference)]
    result, before, wanted = (np.abs(spectrum) for spectrum in spectra)
    low = np.zeros((96, 128), bool)
    low[np.ix_(np.r_[-9:10], np.r_[-9:10])] = True
    rounding = 5 * np.sqrt(96 * 128 / 12)
    assert np.abs(result - wanted)[low].max() < rounding
    assert np.abs(result - before)[~low].max() < rounding
    assert np.abs(before - wanted)[low].max() > 10 * rounding


def test_image_without_structure_takes_the_low_frequencies_of_the_reference() -> None:
    flat = np.full((48, 60, 3), 120, np.uint8)
    made = adapted("FDA", flat, style(48, 60), beta_limit=[0.2, 0.2])
    assert made.std() > 3
    assert np.array_equal(adapted("FDA", flat, flat, beta_limit=[0.2, 0.2]), flat)


@pytest.mark.parametrize("size", [(90, 120), (1, 120), (90, 1), (1, 1)])
def test_histogram_matching_at_full_weight_is_scikit_images(size: tuple[int, int]) -> None:
    image, reference = photograph(*size), style(70, 55)
    made = adapted("HistogramMatching", image, reference, blend_ratio=[1, 1])
    assert np.array_equal(made, exposure.match_histograms(image, reference, channel_axis=-1))
    assert np.array_equal(adapted("HistogramMatching", image, reference, blend_ratio=[0, 0]), image)
    half = adapted("HistogramMatching", image, reference, blend_ratio=[0.5, 0.5]).astype(float)
    assert np.abs(half - (made / 2 + image / 2)).max() <= 0.5


def test_standard_adaptation_gives_mean_and_deviation_of_the_reference() -> None:
    image, reference = photograph(90, 120), style(70, 55)
    made = adapted("PixelDistributionAdaptation", image, reference, blend_ratio=[1, 1], transform_type="standard")
    assert np.allclose(made.mean(axis=(0, 1)), reference.mean(axis=(0, 1)), atol=0.1)
    assert np.allclose(made.std(axis=(0, 1)), reference.std(axis=(0, 1)), atol=0.1)


def test_minmax_adaptation_gives_the_extremes_of_the_reference() -> None:
    image, reference = photograph(90, 120), style(70, 55)
    made = adapted("PixelDistributionAdaptation", image, reference, blend_ratio=[1, 1], transform_type="minmax")
    assert np.array_equal(made.min(axis=(0, 1)), reference.min(axis=(0, 1)))
    assert np.array_equal(made.max(axis=(0, 1)), reference.max(axis=(0, 1)))


def test_pca_adaptation_gives_mean_and_axes_of_the_reference_and_keeps_the_spread() -> None:
    image, reference = photograph(90, 120), style(70, 55)
    made = adapted("PixelDistributionAdaptation", image, reference, blend_ratio=[1, 1], transform_type="pca")

    def axes(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.linalg.eigh(np.cov(image.reshape(-1, 3).T))

    (spread, _), (result, result_axes), (_, wanted_axes) = axes(image), axes(made), axes(reference)
    assert np.allclose(made.mean(axis=(0, 1)), reference.mean(axis=(0, 1)), atol=0.1)
    assert np.allclose(result, spread, rtol=0.02, atol=0.3)
    assert abs(result_axes[:, 2] @ wanted_axes[:, 2]) > 0.999


@pytest.mark.parametrize("kind", ["pca", "standard", "minmax"])
def test_image_adapted_to_itself_stays(kind: str) -> None:
    image = photograph(90, 120)
    for other in (image, np.full((5, 5, 3), 90, np.uint8)):
        made = adapted("PixelDistributionAdaptation", other, other, blend_ratio=[1, 1], transform_type=kind)
        assert np.array_equal(made, other)


def test_template_shows_through_by_what_is_left_of_the_weight() -> None:
    image, reference = photograph(40, 60), style(40, 60)
    made = adapted("TemplateTransform", image, reference, img_weight=0.7)
    assert np.abs(made - (0.7 * image + 0.3 * reference)).max() <= 0.5 + 1e-6
    assert adapted("TemplateTransform", image, style(7, 90), img_weight=0).shape == (40, 60, 3)


# ----------------------------------------------------------------------------------------------------------- elements


def disc(colour: tuple[int, int, int]) -> Sample:
    """Draw a disc of one colour on white, 20 pixels across, with its mask as class 7."""
    y, x = np.mgrid[:30, :40]
    inside = (x - 19.5) ** 2 + (y - 14.5) ** 2 < 100
    image = np.where(inside[..., np.newaxis], np.array(colour, np.uint8), np.uint8(255))
    return Sample(image, mask=np.where(inside, 7, 0).astype(np.uint8))


def places(made: TransformedSample) -> list[list[int]]:
    drawn: Any = made.applied[0].params["places"]
    return list(drawn)


def grey(height: int = 100, width: int = 120) -> Sample:
    return Sample(np.full((height, width, 3), 128, np.uint8), mask=np.full((height, width), 3, np.uint8))


def test_element_is_what_the_mask_shows_in_its_drawn_place_and_size() -> None:
    made = render("OverlayElements", grey(), Loose([disc((200, 0, 0))]), num_elements=1, scale_range=[0.3, 0.3])
    ((x, y, width, height),) = places(made)
    changed = (made.sample.image != 128).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == (x, y, x + width, y + height)
    assert (width, height) == (30, 30)  # the disc is as wide as high, and 0.3 of 100 is less than of 120
    assert np.array_equal(made.sample.image[y + 15, x + 15], (200, 0, 0))
    assert made.sample.image[..., 1:].max() == 128, "nothing of the white about the disc is pasted"
    assert 0.74 < changed.sum() / (width * height) < 0.9
    assert made.applied[0].params["references"] == ["0"]
    assert np.array_equal(some(made.sample.mask), some(grey().mask))


def test_image_without_a_mask_is_an_element_of_its_own_shape() -> None:
    made = render("OverlayElements", grey(), Loose([np.zeros((10, 40, 3), np.uint8)]), num_elements=1)
    ((x, y, width, height),) = places(made)
    assert np.array_equal((made.sample.image == 0).all(axis=2).sum(), width * height)
    assert width == pytest.approx(4 * height, abs=3)
    assert 0 <= x <= 120 - width
    assert 0 <= y <= 100 - height


def test_one_object_of_several_is_an_element_and_none_of_an_image_without() -> None:
    masks = np.zeros((2, 40, 50), np.uint8)
    masks[0, 5:15, 5:15], masks[1, 20:40, 25:30] = 1, 1
    image = np.where(masks[0][..., np.newaxis] == 1, np.uint8(10), np.uint8(200)).repeat(3, axis=2)
    both = Sample(image, boxes=np.array([[5, 5, 15, 15], [25, 20, 30, 40]], np.float32), instance_masks=masks)
    shapes = set()
    for draw in range(8):
        made = render("OverlayElements", grey(), Loose([both]), draw=draw, num_elements=1, scale_range=[0.4, 0.4])
        ((_, _, width, height),) = places(made)
        shapes.add((width, height, int(np.unique(made.sample.image)[0])))
    assert shapes == {(40, 40, 10), (10, 40, 128)}
    none = Sample(image, boxes=np.zeros((0, 4), np.float32), instance_masks=np.zeros((0, 40, 50), np.uint8))
    made = render("OverlayElements", grey(), Loose([none]))
    assert np.array_equal(made.sample.image, grey().image)


def test_covered_boxes_go_and_masks_get_the_class_that_is_named() -> None:
    cover = np.zeros((50, 60, 3), np.uint8)
    given = sample(100, 120)
    objects = np.zeros((3, 100, 120), np.uint8)
    for mask, (x, y, right, bottom) in zip(objects, some(given.boxes).astype(int), strict=True):
        mask[y:bottom, x:right] = 1
    given.instance_masks = objects
    for fill_mask in (None, 9):
        whole = render(
            "OverlayElements", given, Loose([cover]), num_elements=1, scale_range=[1, 1], fill_mask=fill_mask
        )
        assert not whole.sample.image.any()
        assert whole.dropped == {"boxes": 3}
        assert np.array_equal(some(whole.sample.keypoints), some(given.keypoints))
        assert np.array_equal(some(whole.sample.mask), some(given.mask)) == (fill_mask is None)
        part = render(
            "OverlayElements", given, Loose([cover]), num_elements=1, scale_range=[0.2, 0.2], fill_mask=fill_mask
        )
        ((x, y, width, height),) = places(part)
        inside = np.zeros((100, 120), bool)
        inside[y : y + height, x : x + width] = True
        assert np.array_equal(some(part.sample.boxes), some(given.boxes))
        expected = np.where(inside & (fill_mask is not None), 9, some(given.mask))
        assert np.array_equal(some(part.sample.mask), expected)
        seen = objects * ~(inside & (fill_mask is not None))
        assert np.array_equal(some(part.sample.instance_masks), seen)


# -------------------------------------------------------------------------------------------------------- which and how


@pytest.mark.parametrize("name", REFERRING)
def test_references_are_drawn_by_the_address_and_named_in_provenance(name: str) -> None:
    references = Loose(others())
    keys = []
    for draw in range(60):
        made = render(name, sample(), references, draw=draw)
        (applied,) = made.applied
        assert len(json.dumps(applied.params)) < 300
        keys.append(applied.params.get("reference") or applied.params["references"][0])  # type: ignore[index]
        again = render(name, sample(), references, draw=draw)
        assert again.applied == made.applied
        assert np.array_equal(again.sample.image, made.sample.image)
    assert {keys.count(str(key)) for key in range(3)} <= set(range(10, 32)), keys


class Broken(Loose):
    """Source in which some records cannot be read."""

    def __init__(self, broken: dict[int, RecordError]) -> None:
        super().__init__([noise_image(20, 20, seed) for seed in range(12)])
        self.broken = broken

    def sample(self, index: int) -> Sample:
        if index in self.broken:
            raise self.broken[index]
        return super().sample(index)


def test_reference_that_is_no_image_gives_its_place_to_the_next() -> None:
    wanted, there = source.take(Broken({}), 11)
    assert wanted == "11"
    undecodable = RecordError("11", Reason.UNDECODABLE, "cut short")
    key, taken = source.take(Broken({11: undecodable, 0: undecodable}), 11)
    assert key == "1"
    assert not np.array_equal(taken.image, there.image)
    with pytest.raises(RecordError, match="11: undecodable: cut short"):
        source.take(Broken(dict.fromkeys(range(12), undecodable)), 11)


@pytest.mark.parametrize("error", [RecordChangedError("3"), RecordError("3", Reason.UNREADABLE, "it is gone")])
def test_reference_that_changed_or_is_gone_never_becomes_another(error: RecordError) -> None:
    with pytest.raises(RecordError) as caught:
        render("FDA", sample(), Broken(dict.fromkeys(range(12), error)))
    assert (caught.value.key, caught.value.reason) == ("k", error.reason)
    assert "FDA takes `3`" in caught.value.detail


def test_pipeline_without_its_references_is_refused_at_every_place_with_a_remedy() -> None:
    inner = node("FDA", references="styels")
    spec = PipelineSpec((node("HorizontalFlip"), node("TemplateTransform"), inner))
    with pytest.raises(PipelineError) as caught:
        check_references(spec, {"styles"})
    first, second = caught.value.problems
    assert first.loc == ("transforms", 1, "TemplateTransform", "references")
    assert first.msg.startswith("`TemplateTransform` takes images of the dataset `others`, which is missing; give it ")
    assert "--references others=FOLDER" in first.msg
    assert second.msg.endswith("`styels`, which is missing; did you mean `styles`?")
    with pytest.raises(PipelineError):
        Compiled(spec, references={"others": Loose(others())})
    check_references(spec, {"others", "styels"})


def test_loose_images_are_checked() -> None:
    with pytest.raises(CallError, match="give at least one"):
        Loose([])
    with pytest.raises(CallError, match="uint8"):
        Loose([np.zeros((4, 4), np.float32)])
