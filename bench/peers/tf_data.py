"""tf.data in the trainer's process: decode_and_crop_jpeg, as TensorFlow's own ImageNet examples have it."""

from collections.abc import Iterator
from typing import Any

from bench.peers import loader
from bench.trainer import Trainer
from bench.work import CROP_FLIP, RATIO, SCALE, SHORT_SIDE, SIZE, Work

TITLE = "tf.data"
NEEDS = {"tensorflow": "tensorflow-cpu"}


def run(trainer: Trainer) -> None:
    trainer.train(batches(images(trainer.work).batch(trainer.work.batch_size, drop_remainder=True)))


def batches(dataset: Any) -> Iterator[Any]:
    """Yield NumPy arrays of an endless dataset that is prefetched."""
    import tensorflow as tf

    return iter(dataset.prefetch(tf.data.AUTOTUNE).as_numpy_iterator())


def images(work: Work) -> Any:
    """Return endless augmented images, shuffled, decoded in parallel."""
    import tensorflow as tf

    files = loader.files_in(work.folder)
    dataset = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files)).repeat()
    return dataset.map(cropped if work.pipeline == CROP_FLIP else resized, tf.data.AUTOTUNE, deterministic=False)


def cropped(path: Any) -> Any:
    """Decode only the drawn area."""
    import tensorflow as tf

    data = tf.io.read_file(path)
    begin, size, _ = tf.image.sample_distorted_bounding_box(
        tf.image.extract_jpeg_shape(data),
        bounding_boxes=tf.zeros([1, 0, 4]),
        area_range=SCALE,
        aspect_ratio_range=RATIO,
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    top, left, _ = tf.unstack(begin)
    height, width, _ = tf.unstack(size)
    image = tf.io.decode_and_crop_jpeg(data, tf.stack([top, left, height, width]), channels=3)
    return _finished(tf.image.resize(image, [SIZE, SIZE]))


def resized(path: Any) -> Any:
    import tensorflow as tf

    image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
    shape = tf.shape(image)
    factor = SHORT_SIDE / tf.cast(tf.reduce_min(shape[:2]), tf.float32)
    size = tf.cast(tf.round(tf.cast(shape[:2], tf.float32) * factor), tf.int32)
    image = tf.image.random_crop(tf.image.resize(image, size), [SIZE, SIZE, 3])
    return _finished(image)


def _finished(image: Any) -> Any:
    import tensorflow as tf

    image = tf.image.random_flip_left_right(image)
    return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
