"""What notebooks show: one line of text, and HTML with small images on which targets are drawn."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import augment
from augment.images.decode import decode_image
from augment.samples import notebook
from augment.samples.colours import bright, class_colour
from augment.samples.notebook import IMAGES_MAX, Thumbnail
from augment.samples.sample import Batch

GREY = 100


def grey(height: int = 160, width: int = 160) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def batch(num_rows: int = 3, **fields: object) -> Batch:
    keys = [f"cat/{index}" for index in range(num_rows)]
    wanted = {"images": np.full((num_rows, 16, 16, 3), GREY, np.uint8), "keys": keys, **fields}
    return Batch(1, 2, positions=np.arange(num_rows), **wanted)  # type: ignore[arg-type]


def images_of(html: str) -> list[np.ndarray]:
    return [decode_image(base64.b64decode(text)) for text in re.findall(r'src="data:image/png;base64,([^"]+)"', html)]


class Tags(HTMLParser):
    """Tags and text of HTML, as a browser would take them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 - the signature of the base class
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (160, 90), (33, 160)])
def test_png_is_read_back_pixel_by_pixel(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    assert np.array_equal(decode_image(notebook.png(pixels)), pixels)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((320, 640), (80, 160)),
        ((2, 4), (80, 160)),
        ((100, 100), (100, 100)),
        ((1, 5000), (1, 160)),
        ((160, 161), (159, 160)),
    ],
)
def test_images_are_shown_at_a_bounded_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert Thumbnail(image=grey(*size)).draw().shape == (*expected, 3)


def test_smaller_images_are_means_and_larger_ones_repeat_pixels() -> None:
    quarters = np.zeros((320, 320, 3), np.uint8)
    quarters[::2, ::2] = 200
    assert (Thumbnail(image=quarters).draw() == 50).all()
    dots = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert np.array_equal(Thumbnail(image=dots).draw()[::80, ::80], dots)


def test_targets_are_drawn_where_they_are() -> None:
    mask = np.zeros((320, 320), np.uint8)
    mask[:160] = 2
    drawn = Thumbnail(image=grey(320, 320), mask=mask).draw()
    assert (drawn[:80] == np.rint(GREY / 2 + np.array(class_colour(2)) / 2)).all()
    assert (drawn[80:] == GREY).all()

    drawn = Thumbnail(image=grey(), boxes=np.array([[10.0, 20.0, 60.0, 90.0]])).draw()
    rows, columns = np.nonzero((drawn == bright(0)).all(axis=-1))
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (10, 20, 60, 90)
    assert (drawn[23:87, 13:57] == GREY).all()
    assert (drawn[22, 12:58] == 0).all()  # a black line inside, so that the frame shows on its own colour

    objects = np.zeros((2, 160, 160), np.uint8)
    objects[1, 5:9, 5:9] = 1
    drawn = Thumbnail(image=grey(), instance_masks=objects).draw()
    assert (drawn[5:9, 5:9] == np.rint(GREY / 2 + np.array(bright(1)) / 2)).all()
    assert (drawn == GREY).all(axis=-1).sum() == 160 * 160 - 16

    points = np.array([[40.0, 50.0], [np.nan, np.nan], [100.0, 110.0]])
    hidden = np.array([False, False, True])
    drawn = Thumbnail(image=grey(), keypoints=points, is_hidden=hidden).draw()
    assert drawn[50, 40].tolist() == list(bright(0))
    assert drawn[110, 100].tolist() == [GREY] * 3  # a ring
    assert drawn[110, 102].tolist() == list(bright(2))


@pytest.mark.parametrize("box", [(-5, -5, 1, 1), (158, 158, 170, 170), (30, 30, 30, 30), (0, 0, 160, 160)])
def test_targets_at_and_beyond_the_edges_are_drawn_without_error(box: tuple[float, ...]) -> None:
    edge = np.array([[-1.0, 159.0], [161.0, 0.0]])
    assert Thumbnail(image=grey(), boxes=np.array([box], float), keypoints=edge).draw().shape == (160, 160, 3)


def test_batch_has_one_line_of_text() -> None:
    assert repr(batch(labels=np.array([0, 1, 0]))) == "<Batch (1, 2): 3 images 16x16x3 uint8, labels>"
    sizes = batch(images=[grey(4, 5), grey(6, 7), grey(8, 9)], other_views=(batch(),))
    assert repr(sizes) == "<Batch (1, 2): 3 images, 2 views>"


def test_batch_shows_its_first_rows_and_says_how_many_there_are() -> None:
    html = batch(64, labels=np.array([1, -1] * 32)).html(classes=("dog", "cat"))
    assert len(images_of(html)) == IMAGES_MAX
    assert "cat/0: cat" in html
    assert "cat/1<" in html  # without a class
    assert f"and {64 - IMAGES_MAX} more rows" in html
    two = batch(64, other_views=(batch(64),))._repr_html_()
    assert len(images_of(two)) == IMAGES_MAX
    assert two.index("cat/0<") < two.index("cat/0: view 1") < two.index("cat/1<")


def test_batches_of_floats_and_channels_first_are_shown() -> None:
    ramp = np.linspace(-2.1, 2.6, 16 * 16 * 3, dtype=np.float32).reshape(1, 16, 16, 3)
    for images in (ramp, np.moveaxis(ramp, -1, 1), ramp.astype(np.float16)):
        (shown,) = images_of(batch(1, images=images)._repr_html_())
        assert (shown.min(), shown.max()) == (0, 255)
    constant = np.full((1, 16, 16, 3), np.nan, np.float32)
    assert images_of(batch(1, images=constant)._repr_html_())[0].max() == 0


def test_targets_of_batches_are_shown_with_names() -> None:
    html = batch(
        1,
        boxes=[np.array([[1.0, 1, 9, 9], [2, 2, 12, 12]])],
        box_labels=[np.array([1, 7])],
        masks=[np.ones((16, 16), np.uint8)],
        label_weights=np.array([[0.7, 0.3]]),
        replaces=["cat/broken"],
        keypoints=[np.array([[3.0, 3.0]])],
        keypoint_labels=[np.array([0])],
        keypoint_visibility=[np.array([1])],
    ).html(classes=("dog", "cat"))
    text = Tags(html).text
    assert "cat/0: in place of cat/broken: dog 0.7, cat 0.3" in text
    assert "cat 7 cat" in text  # the name of the first box, the number of the second, the class in the mask


def test_names_are_text_and_never_html() -> None:
    bad = '<script>alert("x")</script>&'
    made = batch(1, keys=[bad], labels=np.array([0]), boxes=[np.zeros((1, 4))], box_labels=[np.array([0])])
    shown = Tags(made.html(bad, classes=(bad,)))
    assert shown.tags == {"div", "code", "figure", "img", "figcaption", "br", "span"}
    assert shown.text.count(bad) >= 3
    assert "script" not in Tags(notebook.steps(bad, [(bad, bad)], [bad])).tags


def test_a_page_is_small_and_sets_no_colour_that_fails_in_the_dark() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 224, 224, 3), np.uint8)
    html = batch(64, images=noise)._repr_html_()
    assert len(html) < 1.5e6  # noise, which no filter makes smaller
    assert not re.search(r"background|[^-]color:", html)


def test_long_names_are_cut_and_hide_no_other() -> None:
    key = "a/" + 100 * "b" + "/1234"
    text = Tags(batch(1, keys=[key], labels=np.array([0])).html(classes=("cat",))).text
    assert "bbb/1234: cat" in text
    assert key not in text


def test_long_lists_of_boxes_are_cut() -> None:
    many = batch(1, boxes=[np.zeros((200, 4))], box_labels=[np.zeros(200, int)])
    assert "and 188 more" in many._repr_html_()


@pytest.mark.parametrize(("batch_size", "rows"), [(1, 1), (7, 7), (12, 12), (64, 16), (97, 97), (65536, 16)])
def test_slices_for_a_page_divide_the_batch(batch_size: int, rows: int) -> None:
    assert batch_size // notebook.num_slices(batch_size) == rows


def test_stream_dataset_and_pipeline_show_themselves(photos: Path) -> None:
    stream = augment.Stream(photos, "light", batch_size=2)
    assert repr(stream) == f"<Stream {stream.id[:8]} of 'photos': 4 records, 2 batches of 2>"
    html = stream._repr_html_()
    assert len(images_of(html)) == 2
    assert repr(stream) in Tags(html).text
    floats = augment.Stream(
        photos, "light", batch_size=2, normalize={"method": "standard"}, dtype="float32", layout="NCHW"
    )
    for plain, back in zip(images_of(html), images_of(floats._repr_html_()), strict=True):
        assert np.abs(plain.astype(int) - back.astype(int)).max() <= 1
    assert repr(floats) != repr(stream)

    shown = stream.dataset._repr_html_()
    assert len(images_of(shown)) == 4
    assert "coffee/coffee: coffee" in Tags(shown).text
    assert "\n" not in repr(stream.dataset)

    steps = Tags(stream.pipeline._repr_html_())
    assert steps.tags >= {"ol", "li"}
    assert 'RandomShiftScale {"' in steps.text


def test_a_dataset_shows_what_it_cannot_read_as_text(photos: Path) -> None:
    dataset = augment.scan(photos)
    (photos / "cat" / "chelsea.png").unlink()
    html = dataset._repr_html_()
    assert len(images_of(html)) == 3
    assert "Error: cat/chelsea" in Tags(html).text


def test_a_stream_shows_its_error_as_text(photos: Path) -> None:
    stream = augment.Stream(photos, "light", batch_size=2)
    for path in photos.rglob("*.*"):
        path.unlink()
    html = stream._repr_html_()
    assert not images_of(html)
    assert "Error: " in Tags(html).text
