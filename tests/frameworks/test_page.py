"""The page on frameworks, block by block as it stands, with the real frameworks and a real server."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.images.encode import encode_image
from tests.acceptance.servers_for_tests import ROOT, Server

torch = pytest.importorskip("torch", reason="torch is not installed")
pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore")]

_PAGE = (ROOT / "docs" / "frameworks.md").read_text(encoding="utf-8")
_HERE = "http://127.0.0.1:8000"
_LINES_MAX = 5
"""Lines that a user adds to a training, without imports and the loop's own body."""


def blocks(heading: str) -> list[str]:
    """Return the blocks below a heading; those above the first heading for an empty one."""
    section = _PAGE.partition(f"\n## {heading}\n")[2] if heading else _PAGE
    return re.findall(r"^```py\n(.*?)^```$", section.partition("\n## ")[0], re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The names that the page's first block and its PyTorch block leave, and a service that they ask."""
    folder = tmp_path_factory.mktemp("page")
    generator = np.random.default_rng(1)
    for index in range(8):
        path = folder / "photos" / f"class{index % 2}" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(generator.integers(0, 256, (240, 320, 3), np.uint8), "jpeg"))
    with Server(folder / "home", data_roots=folder) as server:
        server.register(folder / "photos")
        found: dict[str, Any] = {"url": server.url}
        for block in blocks(""):
            exec(block.replace(_HERE, server.url), found)  # noqa: S102 - the page's own words
        yield found


def run(heading: str, names: dict[str, Any]) -> None:
    for block in blocks(heading):
        exec(block, names)  # noqa: S102 - the page's own words


def test_pytorch(names: dict[str, Any]) -> None:
    run("PyTorch", names)
    assert names["images"].shape == (4, 3, 224, 224)
    assert names["images"].dtype == torch.float32


def test_lightning(names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")
    monkeypatch.chdir(tmp_path)
    counts = {"train": 0, "val": 0}

    class Model(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, 2)

        def loss(self, batch: Any) -> Any:
            return torch.nn.functional.cross_entropy(self.layer(batch["image"].mean((2, 3))), batch["label"])

        def training_step(self, batch: Any) -> Any:
            counts["train"] += len(batch["image"])
            return self.loss(batch)

        def validation_step(self, batch: Any) -> None:
            counts["val"] += 0 if self.trainer.sanity_checking else len(batch["image"])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    run("Lightning", names | {"model": Model()})
    assert counts == {"train": 16, "val": 16}


def test_hugging_face_trainer(names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    monkeypatch.chdir(tmp_path)
    configuration = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic", num_labels=2
    )
    found = names | {"model": transformers.ResNetForImageClassification(configuration)}
    run("Hugging Face Trainer", found)
    assert os.listdir("runs") == ["checkpoint-4"]  # noqa: PTH208 - two epochs of two batches


def test_accelerate(names: dict[str, Any]) -> None:
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    found = names | {"StreamDataset": _stream_dataset()}
    run("Accelerate", found)
    assert found["images"].shape == (4, 3, 224, 224)


def test_monai(names: dict[str, Any]) -> None:
    pytest.importorskip("monai", reason="monai is not installed")
    found = names | {"StreamDataset": _stream_dataset()}
    run("MONAI", found)
    assert found["logits"].shape == (4, 2)


@pytest.mark.parametrize("heading", ["PyTorch", "Lightning", "Hugging Face Trainer", "Accelerate", "MONAI"])
def test_a_user_writes_few_lines(heading: str) -> None:
    lines = [
        line
        for line in "".join(blocks(heading)).splitlines()
        if line.strip() and not line.startswith(("import ", "from ", "    ", ")"))
    ]
    assert 0 < len(lines) <= _LINES_MAX, lines


def _stream_dataset() -> Any:
    from augment.client.torch import StreamDataset

    return StreamDataset
