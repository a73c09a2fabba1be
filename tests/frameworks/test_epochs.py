"""Epochs as trainers know them: a real server, PyTorch's loader, Lightning; batches equal those of their addresses."""

import itertools
import pickle
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import augment
from augment.client import Client, ClientError, ClientStream, ReplacedRowsWarning
from augment.images.encode import encode_image
from tests.acceptance.servers_for_tests import Server

torch = pytest.importorskip("torch", reason="torch is not installed")
pytestmark = pytest.mark.frameworks

PIPELINE = {"transforms": [{"RandomCrop": {"height": 4, "width": 4}}, {"HorizontalFlip": {"p": 0.5}}]}
NUM_TRAIN, NUM_VAL, BATCH_SIZE = 22, 7, 4
NUM_BATCHES = 6  # the last one has 2 rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny images of noise: 22 for training, 7 for validation."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(3)
    for split, number in (("train", NUM_TRAIN), ("val", NUM_VAL)):
        for index in range(number):
            path = root / split / f"class{index % 2}" / f"{index:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_image(generator.integers(0, 256, (6, 6, 3), np.uint8), "png"))
    return root


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Client]:
    with Server(tmp_path_factory.mktemp("service") / "home", data_roots=folder) as server, Client(server.url) as client:
        client.register("noise", folder)
        yield client


def declared(client: Client, **options: Any) -> ClientStream:
    wanted: dict[str, Any] = {"dataset": "noise", "pipeline": PIPELINE, "batch_size": BATCH_SIZE, "drop_last": False}
    return client.stream(**(wanted | options))


@pytest.fixture(scope="module")
def stream(client: Client) -> ClientStream:
    return declared(client)


@pytest.fixture(scope="module")
def local(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> augment.Stream:
    """Return the same stream in this process, as the reference for each address."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUGMENT_HOME", str(tmp_path_factory.mktemp("state")))
        file = folder.parent / "pipeline.json"
        file.write_text('{"transforms": [{"RandomCrop": {"height": 4, "width": 4}}, {"HorizontalFlip": {"p": 0.5}}]}')
        return augment.Stream(folder, file, batch_size=BATCH_SIZE, drop_last=False)


def loader(dataset: Any, **options: Any) -> Any:
    return torch.utils.data.DataLoader(dataset, batch_size=None, **options)


# ------------------------------------------------------------------------------------------------ sequences of passes


@dataclass
class Pass:
    """One pass by the rules of the documentation: its epoch is known from its first batch on."""

    batches: Any
    epoch: int | None = None
    index: int = 0


@dataclass
class Trainer:
    """Actions of a trainer on a dataset, compared with ``expected``, a second implementation of the rule."""

    stream: ClientStream
    local: augment.Stream
    rank: int = 0
    world_size: int = 1
    last: int = -1
    pending: tuple[int, int] | None = None
    reached: tuple[int, int] | None = None
    passes: list[Pass] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dataset = self.make()

    def make(self) -> Any:
        from augment.client.torch import StreamDataset

        return StreamDataset(self.stream, rank=self.rank, world_size=self.world_size)

    def begin(self) -> None:
        self.passes.append(Pass(iter(self.dataset)))

    def read(self, some: Pass, number: int) -> None:
        for _ in range(number):
            if some.epoch is None:
                some.epoch, some.index = self.pending or (self.last + 1, 0)
                self.pending, self.last = None, some.epoch
            got = next(some.batches, None)
            if some.index == NUM_BATCHES:
                assert got is None
                self.passes.remove(some)
                return
            wanted = self.local.batch(some.epoch, some.index, rank=self.rank, world_size=self.world_size)
            assert got is not None
            assert got["key"] == wanted.keys
            assert got["position"].tolist() == wanted.positions.tolist()
            assert np.array_equal(got["image"].numpy(), wanted.images)
            assert got["is_padding"].tolist() == np.asarray(wanted.is_padding).tolist()
            some.index += 1
            self.reached = (some.epoch + 1, 0) if some.index == NUM_BATCHES else (some.epoch, some.index)

    def set_epoch(self, epoch: int) -> None:
        self.dataset.set_epoch(epoch)
        if self.pending is None or self.pending[0] != epoch:
            self.pending = (epoch, 0)
        if self.reached is None or self.reached[1] == 0:
            self.reached = self.pending

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.dataset.state_dict()
        assert (state["epoch"], state["next_batch"]) == (self.reached or self.pending or (self.last + 1, 0))
        return state

    def resume(self, world_size: int) -> None:
        """In another process, perhaps with another number of ranks: a dataset that knows only the state."""
        state = pickle.loads(pickle.dumps(self.state()))  # noqa: S301 - our own
        for some in self.passes:
            some.batches.close()
        self.rank, self.world_size = world_size - 1, world_size
        self.last, self.passes = -1, []
        self.dataset = self.make()
        self.dataset.load_state_dict(state)
        self.pending = self.reached = (state["epoch"], state["next_batch"])

    def copy(self) -> None:
        """Through a pickle, as frameworks do that start processes."""
        for some in self.passes:
            some.batches.close()
        self.passes = []
        self.dataset = pickle.loads(pickle.dumps(self.dataset))  # noqa: S301 - our own


STEPS = st.one_of(
    st.just(("begin",)),
    st.tuples(st.just("read"), st.integers(0, 3), st.integers(1, NUM_BATCHES + 1)),
    st.tuples(st.just("drop"), st.integers(0, 3)),
    st.tuples(st.just("set_epoch"), st.integers(0, 9)),
    st.just(("state",)),
    st.tuples(st.just("resume"), st.sampled_from([1, 2, 4])),
    st.just(("copy",)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=3, max_size=16))
def test_any_sequence_of_passes_reads_exactly_the_rows_of_its_addresses(
    stream: ClientStream, local: augment.Stream, steps: list[tuple[Any, ...]]
) -> None:
    trainer = Trainer(stream, local)
    for name, *arguments in steps:
        if name in {"read", "drop"}:
            if not trainer.passes:
                trainer.begin()
            some = trainer.passes[arguments[0] % len(trainer.passes)]
            if name == "read":
                trainer.read(some, arguments[1])
            else:
                some.batches.close()
                trainer.passes.remove(some)
        else:
            getattr(trainer, name)(*arguments)
    for some in trainer.passes:
        some.batches.close()


# ------------------------------------------------------------------------------------------------- the ways of trainers


def test_every_pass_of_a_loader_is_a_whole_epoch(stream: ClientStream) -> None:
    from augment.client.torch import StreamDataset

    batches = loader(StreamDataset(stream))
    assert [sum(1 for _ in itertools.islice(batches, len(batches))) for _ in range(5)] == [NUM_BATCHES] * 5


def test_a_peek_uses_up_a_number_and_costs_no_row(stream: ClientStream, local: augment.Stream) -> None:
    from augment.client.torch import StreamDataset

    dataset = StreamDataset(stream)
    next(iter(dataset))
    assert [batch["key"] for batch in dataset] == [batch.keys for batch in local.batches(1)]
    dataset.set_epoch(7)
    assert [batch["key"] for batch in dataset] == [batch.keys for batch in local.batches(7)]


def test_a_state_of_an_epochs_end_resumes_with_a_whole_epoch(stream: ClientStream) -> None:
    from augment.client.torch import StreamDataset

    dataset = StreamDataset(stream)
    for _ in itertools.islice(loader(dataset), NUM_BATCHES):
        pass
    state = dataset.state_dict()
    assert (state["epoch"], state["next_batch"]) == (1, 0)
    again = StreamDataset(stream)
    again.load_state_dict({**state, "epoch": 0, "next_batch": NUM_BATCHES})  # as an earlier version wrote it
    assert sum(1 for _ in again) == NUM_BATCHES


def test_workers_of_the_loader_are_refused_at_the_first_batch(stream: ClientStream) -> None:
    from augment.client.torch import StreamDataset

    with pytest.raises(ClientError, match="num_workers=0"):
        next(iter(loader(StreamDataset(stream), num_workers=1)))


def test_a_loader_that_would_collate_batches_says_so(stream: ClientStream) -> None:
    from augment.client.torch import StreamDataset

    with pytest.raises(ClientError, match="batch_size=None"):
        next(iter(torch.utils.data.DataLoader(StreamDataset(stream))))
    with pytest.raises(ClientError, match="batch_size=None"):
        next(iter(torch.utils.data.DataLoader(StreamDataset(stream), batch_size=2)))


@pytest.mark.parametrize("wrong", ["http://127.0.0.1:8000", None, 3])
def test_what_is_no_stream_is_refused_by_name(wrong: Any) -> None:
    from augment.client.torch import StreamDataset

    with pytest.raises(ClientError, match=re.escape(f"stream is {wrong!r}; give what Client(url).stream")):
        StreamDataset(wrong)


def test_columns_are_chosen_by_name(stream: ClientStream) -> None:
    from augment.client.torch import StreamDataset

    batch = next(iter(StreamDataset(stream, columns=["image", "label"])))
    assert list(batch) == ["image", "label"]
    with pytest.raises(ClientError, match=r"no column 'masks'; it has .*image"):
        next(iter(StreamDataset(stream, columns=["masks"])))
    with pytest.raises(ClientError, match="give a list of names"):
        StreamDataset(stream, columns="image")


def test_a_pickled_stream_holds_no_open_connection(client: Client) -> None:
    stream = declared(client)
    reading = stream.epoch(0)
    next(reading)
    again: ClientStream = pickle.loads(pickle.dumps(stream))  # noqa: S301 - our own
    reading.close()
    assert [batch.keys for batch in again.epoch(0)] == [batch.keys for batch in stream.epoch(0)]


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_read_each_row_once_and_padding_is_marked(
    stream: ClientStream, local: augment.Stream, world_size: int
) -> None:
    ranks = [list(stream.epoch(0, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert {len(batches) for batches in ranks} == {NUM_BATCHES}
    for index in range(NUM_BATCHES):
        slices = [batches[index] for batches in ranks]
        assert all(len(each) for each in slices), "no rank is without a row"
        kept = [
            (key, position)
            for each in slices
            for key, position, padding in zip(each.keys, each.positions, np.asarray(each.is_padding), strict=True)
            if not padding
        ]
        whole = local.batch(0, index)
        assert kept == list(zip(whole.keys, whole.positions.tolist(), strict=True))
    last = [batches[-1] for batches in ranks]
    assert [np.asarray(each.is_padding).tolist() for each in last] == {
        1: [[False, False]],
        2: [[False], [False]],
        4: [[False], [False], [True], [True]],
    }[world_size]


@pytest.mark.parametrize("form", ["npz", "tar"])
def test_padding_is_marked_in_every_format(client: Client, stream: ClientStream, form: str) -> None:
    import io
    import json
    import tarfile
    import urllib.request

    server = client._transport.current
    url = f"http://{server.host}:{server.port}/v1/streams/{stream.id}/batches/0/{NUM_BATCHES - 1}"
    for rank, expected in enumerate([False, False, True, True]):
        with urllib.request.urlopen(f"{url}?rank={rank}&world_size=4&format={form}", timeout=60) as answer:  # noqa: S310
            data = answer.read()
        if form == "npz":
            found = np.load(io.BytesIO(data))["is_padding"].tolist()
        else:
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                member = next(each for each in archive if each.name.endswith(".json"))
                found = [json.loads(archive.extractfile(member).read())["is_padding"]]  # type: ignore[union-attr]
        assert found == [expected]


def test_evaluation_sees_each_record_once_in_the_order_of_keys(client: Client) -> None:
    stream = client.stream(dataset="noise", split="val", pipeline=PIPELINE, batch_size=BATCH_SIZE)
    keys = [key for batch in stream.epoch(0) for key in batch.keys]
    assert keys == sorted(keys)
    assert len(set(keys)) == NUM_VAL
    assert not stream.notices


def test_a_training_stream_says_how_many_rows_an_epoch_drops(client: Client) -> None:
    stream = client.stream(dataset="noise", pipeline=PIPELINE, batch_size=BATCH_SIZE)
    assert stream.document["shuffle"] is True
    assert stream.document["drop_last"] is True
    assert stream.notices == ("each epoch drops 2 of 22 rows, too few for a batch of 4; drop_last=False keeps them",)


def test_rows_that_stand_for_refused_records_are_warned_of_once_an_epoch(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    for index in range(8):
        path = tmp_path / f"{index}.png"
        path.write_bytes(encode_image(generator.integers(0, 256, (6, 6, 3), np.uint8), "png"))
    with Server(tmp_path / "home", data_roots=tmp_path) as server, Client(server.url) as other:
        other.register("changed", tmp_path)
        (tmp_path / "3.png").write_bytes(encode_image(generator.integers(0, 256, (6, 6, 3), np.uint8), "png") + b"more")
        stream = other.stream(dataset="changed", pipeline=PIPELINE, batch_size=BATCH_SIZE)
        for epoch in range(2):
            with pytest.warns(
                ReplacedRowsWarning, match=rf"epoch {epoch}: 1 of 8 rows replace .*the first of them 3;"
            ) as told:
                assert sum(len(batch) for batch in stream.epoch(epoch)) == 8
            assert len([each for each in told if each.category is ReplacedRowsWarning]) == 1


# ------------------------------------------------------------------------------------------------- Lightning


def test_lightning_trains_every_row_of_every_epoch(client: Client, local: augment.Stream, tmp_path: Path) -> None:
    """Three epochs with validation and a sanity check, as Lightning runs them."""
    lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")
    from augment.client.torch import StreamDataset

    seen: dict[str, list[list[str]]] = {"train": [], "val": [], "sanity": []}

    class Model(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(48, 2)

        def _loss(self, batch: Any) -> Any:
            images = batch["image"].float().flatten(1) / 255
            return torch.nn.functional.cross_entropy(self.layer(images), batch["label"])

        def on_train_epoch_start(self) -> None:
            seen["train"].append([])

        def training_step(self, batch: Any) -> Any:
            seen["train"][-1] += batch["key"]
            return self._loss(batch)

        def on_validation_epoch_start(self) -> None:
            seen["sanity" if self.trainer.sanity_checking else "val"].append([])

        def validation_step(self, batch: Any) -> None:
            seen["sanity" if self.trainer.sanity_checking else "val"][-1] += batch["key"]

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    train = loader(StreamDataset(declared(client)))
    val = loader(StreamDataset(client.stream(dataset="noise", split="val", pipeline=PIPELINE, batch_size=BATCH_SIZE)))
    trainer = lightning.Trainer(
        max_epochs=3,
        num_sanity_val_steps=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice on loader workers and its own deprecations
        trainer.fit(Model(), train, val)
    assert [len(keys) for keys in seen["train"]] == [NUM_TRAIN] * 3
    assert [len(keys) for keys in seen["val"]] == [NUM_VAL] * 3
    assert [len(keys) for keys in seen["sanity"]] == [BATCH_SIZE]
    assert seen["train"] == [[key for batch in local.batches(epoch) for key in batch.keys] for epoch in range(3)]
