"""Pixels, classes, masks and provenance of mixed batches, and their random draws."""

import copy
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.errors import CallError
from augment.mixing.mix import Draw, blend, cutmix, generator, parse_mix, partners, shares
from augment.samples.sample import Batch, Provenance
from augment.wire import arrow, npz, tar
from augment.wire.columns import BatchLayout
from tests.augment.mixing.mixing_for_tests import batch_of, mixed, noise
from tests.augment.wire.wire_for_tests import arrow_bytes, read_npz

METHODS = ["MixUp", "CutMix", {"MixUp": {"per": "row"}}, {"CutMix": {"per": "row"}}]
LABELS = np.array([0, 1, 2, -1, 3, 0])


def same(one: Batch, other: Batch) -> bool:
    first, second = (npz.to_bytes(batch) for batch in (one, other))
    return first == second and one.provenance == other.provenance


@given(num_rows=st.integers(2, 40), seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=50)
def test_partners_are_one_cycle_through_all_rows(num_rows: int, seed: int) -> None:
    drawn = partners(np.random.default_rng(seed), num_rows)
    row, seen = 0, []
    for _ in range(num_rows):
        row = int(drawn[row])
        seen.append(row)
    assert sorted(seen) == list(range(num_rows))
    assert seen[-1] == 0


def test_each_cycle_is_as_likely_as_any_other() -> None:
    chance = np.random.default_rng(1)
    counts = Counter(tuple(partners(chance, 4).tolist()) for _ in range(6_000))
    assert len(counts) == 6
    assert max(abs(count - 1_000) for count in counts.values()) < 150  # five standard deviations


@pytest.mark.parametrize("alpha", [1e-300, 1e-9, 0.2, 1.0, 32.0, 1_000.0])
def test_shares_are_draws_of_the_beta_distribution(alpha: float) -> None:
    found = shares(np.random.default_rng(2), alpha, 4_000, by_row=True)
    assert ((found >= 0) & (found <= 1)).all()
    assert abs(found.mean() - 0.5) < 0.05
    assert abs(found.var() - 1 / (4 * (2 * alpha + 1))) < 0.02


@given(weight=st.integers(0, 256), seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=30)
def test_mixup_rounds_the_exact_mean_half_to_even(weight: int, seed: int) -> None:
    images = noise(2, 5, 7, seed)
    share = Fraction(weight, 256)
    blended = blend(images, Draw(np.array([1, 0]), np.full(2, float(share))))
    for row in (0, 1):
        own, other = images[row].ravel().tolist(), images[1 - row].ravel().tolist()
        expected = [round(share * a + (1 - share) * b) for a, b in zip(own, other, strict=True)]
        assert blended[row].ravel().tolist() == expected


def test_mixup_blends_with_the_weight_that_it_tells() -> None:
    batch = batch_of(noise(6), labels=LABELS)
    out = mixed(batch, {"MixUp": {"per": "row"}})
    for row, provenance in enumerate(out.provenance):
        told = provenance.mixed
        assert told is not None
        assert (told.name, told.box) == ("MixUp", None)
        partner = batch.keys.index(told.partner)
        assert partner != row
        assert told.partner_position == batch.positions[partner]
        expected = np.rint(told.weight * batch.images[row] + (1 - told.weight) * batch.images[partner])
        np.testing.assert_array_equal(out.images[row], expected.astype(np.uint8))


@pytest.mark.parametrize("mix", ["CutMix", {"CutMix": {"per": "row", "alpha": 0.3}}])
def test_cutmix_pastes_the_box_that_it_tells_and_weighs_by_its_area(mix: object) -> None:
    batch = batch_of(noise(6), labels=LABELS, masks=noise(6)[..., 0])
    for index in range(5):
        out = mixed(batch, mix, index=index)
        for row, provenance in enumerate(out.provenance):
            told = provenance.mixed
            pasted = np.zeros((12, 16), bool)
            partner = row
            if told is not None:
                assert told.box is not None
                x_min, y_min, x_max, y_max = told.box
                pasted[y_min:y_max, x_min:x_max] = True
                partner = batch.keys.index(told.partner)
                assert told.weight == pytest.approx(1 - pasted.mean(), abs=1e-15)
            for name in ("images", "masks"):
                before, after = getattr(batch, name), getattr(out, name)
                np.testing.assert_array_equal(after[row][pasted], before[partner][pasted])
                np.testing.assert_array_equal(after[row][~pasted], before[row][~pasted])


def test_boxes_of_cutmix_are_those_of_the_paper() -> None:
    chance = generator("s", 0, 0)
    draw = cutmix(chance, 1.0, 500, 40, 60, by_row=True)
    again = generator("s", 0, 0)
    np.testing.assert_array_equal(partners(again, 500), draw.partners)
    shares = again.beta(1.0, 1.0, size=500)
    x, y = again.integers(0, 60, size=500), again.integers(0, 40, size=500)
    for row, share in enumerate(shares.tolist()):
        cut_w, cut_h = int(60 * np.sqrt(1 - share)), int(40 * np.sqrt(1 - share))
        box = [
            np.clip(x[row] - cut_w // 2, 0, 60),
            np.clip(y[row] - cut_h // 2, 0, 40),
            np.clip(x[row] + cut_w // 2, 0, 60),
            np.clip(y[row] + cut_h // 2, 0, 40),
        ]
        assert draw.box(row) == tuple(map(int, box))


@pytest.mark.parametrize("mix", METHODS)
def test_weights_of_classes_follow_the_pixels_and_sum_to_one(mix: object) -> None:
    labels = np.array([0, 1, 2, 3, 3, 0])
    batch = batch_of(noise(6), labels=labels)
    for index in range(10):
        out = mixed(batch, mix, index=index)
        assert out.label_weights is not None
        assert out.label_weights.dtype == np.float32
        np.testing.assert_allclose(out.label_weights.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_array_equal(out.labels, labels)
        for row, provenance in enumerate(out.provenance):
            expected = np.zeros(4)
            weight = 1.0 if provenance.mixed is None else provenance.mixed.weight
            expected[labels[row]] += weight
            if provenance.mixed is not None:
                expected[labels[batch.keys.index(provenance.mixed.partner)]] += 1 - weight
            np.testing.assert_allclose(out.label_weights[row], expected, atol=1e-6)


def test_an_unlabelled_row_gives_its_share_to_no_class() -> None:
    batch = batch_of(noise(2), labels=np.array([-1, 2]))
    out = mixed(batch, "MixUp")
    assert out.label_weights is not None
    weight = next(each.mixed.weight for each in out.provenance if each.mixed)
    np.testing.assert_allclose(out.label_weights, [[0, 0, 1 - weight, 0], [0, 0, weight, 0]], atol=1e-6)


def test_rows_of_several_classes_keep_their_weights_in_proportion() -> None:
    weights = np.array([[1, 1, 0], [0, 0.5, 0.25]], np.float32)
    out = mixed(batch_of(noise(2), label_weights=weights), "CutMix")
    assert out.labels is None
    assert out.label_weights is not None
    share = next(each.mixed.weight for each in out.provenance if each.mixed)
    np.testing.assert_allclose(out.label_weights, share * weights + (1 - share) * weights[::-1], atol=1e-6)


@pytest.mark.parametrize("mix", METHODS)
def test_mix_that_never_applies_only_adds_the_weights(mix: object) -> None:
    ((name, params),) = parse_mix(mix).canonical().items()
    assert isinstance(params, dict)
    batch = batch_of(noise(6), labels=LABELS)
    out = mixed(batch, {name: params | {"p": 0}})
    one_hot = np.eye(5, dtype=np.float32)[LABELS][:, :4]
    assert same(out, replace(batch, label_weights=one_hot))


def test_a_batch_of_one_row_stays_as_it_is() -> None:
    batch = batch_of(noise(1), labels=np.array([2]))
    for mix in METHODS:
        assert same(mixed(batch, mix), replace(batch, label_weights=np.array([[0, 0, 1, 0]], np.float32)))


def test_an_empty_batch_stays_empty() -> None:
    batch = batch_of(np.empty((0, 8, 8, 3)), labels=np.empty(0, np.int64))
    out = mixed(batch, "MixUp")
    assert out.label_weights is not None
    assert out.label_weights.shape == (0, 4)


@pytest.mark.parametrize("mix", METHODS)
def test_mix_is_a_function_of_the_address_and_leaves_the_batch_alone(mix: object) -> None:
    batch = batch_of(noise(6), labels=LABELS, masks=None if "MixUp" in str(mix) else noise(6)[..., 0])
    before = copy.deepcopy(batch)
    out = mixed(batch, mix)
    np.random.seed(7)  # noqa: NPY002 - whatever a global generator does must not matter
    assert same(mixed(batch, mix), out)
    assert same(batch, before)
    for address in ({"index": 1}, {"epoch": 1}, {"stream_id": "1" * 32}):
        assert not same(mixed(batch, mix, **address), out)


def test_one_weight_is_drawn_for_a_batch_or_for_each_row() -> None:
    batch = batch_of(noise(6), labels=LABELS)
    for name in ("MixUp", "CutMix"):
        for per, count in (("batch", 1), ("row", 6)):
            told = [each.mixed for each in mixed(batch, {name: {"per": per}}).provenance]
            assert len({(each.weight, each.box) for each in told if each is not None}) == count


def test_one_of_chooses_by_weight_and_mixes_with_its_probability() -> None:
    batch = batch_of(noise(2, 2, 2), labels=np.array([0, 1]))
    mix = {"OneOf": {"p": 0.5, "transforms": [{"MixUp": {"p": 0.25}}, {"CutMix": {"p": 0.75}}, {"MixUp": {"p": 0}}]}}
    parsed = parse_mix(mix)
    names = Counter(parsed._choose(generator("s", 0, index)).name for index in range(1_000))
    assert abs(names["MixUp"] - 250) < 70
    wide = {"OneOf": {"p": 0.5, "transforms": [{"MixUp": {"alpha": 32}}]}}
    applied = sum(mixed(batch, wide, index=index).provenance[0].mixed is not None for index in range(400))
    assert abs(applied - 200) < 50


def test_the_draws_of_an_address_stay_what_they_are() -> None:
    """Pinned numbers: a change means that every mixed stream of every user has other batches."""
    chance = generator("00112233445566778899aabbccddeeff", 3, 14)
    assert chance.random() == 0.04105297906536087
    draw = cutmix(chance, 1.0, 4, 32, 48, by_row=True)
    assert draw.partners.tolist() == [3, 0, 1, 2]
    assert draw.boxes is not None
    assert draw.boxes.tolist() == [[5, 0, 39, 14], [20, 19, 46, 32], [2, 22, 24, 32], [5, 1, 43, 25]]


def test_class_masks_and_images_of_many_sizes_are_refused() -> None:
    batch = batch_of(noise(2), masks=noise(2)[..., 0])
    with pytest.raises(CallError, match="use CutMix"):
        mixed(batch, {"MixUp": {"alpha": 32}})
    with pytest.raises(CallError, match="end it with Resize"):
        mixed(replace(batch, images=list(noise(2))), "CutMix")


def test_provenance_of_a_mixed_row_is_read_back_from_a_tar_and_from_json() -> None:
    out = mixed(batch_of(noise(4), labels=np.array([0, 1, 2, 3])), {"CutMix": {"per": "row"}})
    for provenance in out.provenance:
        members = provenance.as_json()
        assert Provenance.from_json(members) == provenance
        if provenance.mixed is None:
            assert "mixed" not in members
            continue
        assert members["mixed"] == {
            "name": "CutMix",
            "weight": provenance.mixed.weight,
            "partner": provenance.mixed.partner,
            "partner_position": provenance.mixed.partner_position,
            "box": list(provenance.mixed.box or ()),
        }
    assert b'"mixed":{"box":[' in b"".join(tar.batch_members(out, "npy"))


def test_a_mixed_batch_passes_every_wire() -> None:
    mix = parse_mix({"CutMix": {"per": "row"}})
    batch = batch_of(noise(4), labels=np.array([0, 1, 2, 3]))
    out = mixed(batch, mix.canonical())
    layout = BatchLayout((12, 16, 3), mix.targets(frozenset({"label"})), 4)
    (read,) = arrow.read_batches(arrow_bytes([out], layout))
    for back in (read, read_npz(npz.to_bytes(out))):
        np.testing.assert_array_equal(back.images, out.images)
        np.testing.assert_array_equal(back.label_weights, out.label_weights)
        np.testing.assert_array_equal(back.labels, out.labels)
