"""Reading and use of names in any script. Routes are in tests/acceptance/test_names.py."""

import unicodedata

import pytest

from service import one_shot
from service.asgi import requests
from service.asgi.receive import part_names
from tests.acceptance.test_names import LONG, NAMES


def test_a_disposition_is_read_as_it_was_written() -> None:
    for name in [*NAMES, *LONG, "a\\b.png", "a/b.png"]:
        stated = requests.disposition("attachment", name)
        assert stated.isascii()
        assert part_names(stated.encode())[1] == unicodedata.normalize("NFC", name)
    assert requests.disposition("inline", "a b.png") == 'inline; filename="a b.png"'
    assert requests.disposition("inline", "é.png") == "inline; filename=\"_.png\"; filename*=UTF-8''%C3%A9.png"


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        (b'filename="cat.png"', "cat.png"),
        (b"filename=cat.png", "cat.png"),
        (b"filename = cat.png ", "cat.png"),
        ('filename="猫 犬.png"'.encode(), "猫 犬.png"),
        ('filename="e\u0301.png"'.encode(), "é.png"),
        (b'filename="a;b=c.png"', "a;b=c.png"),
        (b'filename="a%22b%0D%0A%25.png"', 'a"b\r\n%25.png'),
        (b'filename="a\\"b\\\\c.png"', 'a"b\\c.png'),
        (b'filename="C:\\Users\\me\\cat.png"', "C:\\Users\\me\\cat.png"),
        (b"filename*=UTF-8''%E7%8C%AB%20.png", "猫 .png"),
        (b"filename*=utf-8'ja'%E7%8C%AB.png; filename=\"_.png\"", "猫.png"),
        (b"filename=\"_.png\"; filename*=iso-8859-1''%E9.png", "é.png"),
        (b"filename=\"a.png\"; filename*=koi8-r''%E9.png", "a.png"),
        (b'filename="a.png"; filename*=broken', "a.png"),
        (b'filename="\xff.png"', "�.png"),
        (b'filename=""', ""),
    ],
)
def test_file_names_of_forms_are_read_as_clients_write_them(sent: bytes, name: str) -> None:
    assert part_names(b'form-data; name="images"; ' + sent) == ("images", name)
    assert part_names(b"form-data; " + sent + b'; NAME="images"') == ("images", name)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("cat.png", "cat"), ("cat.JPG", "cat"), ("22.05", "22.05"), ("cat.v2", "cat.v2"), ("photos/cat.png", "cat"),
        ("C:\\photos\\cat.png", "cat"), ("../../cat.png", "cat"), ("", "image"), (".png", "png"), ("...", "image"),
        ("\x00\x1f\x85.png", "_"), ("a\ud800.png", "a_"), ("COM1.png", "_COM1"), ("com1a.png", "com1a"),
        ("e\u0301.png", "é"), ("x" * 300, "x" * 220), ("猫" * 100, "猫" * 73),
    ],
)  # fmt: skip
def test_a_stem_is_safe_and_keeps_its_letters(name: str, stem: str) -> None:
    assert one_shot.safe_stem(name) == stem
