"""A client's stream in a notebook: what it shows of a real service, and of one that is gone."""

import base64
import re
from pathlib import Path

import numpy as np

from augment.client import Client
from augment.images.decode import decode_image
from tests.acceptance.servers_for_tests import Server


def test_a_stream_shows_the_first_images_of_its_first_batch_and_then_why_not(tmp_path: Path, photos: Path) -> None:
    with Server(tmp_path / "home", data_roots=photos) as server, Client(server.url, deadline_s=4) as client:
        client.register("photos", photos)
        stream = client.stream(dataset="photos", pipeline="light", batch_size=2, normalize={"method": "standard"})
        floats = client.stream(
            dataset="photos", pipeline="light", batch_size=2, normalize={"method": "standard"}, dtype="float32"
        )
        assert repr(stream) == f"<ClientStream {stream.id[:8]} of 'photos': 4 records, 2 batches of 2>"
        html = stream._repr_html_()
        shown, of_floats = (
            [decode_image(base64.b64decode(text)) for text in re.findall(r"base64,([^\"]+)", each)]
            for each in (html, floats._repr_html_())
        )
        assert len(shown) == 2
        for pixels, back in zip(shown, of_floats, strict=True):
            assert np.abs(pixels.astype(int) - back.astype(int)).max() <= 1
        assert all(f"{key}: {key.partition('/')[0]}<" in html for key in next(stream.epoch(0)).keys)
        assert (stream.num_rows, floats.num_rows) == (2, 0)  # what was only shown is not counted
        server.kill()
        assert "UnreachableError: no progress for 4 s" in stream._repr_html_()
