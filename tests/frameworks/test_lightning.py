"""Lightning with streams as a data module: its epochs, its resume in the middle, its progress bar."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from augment.client import Client, ClientError
from tests.frameworks.streams_for_tests import NUM_BATCHES, STEPS, declare, epochs, run_script

torch = pytest.importorskip("torch", reason="torch is not installed")
lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")
# Lightning's own deprecations, and its advice on loggers and intervals, are no business of ours.
pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore")]


class Model(lightning.LightningModule):  # type: ignore[misc, name-defined]
    """One layer; it notes the rows and the pixels that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(60, 2)
        self.rows: dict[str, list[tuple[int, list[int], Any]]] = {"train": [], "val": [], "sanity": []}

    def note(self, stage: str, batch: Any) -> Any:
        self.rows[stage].append((self.current_epoch, batch["position"].tolist(), batch["image"].numpy().copy()))
        loss = torch.nn.functional.cross_entropy(self.layer(batch["image"].flatten(1)), batch["label"])
        self.log(f"{stage}_loss", loss)
        return loss

    def training_step(self, batch: Any) -> Any:
        return self.note("train", batch)

    def validation_step(self, batch: Any) -> None:
        self.note("sanity" if self.trainer.sanity_checking else "val", batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def trainer(folder: Path, **options: Any) -> Any:
    given: dict[str, Any] = {"max_epochs": 2, "accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    given |= {"enable_progress_bar": False, "enable_model_summary": False, "default_root_dir": folder}
    return lightning.Trainer(**(given | options))


def module(client: Client) -> Any:
    from augment.client.lightning import StreamDataModule

    return StreamDataModule(declare(client), validation(client), layout="NCHW", normalize=True)


def validation(client: Client) -> Any:
    return client.stream(dataset="noise", split="val", pipeline=STEPS, batch_size=4, normalize="imagenet")


def expected_rows(client: Client, *numbers: int) -> list[tuple[int, list[int], Any]]:
    stream = declare(client)
    return [
        (batch.epoch, batch.positions.tolist(), np.moveaxis(stream.normalize(batch.images), -1, 1))
        for batches in epochs(stream, *numbers)
        for batch in batches
    ]


def assert_same(got: list[tuple[int, list[int], Any]], wanted: list[tuple[int, list[int], Any]]) -> None:
    assert [row[:2] for row in got] == [row[:2] for row in wanted]
    for one, other in zip(got, wanted, strict=True):
        assert np.array_equal(one[2], other[2])


def test_each_epoch_of_the_trainer_is_that_epoch_of_the_stream(client: Client, tmp_path: Path) -> None:
    model = Model()
    data = module(client)
    next(iter(data.train_dataloader()))  # a peek changes nothing
    trainer(tmp_path, num_sanity_val_steps=1).fit(model, datamodule=data)
    assert_same(model.rows["train"], expected_rows(client, 0, 1))
    assert [row[0] for row in model.rows["sanity"]] == [0]
    assert [len(row[1]) for row in model.rows["val"]] == [4, 3, 4, 3]
    stream = validation(client)
    for (epoch, positions, images), plain in zip(
        model.rows["val"], [batch for number in (0, 1) for batch in stream.epoch(number)], strict=True
    ):
        assert (epoch, positions) == (plain.epoch, plain.positions.tolist())
        assert np.array_equal(images, np.moveaxis(stream.normalize(plain.images), -1, 1))


def test_a_checkpoint_resumes_at_the_next_batch(client: Client, tmp_path: Path) -> None:
    saving = lightning.callbacks.ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=2, save_top_k=-1)
    trainer(tmp_path, enable_checkpointing=True, callbacks=[saving]).fit(Model(), datamodule=module(client))
    for step in (2, NUM_BATCHES, NUM_BATCHES + 2):
        model = Model()
        trainer(tmp_path).fit(model, datamodule=module(client), ckpt_path=tmp_path / f"step={step}.ckpt")
        assert_same(model.rows["train"], expected_rows(client, 0, 1)[step:])


def test_the_progress_bar_shows_the_batches_of_an_epoch(client: Client, tmp_path: Path) -> None:
    bar = lightning.callbacks.TQDMProgressBar(refresh_rate=1)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        trainer(tmp_path, enable_progress_bar=True, callbacks=[bar]).fit(Model(), datamodule=module(client))
    counts = re.findall(r"Epoch 1:[^\r\n]*?\| (\d+)/(\d+) \[", shown.getvalue())
    assert {total for _, total in counts} == {str(NUM_BATCHES)}
    assert counts[-1][0] == str(NUM_BATCHES)


def test_a_stream_that_is_missing_or_wrong_is_named(client: Client) -> None:
    from augment.client.lightning import StreamDataModule

    with pytest.raises(ClientError, match="no stream for test; give StreamDataModule"):
        module(client).test_dataloader()
    with pytest.raises(ClientError, match="give what Client"):
        StreamDataModule(cast("Any", "http://127.0.0.1:8000"))
    with pytest.raises(ClientError, match="no `normalize` section"):
        StreamDataModule(declare(client, normalize=None), normalize=True)


def test_ranks_of_the_trainer_share_each_batch(client: Client, tmp_path: Path) -> None:
    """Two processes, as the trainer starts them; each writes down what it read."""
    run_script(_TWO_RANKS, client, tmp_path)
    ranks = [eval((tmp_path / f"rank{rank}").read_text()) for rank in (0, 1)]  # noqa: S307 - our own
    whole = [(epoch, positions) for epoch, positions, _ in expected_rows(client, 0, 1)]
    assert [len(rows) for rows in ranks] == [len(whole)] * 2
    for one, other, wanted in zip(*ranks, whole, strict=True):
        assert (one[0], one[1] + other[1]) == wanted


_TWO_RANKS = """
import sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import lightning.pytorch as lightning, torch
from augment.client import Client
from augment.client.lightning import StreamDataModule
from tests.frameworks.streams_for_tests import declare
url, folder = sys.argv[1:]
rows = []

class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(60, 2)
    def training_step(self, batch):
        rows.append((self.current_epoch, batch["position"].tolist()))
        return self.layer(batch["image"].float().flatten(1)).mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

trainer = lightning.Trainer(
    max_epochs=2, accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
)
trainer.fit(Model(), datamodule=StreamDataModule(declare(Client(url))))
Path(folder, f"rank{trainer.global_rank}").write_text(repr(rows))
"""
