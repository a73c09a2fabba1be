"""The version: digests of what is installed and of what the client runs."""

import re

import grimp
import pytest

import augment
from augment import version
from augment.version import PACKAGES, client_digest, client_files, digested, read_files, read_metadata


def digests(of_version: str) -> tuple[str, str]:
    match = re.fullmatch(r"[0-9][^+]*\+s([0-9a-f]{7})\.c([0-9a-f]{7})", of_version)
    assert match, of_version
    return match[1], match[2]


def test_the_package_tells_its_version_with_both_digests() -> None:
    digests(augment.__version__)
    assert augment.__version__ == digested(read_files(), read_metadata())


def test_the_clients_files_are_all_that_the_client_imports() -> None:
    """The client's files are those of grimp's import graph, and the packages around them."""
    graph = grimp.build_graph("augment")
    reached = {"augment.client", *graph.find_descendants("augment.client")}
    reached |= graph.find_upstream_modules("augment.client", as_package=True)
    reached |= {module[: end.start()] for module in reached for end in re.finditer(r"\.", module)}
    files = read_files()
    expected = {next(path for path in paths(module) if path in files) for module in reached}
    assert set(client_files(files)) == expected
    assert "augment/engine.py" not in expected


def paths(module: str) -> tuple[str, str]:
    path = module.replace(".", "/")
    return f"{path}.py", f"{path}/__init__.py"


def test_a_change_of_the_service_or_the_engine_is_no_change_of_the_client() -> None:
    files, metadata = read_files(), read_metadata()
    installed, client = digests(digested(files, metadata))
    for name in ("augment/engine.py", "service/app.py", "augment/presets/vgg.yaml"):
        changed = digests(digested(files | {name: files[name] + b"\n"}, metadata))
        assert changed[0] != installed
        assert changed[1] == client
    for name in ("augment/client/client.py", "augment/wire/arrow.py", "augment/client/torch.py"):
        changed = digests(digested(files | {name: files[name] + b"\n"}, metadata))
        assert changed[0] != installed
        assert changed[1] != client
    changed = digests(digested(files, metadata | {"METADATA": metadata["METADATA"] + "\n"}))
    assert (changed[0] != installed, changed[1]) == (True, client)


def test_a_version_that_the_metadata_have_already_is_kept_and_digested_alike() -> None:
    files, metadata = read_files(), read_metadata()
    found = digested(files, metadata)
    named = metadata | {"METADATA": version.with_version(metadata["METADATA"], found)}
    assert digested(files, named) == found


@pytest.mark.parametrize("told", ["", "0.1.0.dev0", "0.1.0+s1a2b3c4", "0.1.0+cuda"])
def test_a_version_without_digests_tells_no_client(told: str) -> None:
    assert client_digest(told) is None


def test_what_python_and_editors_leave_is_not_installed() -> None:
    files = read_files()
    assert {name.partition("/")[0] for name in files} == set(PACKAGES)
    assert not [name for name in files if "__pycache__" in name or "/." in name]
    assert {"augment/py.typed", "augment/presets/light.yaml", "service/app.py"} <= set(files)
    assert list(files) == sorted(files)
