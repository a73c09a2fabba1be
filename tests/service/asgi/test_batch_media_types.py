import pytest

from augment.errors import CallError
from augment.streams.tasks import BatchFormat, PartFormat
from service.asgi import batch_media_types
from service.errors import MediaTypeError


def chosen(name: str | None, accept: str | None, image_format: str = "png") -> PartFormat:
    return batch_media_types.chosen(name, accept, among=batch_media_types.SINGLE, image_format=image_format, quality=90)


@pytest.mark.parametrize(
    ("name", "accept", "expected"),
    [
        (None, None, BatchFormat.ARROW),
        (None, "*/*", BatchFormat.ARROW),
        (None, "text/html, application/x-tar;q=0.5, */*;q=0.1", BatchFormat.TAR),
        (None, "application/x-npz, application/x-tar;q=0.9", BatchFormat.NPZ),
        (None, "*/*, application/x-tar", BatchFormat.TAR),
        (None, "application/vnd.apache.arrow.stream;q=0, application/*;q=nonsense, application/x-tar", BatchFormat.TAR),
        (None, "application/vnd.apache.arrow.stream;q=0, */*", BatchFormat.TAR),
        ("tar", "application/x-npz", BatchFormat.TAR),
    ],
)
def test_format_is_the_named_one_or_the_best_that_is_accepted(
    name: str | None, accept: str | None, expected: BatchFormat
) -> None:
    assert chosen(name, accept).name is expected


@pytest.mark.parametrize(("name", "accept"), [("zip", None), (None, "image/png"), (None, "*/*;q=0")])
def test_format_that_is_not_served_is_refused_with_those_that_are(name: str | None, accept: str | None) -> None:
    with pytest.raises(MediaTypeError, match="tar"):
        chosen(name, accept)


def test_format_of_images_is_checked_where_it_counts() -> None:
    with pytest.raises(CallError, match="image_format is 'bmp'"):
        chosen("tar", None, image_format="bmp")
    assert chosen("arrow", None, image_format="bmp") == PartFormat(BatchFormat.ARROW)
