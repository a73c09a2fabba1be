"""Third-party readers of a service with a key: bare pyarrow, webdataset, curl, and PyTorch if installed."""

import base64
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from augment.client import Client, ClientError
from augment.images.decode import decode_image
from augment.images.encode import encode_image
from tests.acceptance.servers_for_tests import Server

PIPELINE = {"transforms": [{"Resize": {"height": 32, "width": 32}}, {"VerticalFlip": {"p": 0.5}}]}
KEY = "a-key_of-tests"
NUM_RECORDS, BATCH_SIZE = 24, 8


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of noise in two classes."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(1)
    for index in range(NUM_RECORDS):
        path = root / f"class{index % 2}" / f"{index:03d}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_image(generator.integers(0, 256, (40, 40, 3), np.uint8), "png"))
    return root


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Iterator[str]:
    """Run a service that requires a key, with the dataset ``photos``."""
    with Server(tmp_path_factory.mktemp("service") / "home", data_roots=images, api_keys=KEY) as running:
        with Client(running.url, key=KEY) as client:
            client.register("photos", images)
        yield running.url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, key=KEY) as client:
        yield client


def with_key(url: str) -> str:
    return url.replace("http://", f"http://:{KEY}@")


def test_bare_pyarrow_reads_an_epoch(client: Client, url: str) -> None:
    stream = client.stream(dataset="photos", pipeline=PIPELINE, batch_size=BATCH_SIZE)
    basic = base64.b64encode(f":{KEY}".encode()).decode()
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{url}/v1/streams/{stream.id}/batches?epoch=2", headers={"Authorization": f"Basic {basic}"}
    )
    with (
        urllib.request.urlopen(request, timeout=60) as answer,  # noqa: S310 - loopback
        pa.ipc.open_stream(answer) as reader,
    ):
        got = [batch.column("image").to_numpy_ndarray() for batch in reader]
    expected = [batch.images for batch in stream.epoch(2)]
    assert len(got) == stream.num_batches
    assert all(np.array_equal(one, other) for one, other in zip(got, expected, strict=True))


def test_webdataset_reads_an_epoch_from_the_plain_url(client: Client, url: str) -> None:
    import webdataset

    stream = client.stream(dataset="photos", pipeline=PIPELINE, batch_size=BATCH_SIZE)
    address = f"{with_key(url)}/v1/streams/{stream.id}/batches?epoch=1&format=tar"
    samples = list(webdataset.WebDataset(address, shardshuffle=False))
    rows = {
        key: image for batch in stream.epoch(1) for key, image in zip(batch.keys, np.asarray(batch.images), strict=True)
    }
    assert len(samples) == NUM_RECORDS
    for sample in samples:
        provenance = json.loads(sample["json"])
        assert np.array_equal(decode_image(sample["png"]), rows.pop(provenance["key"]))
    assert not rows


def test_curl_augments_an_image_with_the_key_in_the_url(url: str, images: Path, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    image = images / "class0" / "000.png"
    outputs = [tmp_path / f"{index}.png" for index in range(2)]
    for output in outputs:
        address = f"{with_key(url)}/v1/augment?pipeline=flip-rotate-crop&seed=7&image_format=png"
        command = ["curl", "-fsS", "--data-binary", f"@{image}", address, "-o", str(output)]
        subprocess.run(command, check=True, timeout=60)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert decode_image(outputs[0].read_bytes()).shape[2] == 3


def test_the_client_augments_one_image_and_several_copies(client: Client, images: Path) -> None:
    image = images / "class0" / "000.png"
    (one,) = client.augment(image, pipeline=PIPELINE, seed=7, image_format="png")
    assert decode_image(one.data).shape == (32, 32, 3)
    assert one.provenance["render_key"]
    copies = client.augment(image.read_bytes(), pipeline=PIPELINE, seed=7, copies=3, image_format="png")
    assert len(copies) == 3
    assert copies[0].data == one.data
    assert copies[0].provenance["render_key"] == one.provenance["render_key"]


def test_the_client_expands_as_a_job(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    document = client.expand(dataset="photos", pipeline=PIPELINE, copies=2, output="photos-x2", seed=7)
    assert document["state"] == "succeeded"
    assert document["progress"]["done"] == 2 * NUM_RECORDS
    assert f"succeeded: {2 * NUM_RECORDS} of {2 * NUM_RECORDS}" in capsys.readouterr().err


@pytest.mark.frameworks
@pytest.mark.frameworks
def test_torch_reads_its_rank_and_resumes_exactly(client: Client) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from augment.client.torch import StreamDataset

    stream = client.stream(dataset="photos", pipeline=PIPELINE, batch_size=BATCH_SIZE)
    whole = list(torch.utils.data.DataLoader(StreamDataset(stream), batch_size=None))
    assert whole[0]["image"].shape == (BATCH_SIZE, 32, 32, 3)
    assert whole[0]["image"].dtype == torch.uint8
    assert whole[0]["label"].dtype == torch.int64
    floats = client.stream(dataset="photos", pipeline=PIPELINE, batch_size=BATCH_SIZE, dtype="float16", layout="NCHW")
    made = next(iter(StreamDataset(floats)))["image"]
    assert made.dtype == torch.float16
    assert torch.equal(made, (whole[0]["image"].permute(0, 3, 1, 2).double() / 255).half())
    half = next(iter(StreamDataset(stream, rank=1, world_size=2)))
    assert torch.equal(half["image"], whole[0]["image"][BATCH_SIZE // 2 :])
    first = StreamDataset(stream)
    reading = iter(first)
    next(reading)
    second = StreamDataset(stream)
    second.load_state_dict(first.state_dict())
    second.set_epoch(0)
    rest = list(second)
    assert len(rest) == len(whole) - 1
    assert all(torch.equal(one["image"], other["image"]) for one, other in zip(rest, whole[1:], strict=True))
    assert second.state_dict() == {"stream": stream.id, "epoch": 1, "next_batch": 0}
    with pytest.raises(ClientError, match="is of stream"):
        second.load_state_dict({"stream": "another", "epoch": 0, "next_batch": 0})


@pytest.mark.frameworks
def test_torch_refuses_several_loader_workers(client: Client) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from augment.client.torch import StreamDataset

    stream = client.stream(dataset="photos", pipeline=PIPELINE, batch_size=BATCH_SIZE)
    with pytest.raises(ClientError, match="num_workers=0"):
        list(torch.utils.data.DataLoader(StreamDataset(stream), batch_size=None, num_workers=2))
