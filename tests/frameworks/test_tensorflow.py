"""stream_dataset with the real TensorFlow: elements are the batches of the plain client."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from augment.client import Client, ClientError, ClientStream
from tests.acceptance.servers_for_tests import wait_until
from tests.frameworks.service_for_tests import (
    BATCH_SIZE,
    NUM_BATCHES,
    client_of_service,
    declared,
    num_lines_of_user,
    page_blocks,
)

tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
pytestmark = pytest.mark.frameworks


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with client_of_service(tmp_path_factory.mktemp("service")) as client:
        yield client


@pytest.fixture(scope="module")
def stream(client: Client) -> ClientStream:
    return declared(client)


def dataset(stream: ClientStream, **options: Any) -> Any:
    from augment.client.tensorflow import stream_dataset

    return stream_dataset(stream, **options)


def assert_equal(element: Any, batch: Any) -> None:
    assert (int(element["epoch"]), int(element["index"])) == (batch.epoch, batch.index)
    assert [key.decode() for key in element["key"].numpy()] == batch.keys
    assert np.array_equal(element["image"].numpy(), batch.images)
    assert np.array_equal(element["label"].numpy(), batch.labels)
    assert np.array_equal(element["position"].numpy(), batch.positions)


def test_each_pass_is_the_next_epoch_of_the_plain_client(stream: ClientStream) -> None:
    data = dataset(stream).prefetch(2)
    assert int(data.cardinality()) == NUM_BATCHES
    for epoch in range(2):
        elements = list(data)
        assert len(elements) == NUM_BATCHES
        for element, batch in zip(elements, stream.epoch(epoch), strict=True):
            assert_equal(element, batch)
    next(iter(data))  # a look uses up a number
    assert int(next(iter(data))["epoch"]) == 3


def test_repeat_goes_on_with_the_next_epochs(stream: ClientStream) -> None:
    places = [
        (int(each["epoch"]), int(each["index"])) for each in dataset(stream, columns=["epoch", "index"]).repeat(2)
    ]
    assert places == [(epoch, index) for epoch in range(2) for index in range(NUM_BATCHES)]


def test_reading_goes_on_behind_the_batch_in_hand(stream: ClientStream) -> None:
    whole = list(stream.epoch(4))
    for element in dataset(stream, epoch=4).prefetch(4):
        if int(element["index"]) == 2:
            break
    rest = dataset(stream, epoch=int(element["epoch"]), start=int(element["index"]) + 1)
    assert int(rest.cardinality()) == NUM_BATCHES - 3
    for _ in range(2):  # a given epoch is that of every pass
        for got, batch in zip(rest, whole[3:], strict=True):
            assert_equal(got, batch)


def test_ranks_read_their_slices(stream: ClientStream) -> None:
    halves = [dataset(stream, epoch=0, rank=rank, world_size=2) for rank in range(2)]
    for left, right, batch in zip(*halves, stream.epoch(0), strict=True):
        assert np.array_equal(np.concatenate([left["image"], right["image"]]), batch.images)


def test_element_spec_says_what_comes(client: Client, stream: ClientStream) -> None:
    spec = dataset(stream).element_spec
    assert spec["image"] == tf.TensorSpec([None, 8, 8, 3], tf.uint8)
    assert spec["label"] == tf.TensorSpec([None], tf.int64)
    assert spec["key"] == tf.TensorSpec([None], tf.string)
    assert spec["epoch"] == tf.TensorSpec([], tf.int64)
    floats = declared(client, dtype="float16", layout="NCHW")
    assert dataset(floats).element_spec["image"] == tf.TensorSpec([None, 3, 8, 8], tf.float16)
    assert list(dataset(stream, columns=["label", "index"]).element_spec) == ["label", "index"]


def test_boxes_masks_and_images_of_several_sizes_are_ragged(client: Client) -> None:
    objects = client.stream(dataset="objects", pipeline={"transforms": [{"HorizontalFlip": {"p": 0.5}}]}, batch_size=4)
    data = dataset(objects, epoch=1)
    spec = data.element_spec
    assert spec["boxes"] == tf.RaggedTensorSpec([None, None, 4], tf.float32, ragged_rank=1)
    assert spec["box_labels"] == tf.RaggedTensorSpec([None, None], tf.int64, ragged_rank=1)
    assert spec["image"] == tf.RaggedTensorSpec([None, None, None, 3], tf.uint8, ragged_rank=2)
    assert spec["instance_masks"] == tf.RaggedTensorSpec([None, None, None, None], tf.uint8, ragged_rank=3)
    num_objects = 0
    for element, batch in zip(data, objects.epoch(1), strict=True):
        for row in range(len(batch)):
            for name, attribute in (("image", "images"), ("boxes", "boxes"), ("box_labels", "box_labels")):
                got, wanted = element[name][row], getattr(batch, attribute)[row]
                assert np.array_equal(got.to_tensor() if isinstance(got, tf.RaggedTensor) else got, wanted)
            masks = (batch.instance_masks or [])[row]
            assert element["instance_masks"][row].to_list() == masks.tolist()
            num_objects += len(masks)
    assert num_objects == 7
    padded = next(iter(data.map(lambda element: element["boxes"].to_tensor(shape=[None, 5, 4]))))
    assert padded.shape == (4, 5, 4)


def test_images_of_several_sizes_as_nchw_say_what_to_do(client: Client) -> None:
    objects = client.stream(dataset="objects", pipeline={"transforms": []}, batch_size=4, layout="NCHW")
    with pytest.raises(ClientError, match="declare the stream with layout='NHWC'"):
        dataset(objects)
    assert dataset(objects, columns=["boxes"]).element_spec["boxes"].dtype == tf.float32


def test_columns_and_numbers_are_checked_at_once(stream: ClientStream) -> None:
    with pytest.raises(ClientError, match=r"no column 'lable'.*did you mean"):
        dataset(stream, columns=["lable"])
    with pytest.raises(ClientError, match="columns is 'image'; give a list of names"):
        dataset(stream, columns="image")
    with pytest.raises(ClientError, match="start is 6 and stop is 7"):
        dataset(stream, start=NUM_BATCHES)


def test_a_broken_pass_ends_its_thread(stream: ClientStream) -> None:
    def num_threads() -> int:
        return sum(thread.name == "augment-prefetch" for thread in threading.enumerate())

    before = num_threads()
    for _ in dataset(stream):
        break
    wait_until(lambda: num_threads() == before)  # it ends when TensorFlow lets go of its iterator


def test_examples_of_the_page_run(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    import keras

    loop, resume, fit = page_blocks("TensorFlow")
    assert max(map(num_lines_of_user, (loop, resume, fit))) <= 5
    photos = client.stream(dataset="photos", pipeline="light", batch_size=BATCH_SIZE, seed=1)
    model = keras.Sequential([keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    names: dict[str, Any] = {"stream": photos, "model": model}
    exec(loop + resume + fit, names)  # noqa: S102 - our own page
    printed = capsys.readouterr().out
    assert "Epoch 2/2" in printed
    assert "3/3" in printed  # Keras' own bar


def test_fit_trains_the_epochs_that_keras_numbers(stream: ClientStream) -> None:
    import keras

    from augment.client.keras import EpochCallback

    def new_model() -> Any:
        keras.utils.set_random_seed(1)
        layers = [
            keras.Input((8, 8, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
        model = keras.Sequential(layers)
        model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    by_hand = new_model()
    for epoch, start in ((1, 2), (2, 0)):
        for batch in stream.epoch(epoch, start):
            by_hand.train_on_batch(np.array(batch.images), batch.labels)
    model, current = new_model(), EpochCallback()
    rest = dataset(stream, epoch=1, start=2, columns=["image", "label"])
    whole = dataset(stream, epoch=current.epoch, columns=["image", "label"])
    for data, epoch in ((rest, 1), (whole, 2)):
        pairs = data.map(lambda batch: (batch["image"], batch["label"]))
        model.fit(pairs, initial_epoch=epoch, epochs=epoch + 1, shuffle=False, callbacks=[current], verbose=0)
    for got, wanted in zip(model.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
