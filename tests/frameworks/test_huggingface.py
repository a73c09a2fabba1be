"""Hugging Face's Trainer, Datasets and Accelerate: each row of an epoch once, whoever splits them; exact resume."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.client import Client, ClientError, ClientStream
from tests.frameworks.streams_for_tests import BATCH_SIZE, NUM_ROWS, declare, epochs, run_script

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("datasets", reason="datasets is not installed")
pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore")]

COLUMNS = {"image": "pixel_values", "label": "labels", "position": "position"}


@pytest.fixture(scope="module")
def stream(client: Client) -> ClientStream:
    return declare(client)


def rows(stream: ClientStream, **options: Any) -> Any:
    from augment.client.huggingface import RowDataset

    given: dict[str, Any] = {"columns": COLUMNS, "layout": "NCHW", "normalize": True}
    return RowDataset(stream, **(given | options))


def positions(stream: ClientStream, *numbers: int) -> list[list[int]]:
    return [[place for batch in batches for place in batch.positions.tolist()] for batches in epochs(stream, *numbers)]


def pixels(stream: ClientStream, *numbers: int) -> Any:
    batches = [batch for number in epochs(stream, *numbers) for batch in number]
    return np.concatenate([np.moveaxis(stream.normalize(batch.images), -1, 1) for batch in batches])


def test_rows_are_those_of_the_batches(stream: ClientStream) -> None:
    import datasets

    dataset = rows(stream)
    assert isinstance(dataset, datasets.IterableDataset)
    assert isinstance(dataset, torch.utils.data.IterableDataset)
    assert len(dataset) == NUM_ROWS
    for number in (0, 1):
        found = list(dataset)
        assert [list(row) for row in found] == [["pixel_values", "labels", "position"]] * NUM_ROWS
        assert [int(row["position"]) for row in found] == positions(stream, number)[0]
        assert np.array_equal(np.stack([row["pixel_values"] for row in found]), pixels(stream, number))
    dataset.set_epoch(7)
    assert np.array_equal(np.stack([row["pixel_values"] for row in dataset]), pixels(stream, 7))


def test_length_leaves_out_the_rows_that_an_epoch_drops(client: Client) -> None:
    dataset = rows(declare(client, drop_last=True))
    assert len(dataset) == len(list(dataset)) == 20


@pytest.mark.parametrize("num_read", [0, 1, BATCH_SIZE, 9, NUM_ROWS])
def test_a_state_resumes_at_the_next_row(stream: ClientStream, num_read: int) -> None:
    dataset = rows(stream)
    reading = iter(dataset)
    found = [int(next(reading)["position"]) for _ in range(num_read)]
    state = json.loads(json.dumps(dataset.state_dict()))
    again = rows(stream)
    again.load_state_dict(state)
    again.set_epoch(state["epoch"])
    found += [int(row["position"]) for row in again]
    whole = [place for each in positions(stream, 0, 1) for place in each]
    assert found == whole[: max(NUM_ROWS, len(found))]
    assert len(found) in {NUM_ROWS, 2 * NUM_ROWS}


def test_a_pickled_dataset_and_a_mapped_one_read_the_same(stream: ClientStream) -> None:
    again = pickle.loads(pickle.dumps(rows(stream)))  # noqa: S301 - our own
    assert [int(row["position"]) for row in again] == positions(stream, 0)[0]
    mapped = rows(stream).map(lambda row: {"twice": 2 * row["position"]})
    assert [int(row["twice"]) for row in mapped] == [2 * each for each in positions(stream, 0)[0]]


def test_columns_that_are_no_mapping_are_refused(stream: ClientStream) -> None:
    with pytest.raises(ClientError, match="give a mapping"):
        rows(stream, columns=["image"])


# ------------------------------------------------------------------------------------------------------ Trainer


def test_the_trainer_reads_two_epochs_and_resumes_in_the_middle(client: Client, tmp_path: Path) -> None:
    """A checkpoint after 8 of 12 steps: the rest is what the run without a break read."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    stream = declare(client)

    class Model(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(60, 2)
            self.seen: list[Any] = []

        def forward(self, pixel_values: Any, labels: Any, position: Any) -> dict[str, Any]:
            self.seen.append((position.tolist(), pixel_values.numpy().copy()))
            logits = self.layer(pixel_values.flatten(1))
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    def train(checkpoint: str | None) -> tuple[Model, Any]:
        model = Model()
        arguments = transformers.TrainingArguments(
            str(tmp_path), num_train_epochs=2, per_device_train_batch_size=BATCH_SIZE, save_steps=8, report_to="none",
            use_cpu=True, logging_steps=1, disable_tqdm=True,
        )  # fmt: skip
        trainer = transformers.Trainer(model, arguments, train_dataset=rows(stream))
        trainer.train(resume_from_checkpoint=checkpoint)
        return model, trainer.state

    whole, state = train(None)
    assert state.max_steps == state.global_step == 12
    assert [place for seen, _ in whole.seen for place in seen] == [*range(NUM_ROWS)] * 2
    assert np.array_equal(np.concatenate([images for _, images in whole.seen]), pixels(stream, 0, 1))
    rest, _ = train(str(tmp_path / "checkpoint-8"))
    assert [seen for seen, _ in rest.seen] == [seen for seen, _ in whole.seen[8:]]
    assert all(np.array_equal(one[1], other[1]) for one, other in zip(rest.seen, whole.seen[8:], strict=True))


# --------------------------------------------------------------------------------------------------- Accelerate

_TWO_PROCESSES = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import accelerate, torch
from torch.utils.data import DataLoader
from accelerate.utils import DataLoaderConfiguration
from augment.client import Client, ClientError
from augment.client.huggingface import RowDataset
from augment.client.torch import StreamDataset
from tests.frameworks.streams_for_tests import BATCH_SIZE, declare
url, folder = sys.argv[1:]
stream = declare(Client(url))
found = {}
for dispatch in (None, True, False):
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=False)
    configuration = DataLoaderConfiguration(dispatch_batches=dispatch)
    accelerator = accelerate.Accelerator(cpu=True, dataloader_config=configuration)
    loader = accelerator.prepare(DataLoader(RowDataset(stream), batch_size=BATCH_SIZE))
    found[f"rows, dispatch_batches={dispatch}"] = [
        [row for batch in loader for row in accelerator.gather_for_metrics(batch["position"]).tolist()]
        for epoch in range(2)
    ]
rank, world_size = accelerator.process_index, accelerator.num_processes
whole = accelerator.prepare(StreamDataset(stream, text=False, rank=rank, world_size=world_size))
found["batches"] = [[], []]
for epoch in range(2):
    for batch in whole:
        places, is_padding = accelerator.gather(batch["position"]), accelerator.gather(batch["is_padding"])
        found["batches"][epoch] += places[~is_padding].tolist()
try:
    next(iter(StreamDataset(stream)))
except ClientError as error:
    found["refused"] = str(error)
Path(folder, f"rank{rank}").write_text(json.dumps(found))
accelerator.end_training()
"""


def test_accelerate_reads_each_row_once_in_two_processes(stream: ClientStream, client: Client, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run_script(_TWO_PROCESSES, client, tmp_path, *launcher)
    expected = positions(stream, 0, 1)
    for rank in (0, 1):
        found = json.loads((tmp_path / f"rank{rank}").read_text())
        assert "rank=0, world_size=1" in found.pop("refused")
        assert len(found) == 4
        for name, read in found.items():
            # Without dispatching, Accelerate fills the last global batch of 8 with the first rows: that is its rule.
            padded = [each + each[:2] for each in expected] if name.endswith("=False") else expected
            assert read == padded, name


def test_accelerate_prepares_a_loader_in_one_process(stream: ClientStream) -> None:
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    accelerator = accelerate.Accelerator(cpu=True)
    loader = accelerator.prepare(torch.utils.data.DataLoader(rows(stream), batch_size=8))
    found = [[place for batch in loader for place in batch["position"].tolist()] for _ in range(2)]
    assert found == positions(stream, 0, 1)
