"""StreamPyDataset with the real Keras: what is trained is what the plain client reads, in its order."""

import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.client import Client, ClientError, ClientStream
from tests.acceptance.servers_for_tests import ROOT
from tests.frameworks.service_for_tests import (
    BATCH_SIZE,
    NUM_BATCHES,
    client_of_service,
    declared,
    num_lines_of_user,
    page_blocks,
)

keras = pytest.importorskip("keras", reason="keras is not installed")
pytestmark = pytest.mark.frameworks


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with client_of_service(tmp_path_factory.mktemp("service")) as client:
        yield client


@pytest.fixture(scope="module")
def stream(client: Client) -> ClientStream:
    return declared(client)


def dataset(stream: ClientStream, **options: Any) -> Any:
    from augment.client.keras import StreamPyDataset

    return StreamPyDataset(stream, **options)


def new_model() -> Any:
    """A model whose weights, after training, tell each batch that it was trained with and their order."""
    keras.utils.set_random_seed(1)
    layers = [keras.Input((8, 8, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(2)]
    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
    return model


def trained_by_hand(stream: ClientStream, places: list[tuple[int, int]]) -> list[np.ndarray]:
    """The weights after these batches of the plain client, one ``train_on_batch`` for each."""
    model = new_model()
    for epoch, index in places:
        for batch in stream.epoch(epoch, index, index + 1):
            model.train_on_batch(np.array(batch.images), batch.labels)
    weights: list[np.ndarray] = model.get_weights()
    return weights


def all_of(*epochs: int) -> list[tuple[int, int]]:
    return list(itertools.product(epochs, range(NUM_BATCHES)))


def assert_equal_weights(model: Any, expected: list[np.ndarray]) -> None:
    for got, wanted in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


class StopAfter(keras.callbacks.Callback):  # type: ignore[misc,name-defined,unused-ignore]
    """Keeps the state behind some batch and ends the training there, as a kill would."""

    def __init__(self, data: Any, epoch: int, num_batches: int) -> None:
        super().__init__()
        self.data, self.place = data, (epoch, num_batches)
        self.now = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras' signature
        self.now = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras' signature
        if (self.now, batch + 1) == self.place:
            self.state = json.loads(json.dumps(self.data.state_dict()))
            raise KeyboardInterrupt


def test_fit_trains_the_batches_of_the_plain_client(stream: ClientStream, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = dataset(stream), new_model()
    model.fit(data, epochs=2, shuffle=False, callbacks=[data.callback], verbose=1)
    assert_equal_weights(model, trained_by_hand(stream, all_of(0, 1)))
    printed = capsys.readouterr().out
    assert "Epoch 2/2" in printed
    assert f"{NUM_BATCHES}/{NUM_BATCHES}" in printed  # Keras' own bar
    assert data.state_dict() == {"stream": stream.id, "epoch": 2, "next_batch": 0}


@pytest.mark.parametrize("num_batches", [4, NUM_BATCHES - 1, NUM_BATCHES])
def test_training_goes_on_in_the_middle_of_an_epoch(stream: ClientStream, num_batches: int, tmp_path: Path) -> None:
    data, model = dataset(stream), new_model()
    stop = StopAfter(data, 1, num_batches)
    with pytest.raises(KeyboardInterrupt):
        model.fit(data, epochs=3, shuffle=False, callbacks=[data.callback, stop], verbose=0)
    model.save(tmp_path / "model.keras")

    data, model = dataset(stream), keras.models.load_model(tmp_path / "model.keras")
    data.load_state_dict(stop.state)
    if num_batches < NUM_BATCHES:
        assert (data.epoch, len(data)) == (1, NUM_BATCHES - num_batches)
        model.fit(data, initial_epoch=1, epochs=2, shuffle=False, callbacks=[data.callback], verbose=0)
    assert (data.epoch, len(data)) == (2, NUM_BATCHES)
    model.fit(data, initial_epoch=2, epochs=3, shuffle=False, callbacks=[data.callback], verbose=0)
    assert_equal_weights(model, trained_by_hand(stream, all_of(0, 1, 2)))


def test_a_fit_beyond_the_rest_of_an_epoch_says_to_split_it(stream: ClientStream) -> None:
    data = dataset(stream)
    data.load_state_dict({"stream": stream.id, "epoch": 1, "next_batch": 4})
    with pytest.raises(ClientError, match=r"takes 2 batches an epoch, epoch 2 has 6 .* a fit for itself"):
        new_model().fit(data, initial_epoch=1, epochs=3, shuffle=False, callbacks=[data.callback], verbose=0)
    data.load_state_dict({"stream": stream.id, "epoch": 1, "next_batch": 4})
    with pytest.raises(ClientError, match=r"state is in epoch 1 and fit begins with epoch 0; .*initial_epoch"):
        new_model().fit(data, epochs=2, shuffle=False, callbacks=[data.callback], verbose=0)
    data = dataset(stream)
    with pytest.raises(ClientError, match=r"takes 3 batches an epoch, epoch 0 has 6 .*steps_per_epoch"):
        new_model().fit(data, steps_per_epoch=3, shuffle=False, callbacks=[data.callback], verbose=0)


def test_without_the_callback_each_epoch_is_whole_and_the_position_unknown(stream: ClientStream) -> None:
    seen = []

    def convert(batch: Any) -> Any:
        seen.append((batch.epoch, batch.index))
        return batch.images, batch.labels

    data = dataset(stream, convert=convert)
    new_model().fit(data, epochs=3, verbose=0)  # shuffled by Keras
    for epoch in sorted({epoch for epoch, _ in seen})[-2:]:
        assert {index for number, index in seen if number == epoch} == set(range(NUM_BATCHES))
    assert len({epoch for epoch, _ in seen}) >= 3
    with pytest.raises(ClientError, match=r"position is unknown: .*callbacks=\[data.callback\]"):
        data.state_dict()


def test_shuffling_with_the_callback_says_what_to_do(stream: ClientStream) -> None:
    random.seed(1)  # Keras draws the order from it
    data = dataset(stream)
    assert len(list(data)) == NUM_BATCHES  # read in order before
    with pytest.raises(ClientError, match="give fit shuffle=False"):
        new_model().fit(data, epochs=1, callbacks=[data.callback], verbose=0)


def test_any_order_gives_the_batches_of_their_numbers(stream: ClientStream) -> None:
    data = dataset(stream)
    data.set_epoch(3)
    expected = list(stream.epoch(3))
    for index in (4, 0, 1, 5, 2, 3, 4, 5):
        images, labels = data[index]
        assert np.array_equal(images, expected[index].images)
        assert labels.tolist() == np.asarray(expected[index].labels).tolist()
    with pytest.raises(IndexError, match="index is 6; the epoch has batches 0 to 5"):
        data[NUM_BATCHES]
    assert len(list(data)) == NUM_BATCHES


def test_predict_and_evaluate_read_a_whole_epoch(stream: ClientStream) -> None:
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    data = dataset(stream, targets=None)
    data.set_epoch(5)
    pixels = np.concatenate([batch.images for batch in stream.epoch(5)])
    assert np.array_equal(model.predict(data, verbose=0).reshape(pixels.shape), pixels)
    assert new_model().evaluate(dataset(stream), verbose=0) > 0


def test_validation_reads_a_stream_too(client: Client, stream: ClientStream) -> None:
    data, validation = dataset(stream), dataset(declared(client, seed=7))
    history = new_model().fit(
        data, epochs=2, shuffle=False, validation_data=validation, callbacks=[data.callback], verbose=0
    )
    assert len(history.history["val_loss"]) == 2


def test_columns_by_name_and_by_a_function(client: Client) -> None:
    objects = client.stream(dataset="objects", pipeline={"transforms": []}, batch_size=2, shuffle=False)
    with pytest.raises(ClientError, match=r"the column 'boxes' is no array.*give convert="):
        dataset(objects, inputs="position", targets="boxes")[0]
    with pytest.raises(ClientError, match=r"no column 'label'; it has image, .*boxes"):
        dataset(objects, inputs="position")[0]
    inputs, targets = dataset(objects, inputs=["position", "is_padding"], targets="position")[0]
    assert set(inputs) == {"position", "is_padding"}
    assert targets.tolist() == [0, 1]
    padded = dataset(objects, convert=lambda batch: (batch.positions, np.array([len(each) for each in batch.boxes])))
    assert [padded[i][1].tolist() for i in range(2)] == [[0, 1], [2, 0]]


@pytest.mark.parametrize("options", [{"workers": 2}, {"use_multiprocessing": True}])
def test_workers_are_refused_with_the_remedy(stream: ClientStream, options: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="take workers=1 and use_multiprocessing=False: the stream fetches ahead"):
        dataset(stream, **options)


def test_a_state_of_another_stream_is_refused(client: Client, stream: ClientStream) -> None:
    with pytest.raises(ClientError, match=f"the state is of stream .*, this one is {stream.id}"):
        dataset(stream).load_state_dict(dataset(declared(client, seed=9)).state_dict())


def test_examples_of_the_page_run(client: Client) -> None:
    example, resume = page_blocks("Keras")
    assert num_lines_of_user(example) <= 5
    assert num_lines_of_user(resume) <= 5
    stream = client.stream(dataset="photos", pipeline="light", batch_size=BATCH_SIZE, seed=1)
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    model = keras.Sequential(layers)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    state = {"stream": stream.id, "epoch": 2, "next_batch": 1}
    names = {"stream": stream, "model": model, "state": state}
    exec(example + resume, names)  # noqa: S102 - our own page
    assert names["data"].state_dict()["epoch"] == 4


@pytest.mark.parametrize("backend", sorted({"jax", "tensorflow", "torch"} - {keras.backend.backend()}))
def test_other_backends_train_the_same(backend: str) -> None:
    """Two of these tests once more in a process of its own: the backend is chosen when Keras is imported."""
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    tests = ["test_fit_trains_the_batches_of_the_plain_client", "test_training_goes_on_in_the_middle_of_an_epoch[4]"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "frameworks", *(f"{__file__}::{test}" for test in tests)],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
