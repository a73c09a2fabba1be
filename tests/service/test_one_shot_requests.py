"""One-shot requests as people send them: single copies, one draw for all, and errors that name the remedy."""

import gzip
import io
import json
import zipfile
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from augment.datasets import read
from augment.images.encode import encode_image
from tests.service.archives_for_tests import png, tarred
from tests.service.folders_for_tests import pattern

URL = "http://testserver/v1/augment"


def _jpeg(seed: int = 1, size: tuple[int, int] = (24, 32)) -> bytes:
    return encode_image(pattern(seed, size), "jpeg")


def _post(service: TestClient, *images: bytes, **fields: str) -> Any:
    files = [("images", (f"{i}.png", data)) for i, data in enumerate(images)]
    return service.post("/v1/augment", files=files, data={"pipeline": "inception", "seed": "7", **fields})


def _unzipped(answer: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(files.pop("annotations.json")), files


def test_one_copy_alone_has_the_bytes_that_it_has_among_all(service: TestClient) -> None:
    all_of_them = _unzipped(_post(service, png(1), copies="4", image_format="png"))[1]
    alone = _post(service, png(1), copy="3", image_format="png")
    assert (alone.headers["Content-Type"], alone.content) == ("image/png", all_of_them["0__3.png"])
    assert json.loads(alone.headers["Augment-Provenance"])["copy"] == 3
    assert 'filename="0__3.png"' in alone.headers["Content-Disposition"]
    raw = service.post("/v1/augment?pipeline=inception&seed=7&copy=3&image_format=png", content=png(1))
    assert raw.content == alone.content
    several = _unzipped(_post(service, png(1), png(2), copy="3", image_format="png"))[1]
    assert several["0__3.png"] == alone.content
    assert set(several) == {"0__3.png", "1__3.png"}
    far = _post(service, png(1), copy=str(2**64 - 1), copies="1")
    assert far.status_code == 200, far.text


@pytest.mark.parametrize(
    "fields", [{"copy": "3", "copies": "4"}, {"copy": "-1"}, {"copy": "last"}, {"copy": str(2**64)}]
)
def test_a_copy_that_is_none_is_refused(service: TestClient, fields: dict[str, str]) -> None:
    answer = _post(service, png(), **fields)
    assert answer.status_code == 422
    assert [one["loc"] for one in answer.json()["errors"]] == [["copy"]]


_SHAPES = ["HorizontalFlip", "RandomResizedCrop", "Affine", "ElasticTransform", "ColorJitter", "CoarseDropout"]


def test_images_of_one_draw_move_alike(service: TestClient) -> None:
    params = {"RandomResizedCrop": {"size": [20, 20]}}
    pipeline = json.dumps([{name: {"p": 0.7, **params.get(name, {})}} for name in _SHAPES])
    images = [_jpeg(1), _jpeg(2), _jpeg(3)]
    for seed in map(str, range(8)):
        told, files = _unzipped(_post(service, *images, pipeline=pipeline, seed=seed, copies="2", same_draw="true"))
        assert told["same_draw"] is True
        for copy in (0, 1):
            results = [one for one in told["results"] if one["copy"] == copy]
            assert [one["applied"] for one in results] == 3 * [results[0]["applied"]]
            assert {one["key"] for one in results} == {read.content_digest(images[0]).hex()}
            assert len({one["render_key"] for one in results}) == 3
        alone = _unzipped(_post(service, images[0], pipeline=pipeline, seed=seed, copies="2"))[1]
        assert alone.items() <= files.items(), "the first image's draw is its own"
        second = _post(service, *images, pipeline=pipeline, seed=seed, copy="1", same_draw="true")
        assert _unzipped(second)[1] == {name: data for name, data in files.items() if "__1." in name}


def test_images_have_draws_of_their_own_otherwise(service: TestClient) -> None:
    told, _ = _unzipped(_post(service, _jpeg(1), _jpeg(2), pipeline="inception"))
    assert "same_draw" not in told
    assert told["results"][0]["applied"] != told["results"][1]["applied"]
    assert told["results"][0]["key"] != told["results"][1]["key"]


def test_a_stereo_pair_is_one_pair_still(service: TestClient) -> None:
    left = pattern(5, (32, 48))
    right = np.roll(left, 4, axis=1)
    flips = '[{"HorizontalFlip": {"p": 0.5}}, {"VerticalFlip": {"p": 0.5}}]'
    sides = encode_image(left, "png"), encode_image(right, "png")
    for seed in map(str, range(6)):
        told, files = _unzipped(_post(service, *sides, pipeline=flips, seed=seed, image_format="png", same_draw="1"))
        names = {each["name"] for each in told["results"][0]["applied"]}
        found = [np.asarray(Image.open(io.BytesIO(files[f"{i}__0.png"]))) for i in (0, 1)]
        for side, made in zip((left, right), found, strict=True):
            flipped = side[:, ::-1] if "HorizontalFlip" in names else side
            assert np.array_equal(made, flipped[::-1] if "VerticalFlip" in names else flipped)


@pytest.mark.parametrize("name", ["jpg", "jpeg", "JPG", "JPEG"])
def test_jpg_is_jpeg(service: TestClient, name: str) -> None:
    answer = _post(service, png(), image_format=name)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg"), answer.text


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "GZIP", "identity, gzip"])
def test_compressed_bodies_are_refused_by_the_headers_name(service: TestClient, coding: str) -> None:
    bodies = {
        "/v1/augment?pipeline=light": ("image/png", png()),
        "/v1/streams": ("application/json", b"{}"),
        "/v1/datasets?name=x": ("application/x-tar", tarred()),
    }
    for path, (kind, body) in bodies.items():
        headers = {"Content-Type": kind, "Content-Encoding": coding}
        answer = service.post(path, content=gzip.compress(body), headers=headers)
        assert (answer.status_code, answer.headers["Accept-Encoding"]) == (415, "identity")
        problem = answer.json()
        assert problem["errors"][0]["loc"] == ["header", "Content-Encoding"]
        assert "leave the header out and send the body uncompressed" in problem["detail"]
    plain = {"Content-Type": "image/png", "Content-Encoding": "identity"}
    assert service.post("/v1/augment?pipeline=light", content=png(), headers=plain).status_code == 200


def test_compressed_parts_are_refused_by_the_headers_name(service: TestClient) -> None:
    for header, status in {"Content-Encoding: gzip": 400, "Content-Transfer-Encoding: base64": 400,
                           "Content-Transfer-Encoding: binary": 200}.items():  # fmt: skip
        part = f'--x\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n{header}\r\n\r\n'
        body = part.encode() + png() + b"\r\n--x--\r\n"
        form = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = service.post("/v1/augment?pipeline=light", content=body, headers=form)
        assert answer.status_code == status, answer.text
        assert status == 200 or header in answer.json()["detail"]


_FTYP = b"\0\0\0\x18ftyp"
OTHERS = {
    "heic": (_FTYP + b"heic\0\0\0\0mif1heic" + bytes(40), "HEIC", "heif-convert"),
    "heif": (_FTYP + b"mif1\0\0\0\0mif1heic" + bytes(40), "HEIC", "heif-convert"),
    "heif sequence": (_FTYP + b"msf1\0\0\0\0msf1hevc" + bytes(40), "HEIC", "heif-convert"),
    "avif": (_FTYP + b"avif\0\0\0\0avifmif1" + bytes(40), "AVIF", "avifdec"),
    "avif in a container of heif": (_FTYP + b"mif1\0\0\0\0mif1avif" + bytes(40), "AVIF", "avifdec"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG", "rsvg-convert"),
    "svg with a type": (b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x"><svg/>', "SVG", "rsvg-convert"),
    "pdf": (b"%PDF-1.7\n" + bytes(40), "PDF", "pdftoppm"),
    "mp4": (_FTYP + b"isom\0\0\2\0isomiso2" + bytes(40), "a video", "ffmpeg"),
    "mov": (b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(40), "a video", "ffmpeg"),
    "webm": (b"\x1a\x45\xdf\xa3" + bytes(40), "a video", "ffmpeg"),
    "avi": (b"RIFF\0\0\0\0AVI LIST" + bytes(40), "a video", "ffmpeg"),
    "mpeg": (b"\0\0\1\xba" + bytes(40), "a video", "ffmpeg"),
    "jpeg 2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), "JPEG 2000", "opj_decompress"),
    "jpeg xl": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL", "djxl"),
    "gzip": (gzip.compress(b"x"), "gzip", "gunzip"),
    "base64": (b"/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgICAgMCAgIDAwMDBAYEBAQ\n", "base64", "base64 -d"),
    "zip": (b"PK\3\4" + bytes(40), "a zip archive", "upload it as a dataset"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_are_refused_by_name_with_the_remedy(service: TestClient, kind: str) -> None:
    data, name, remedy = OTHERS[kind]
    answer = service.post("/v1/augment", files=[("images", ("IMG_1.jpg", data))], data={"pipeline": "light"})
    assert answer.status_code == 415
    detail = answer.json()["detail"]
    assert all(part in detail for part in ("IMG_1.jpg", name, remedy)), detail


def _command(problem: dict[str, Any]) -> str:
    """Return the command in an error message, its only text between backticks."""
    parts = problem["errors"][0]["msg"].split("`") if "errors" in problem else problem["detail"].split("`")
    assert len(parts) == 3, problem
    return str(parts[1])


REMEDIES: dict[str, tuple[dict[str, str], int, list[str], str]] = {
    "a format of images": (
        {"pipeline": "light", "format": "webp"}, 422, ["format"],
        f"curl --data-binary @cat.jpg '{URL}?pipeline=flip-rotate-crop&image_format=webp' -o out.webp",
    ),
    "a format of images, jpg": (
        {"pipeline": "light", "format": "jpg"}, 422, ["format"],
        f"curl --data-binary @cat.jpg '{URL}?pipeline=flip-rotate-crop&image_format=jpeg' -o out.jpeg",
    ),
    "a format of bundles": (
        {"pipeline": "light", "image_format": "zip"}, 422, ["image_format"],
        f"curl -F images=@cat.jpg -F pipeline=flip-rotate-crop -F copies=4 -F format=zip {URL} -o out.zip",
    ),
    "no pipeline": (
        {}, 422, ["pipeline"], f"curl --data-binary @cat.jpg '{URL}?pipeline=flip-rotate-crop' -o out.jpg",
    ),
    "an empty pipeline": (
        {"pipeline": " "}, 422, ["pipeline"],
        f"curl --data-binary @cat.jpg '{URL}?pipeline=flip-rotate-crop' -o out.jpg",
    ),
    "a transform": (
        {"pipeline": "HorizontalFlip"}, 404, ["pipeline"],
        f"curl -F images=@cat.jpg -F 'pipeline=[{{\"HorizontalFlip\": {{}}}}]' {URL} -o out.jpg",
    ),
    "a transform, otherwise written": (
        {"pipeline": "horizontal_flip"}, 404, ["pipeline"],
        f"curl -F images=@cat.jpg -F 'pipeline=[{{\"HorizontalFlip\": {{}}}}]' {URL} -o out.jpg",
    ),
    "a transform with a size": (
        {"pipeline": "Resize"}, 404, ["pipeline"],
        f"curl -F images=@cat.jpg -F 'pipeline=[{{\"Resize\": {{\"height\": 224, \"width\": 224}}}}]' {URL} -o out.jpg",
    ),
    "a transform that needs more": (
        {"pipeline": "OneOf"}, 404, ["pipeline"], "curl http://testserver/v1/transforms/OneOf",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REMEDIES)
def test_a_slip_is_answered_with_the_line_that_works(service: TestClient, case: str) -> None:
    params, status, loc, line = REMEDIES[case]
    for answer in (
        service.post("/v1/augment", params=params, content=_jpeg(), headers={"Content-Type": "image/jpeg"}),
        service.post("/v1/augment", files={"images": ("cat.jpg", _jpeg())}, data=params),
    ):
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
        problem = answer.json()
        assert problem["errors"][0]["loc"] == loc
        assert _command(problem) == line
        assert line in problem["detail"]


def _as_curl_d_sends(data: bytes) -> bytes:
    return data.translate(None, b"\0\r\n")


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_a_file_without_its_line_ends_is_answered_with_the_line_that_works(
    service: TestClient, image_format: str
) -> None:
    body = _as_curl_d_sends(encode_image(pattern(1, (64, 64)), image_format))
    for kind in ("application/x-www-form-urlencoded", f"image/{image_format}"):
        answer = service.post("/v1/augment?pipeline=light", content=body, headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (415, ["body"])
        assert "curl's `-d @FILE`" in answer.json()["detail"]
        assert f"curl --data-binary @cat.jpg '{URL}?pipeline=flip-rotate-crop' -o out.jpg" in answer.json()["detail"]
    text = '<svg xmlns="http://www.w3.org/2000/svg"><text>猫</text></svg>'.encode()
    assert "the file is SVG" in service.post("/v1/augment?pipeline=light", content=text).json()["detail"]


def test_a_form_without_its_files_is_answered_with_the_line_that_works(service: TestClient) -> None:
    line = f"curl -F images=@cat.jpg -F pipeline=flip-rotate-crop {URL} -o out.jpg"
    fields = service.post("/v1/augment?pipeline=light", data={"images": "@cat.jpg"})
    misnamed = service.post("/v1/augment?pipeline=light", files={"file": ("cat.jpg", _jpeg())})
    empty = service.post("/v1/augment", files={"pipeline": (None, b"light")})
    as_json = service.post("/v1/augment?pipeline=light", json={"image": "aGVsbG8="})
    for answer, status in ((fields, 415), (misnamed, 422), (empty, 422), (as_json, 415)):
        assert answer.status_code == status
        assert line in answer.json()["detail"]


def test_a_command_has_the_clients_url_and_its_kind_of_key(service: TestClient) -> None:
    def line(**headers: str) -> str:
        answer = service.post("/v1/augment", content=_jpeg(), headers={"Content-Type": "image/jpeg", **headers})
        return _command(answer.json())

    assert line(Host="images.example:8443").startswith("curl --data-binary @cat.jpg 'http://images.example:8443/v1/")
    assert line(Host="x';reboot;'").startswith("curl --data-binary @cat.jpg 'http://127.0.0.1:8000/v1/")
    assert line(Authorization="Bearer secret").startswith("curl -H 'Authorization: Bearer KEY' --data-binary ")


def test_jobs_and_streams_say_how_a_transform_is_written(service: TestClient) -> None:
    for path, body in (
        ("/v1/streams", {"dataset": "x", "pipeline": "HorizontalFlip"}),
        ("/v1/jobs", {"dataset": "x", "pipeline": "Rotate", "copies": 1, "output": {"name": "o"}}),
    ):
        answer = service.post(path, json=body)
        assert answer.status_code == 404
        assert "is a transform, but a pipeline is a list of transforms" in answer.json()["detail"]


def test_annotations_find_images_by_any_form_of_their_name(service: TestClient) -> None:
    boxes = {"boxes": [[1, 1, 9, 9]]}
    files = [("images", ("e\u0301.png", png(1))), ("images", ("b.png", png(2)))]

    def ask(document: Any) -> Any:
        data = {"pipeline": "light", "annotations": json.dumps(document)}
        return service.post("/v1/augment", files=files, data=data)

    told, _ = _unzipped(ask({"\u00e9.png": boxes}))
    assert ["boxes" in one for one in told["results"]] == [True, False]
    assert ask({"\u00e9.png": boxes, "e\u0301.png": {}}).status_code == 422
    files[1] = ("images", ("\u00e9.png", png(2)))
    answer = ask({"\u00e9.png": boxes})
    assert (answer.status_code, "2 images have the name" in answer.json()["detail"]) == (422, True)
