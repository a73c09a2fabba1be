"""A real notebook, run by Jupyter's own kernel: what each of its cells shows."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from augment.client import Client
from tests.frameworks.service_for_tests import client_of_service, page_blocks

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")
pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Jupyter's own, of the versions of one another
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with client_of_service(tmp_path_factory.mktemp("service")) as client:
        yield client


def shown_by(cells: list[str]) -> list[dict[str, Any]]:
    """Run a notebook of these cells; what the last line of each shows, by media type."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return [
        next((dict(each["data"]) for each in cell["outputs"] if each["output_type"] == "execute_result"), {})
        for cell in notebook["cells"]
    ]


def test_cells_show_images_and_one_line_of_text(client: Client) -> None:
    server = client._transport.current
    start = f"""
from augment.client import Client
client = Client("http://{server.host}:{server.port}")
stream = client.stream(dataset="photos", pipeline="light", batch_size=8, seed=1)
"""
    objects = "client.stream(dataset='objects', pipeline={'transforms': []}, batch_size=8, shuffle=False)"
    declaring, stream, batch, boxes, text = shown_by(
        [start, "stream", *page_blocks("Notebooks"), objects, "str(stream)"]
    )
    assert not declaring
    assert stream["text/html"].count("data:image/png;base64,") == 8
    assert re.fullmatch(r"<ClientStream [0-9a-f]{8} of 'photos': 24 records, 3 batches of 8>", stream["text/plain"])
    assert batch["text/html"].count("<figure") == 8
    assert batch["text/plain"] == "<Batch (0, 0): 8 images 12x12x3 uint8, labels>"
    assert ">one</span>" in boxes["text/html"]
    assert text["text/plain"] == repr(stream["text/plain"])
