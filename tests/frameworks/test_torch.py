"""PyTorch: what a dataset hands out, by its options, is what the plain client reads; torchdata's loader resumes it."""

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from augment.client import Client, ClientError, ClientStream
from tests.acceptance.servers_for_tests import ROOT
from tests.frameworks.streams_for_tests import BATCH_SIZE, NUM_BATCHES, declare, epochs

torch = pytest.importorskip("torch", reason="torch is not installed")
pytestmark = pytest.mark.frameworks


@pytest.fixture(scope="module")
def stream(client: Client) -> ClientStream:
    return declare(client)


def dataset(stream: ClientStream, **options: Any) -> Any:
    from augment.client.torch import StreamDataset

    return StreamDataset(stream, **options)


@pytest.mark.parametrize("layout", [None, "NHWC", "NCHW"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("device", [None, "cpu"])
def test_images_have_the_layout_and_the_floats_that_are_asked_for(
    stream: ClientStream, layout: str | None, normalize: bool, device: str | None
) -> None:
    batches = dataset(stream, layout=layout, normalize=normalize, device=device, pin_memory=True)
    for got, plain in zip(batches, epochs(stream, 0)[0], strict=True):
        pixels: Any = stream.normalize(plain.images) if normalize else plain.images
        expected = np.moveaxis(pixels, -1, 1) if layout == "NCHW" else pixels
        assert got["image"].is_contiguous()
        assert got["image"].device.type == "cpu"
        assert got["image"].numpy().dtype == expected.dtype
        assert np.array_equal(got["image"].numpy(), expected)
        assert got["key"] == plain.keys
        assert got["label"].tolist() == np.asarray(plain.labels).tolist()


def test_every_view_has_its_own_layout_and_floats(client: Client) -> None:
    views = [{"pipeline": [{"Resize": {"height": 4, "width": 4}}], "count": 2}]
    sections = ["imagenet", {"method": "min_max", "input": "image"}]
    stream = declare(client, pipeline=None, views=views, normalize=sections)
    got = next(iter(dataset(stream, columns=["image_1"], layout="NCHW", normalize=True)))
    plain = next(stream.epoch(0))
    assert np.array_equal(got["image_1"].numpy(), np.moveaxis(stream.normalize(plain.views[1].images, view=1), -1, 1))


def test_images_of_different_sizes_stay_a_list(client: Client) -> None:
    pipeline = [{"RandomScale": {"scale_limit": [0.5, 1.0], "p": 1.0}}]
    stream = declare(client, pipeline=pipeline)
    got = next(iter(dataset(stream, layout="NCHW", normalize=True, device="cpu")))
    expected = stream.normalize(next(stream.epoch(0)).images)
    assert len({each.shape for each in expected}) > 1
    for image, floats in zip(got["image"], expected, strict=True):
        assert np.array_equal(image.numpy(), np.moveaxis(floats, -1, 0))


def test_a_stream_of_floats_can_be_laid_out_and_not_normalised_again(client: Client) -> None:
    stream = declare(client, dtype=torch.float32, layout="NCHW")
    assert stream.document["dtype"] == "float32"
    got = next(iter(dataset(stream, layout="NHWC")))
    floats = np.asarray(next(stream.epoch(0)).images)
    assert np.array_equal(got["image"].numpy(), np.moveaxis(floats, 1, -1))
    with pytest.raises(ClientError, match="normalised already"):
        dataset(stream, normalize=True)


def test_options_that_cannot_be_met_are_refused_when_they_are_given(client: Client, stream: ClientStream) -> None:
    with pytest.raises(ClientError, match=r"layout is 'CHW'; it is one of NHWC, NCHW"):
        dataset(stream, layout="CHW")
    with pytest.raises(ClientError, match="no `normalize` section"):
        dataset(declare(client, normalize=None), normalize=True)


def test_text_can_be_left_out(stream: ClientStream) -> None:
    assert list(next(iter(dataset(stream, text=False)))) == ["position", "is_padding", "label", "image"]


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")  # torchdata 0.11 calls it
@pytest.mark.parametrize("num_read", [0, 1, 4, NUM_BATCHES])
def test_stateful_loader_resumes_at_the_next_batch(stream: ClientStream, num_read: int) -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")
    expected = [batch.keys for number in epochs(stream, 0, 1) for batch in number]
    loader = stateful.StatefulDataLoader(dataset(stream), batch_size=None)
    batches = iter(loader)
    keys = [next(batches)["key"] for _ in range(num_read)]
    state = pickle.loads(pickle.dumps(loader.state_dict()))  # noqa: S301 - our own
    again = stateful.StatefulDataLoader(dataset(stream), batch_size=None)
    again.load_state_dict(state)
    while len(keys) < 2 * NUM_BATCHES:
        keys += [batch["key"] for batch in again]
    assert keys == expected


def test_declarations_take_what_a_trainer_has_at_hand(client: Client) -> None:
    plain = declare(
        client,
        pipeline={"transforms": [{"HorizontalFlip": {"p": 0.5}}]},
        normalize={"method": "standard", "statistics": "clip"},
        dtype="float16",
    )
    for dtype in (torch.float16, np.float16, np.dtype("float16")):
        stream = declare(client, pipeline=[{"HorizontalFlip": {"p": 0.5}}], normalize="clip", dtype=dtype)
        assert stream.id == plain.id


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dtype": torch.bfloat16}, "dtype is 'bfloat16'; it is one of uint8, float32, float16"),
        (
            {"normalize": "imagnet"},
            r"normalize is 'imagnet'; give a section or one of imagenet, .*did you mean `imagenet`",
        ),
        ({"pipeline": torch.nn.Identity()}, r"pipeline is Identity\(\); give the name of a pipeline"),
    ],
)
def test_declarations_that_are_none_are_one_sentence(client: Client, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        declare(client, **wrong)


# ------------------------------------------------------------------------------------- normalisation of tensors

SECTIONS = [
    {"method": "standard"},
    {"method": "gamma"},
    {"method": "standard", "statistics": "image"},
    {"method": "min_max", "input": "image_channels"},
]


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("shape", [(2, 5, 4, 3), (5, 4, 3), (0, 5, 4, 3), (2, 2, 5, 4, 3)])
def test_tensors_become_the_floats_of_arrays(client: Client, section: dict[str, Any], shape: tuple[int, ...]) -> None:
    stream = declare(client, normalize=section)
    images = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    expected = stream.normalize(images)
    for layout in ("NHWC", "NCHW"):
        given = images if layout == "NHWC" else np.moveaxis(images, -1, -3)
        wanted = expected if layout == "NHWC" else np.moveaxis(expected, -1, -3)
        floats = stream.normalize(torch.from_numpy(given))
        assert floats.dtype == torch.float32
        assert np.array_equal(floats.numpy(), wanted)
        assert np.array_equal(stream.normalize(given), wanted)


def test_layout_decides_if_both_axes_have_three(client: Client) -> None:
    stream = declare(client)
    images = np.random.default_rng(1).integers(0, 256, (2, 3, 4, 3), np.uint8)
    assert np.array_equal(stream.normalize(torch.from_numpy(images)).numpy(), stream.normalize(images, layout="NHWC"))
    other = np.moveaxis(stream.normalize(np.moveaxis(images, 1, -1), layout="NHWC"), -1, 1)
    assert np.array_equal(stream.normalize(torch.from_numpy(images), layout="NCHW").numpy(), other)


def test_denormalise_makes_images_of_tensors_of_either_layout(client: Client) -> None:
    stream = declare(client)
    images = np.random.default_rng(1).integers(0, 256, (2, 5, 4, 3), np.uint8)
    floats = torch.from_numpy(stream.normalize(images))
    assert np.array_equal(stream.denormalise(floats), images)
    assert np.array_equal(stream.denormalise(floats.permute(0, 3, 1, 2).requires_grad_()), images)


def test_tensors_that_are_no_images_are_refused(client: Client) -> None:
    stream = declare(client)
    with pytest.raises(ClientError, match=r"images are uint8 \(\.\.\., H, W, 3\), not float32 \(2, 5, 4, 3\)"):
        stream.normalize(torch.zeros(2, 5, 4, 3))
    with pytest.raises(ClientError, match=r"not uint8 \(2, 5, 4, 1\)"):
        stream.normalize(torch.zeros(2, 5, 4, 1, dtype=torch.uint8))


def test_the_client_alone_imports_no_framework() -> None:
    code = "import sys, augment.client, augment.client.stream; print({'torch', 'tensorflow', 'jax'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_batches_hold_as_many_rows_as_declared(stream: ClientStream) -> None:
    assert [len(batch["image"]) for batch in dataset(stream)] == [BATCH_SIZE] * 5 + [2]
