"""The extras: one table in the code, the distribution's own lists, the imports, and the messages without them."""

import ast
import pickle
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grimp
import pytest

import augment
from augment import errors
from augment.cli import exit_codes
from tests.augment.folders_for_tests import lay_images

ROOT = Path(__file__).parents[2]
BASE = {"numpy", "pyarrow"}
OWN = {"augment", "service"}
ADAPTERS = {
    "datasets": {"augment.client.huggingface"},
    "jax": {"augment.client.jax"},
    "keras": {"augment.client.keras"},
    "lightning": {"augment.client.lightning"},
    "tensorflow": {"augment.client.tensorflow"},
    "torch": {"augment.client.torch"},
}
"""The user's frameworks, and the modules that import them."""
FOREIGN = {*ADAPTERS, "_typeshed"}  # mypy's own types
NAMES = {name: extra for extra, packages in errors.EXTRAS.items() for name in packages}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def distributions(requirements: list[str]) -> list[str]:
    return [match[0] for each in requirements if (match := re.match(r"[\w.-]+", each))]


def imports() -> Iterator[tuple[str, str]]:
    """Yield each import of a module that is neither ours nor in the standard library: file, and full name of the
    module.
    """
    for path in sorted(path for folder in OWN for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules.append(node.module or "")
            for module in modules:
                if module.partition(".")[0] not in OWN | sys.stdlib_module_names:
                    yield str(path.relative_to(ROOT)), module


def python(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def without(name: str, code: str) -> str:
    return f"import sys; sys.modules[{name!r}] = None; {code}"


RUN = "import sys; from augment.__main__ import main; sys.argv[0] = 'augment'; main()"


def test_the_table_is_what_the_distribution_declares() -> None:
    declared = project()["project"]["optional-dependencies"]
    contained = {"engine": set(), "service": {"engine"}, "tools": {"engine"}}
    for extra, packages in errors.EXTRAS.items():
        others = [each for each in declared[extra] if not each.startswith("augment-service[")]
        assert sorted(packages.values()) == sorted(distributions(others)), extra
        assert {f"augment-service[{each}]" for each in contained[extra]} == set(declared[extra]) - set(others)
    assert "augment-service[engine,service,tools]" in declared["dev"]
    assert set(declared) == {*errors.EXTRAS, "dev"}
    assert set(distributions(project()["project"]["dependencies"])) == BASE


def test_the_lists_of_the_distribution_are_sorted() -> None:
    lists = project()["project"]
    for each in (lists["dependencies"], *lists["optional-dependencies"].values()):
        assert distributions(each) == sorted(distributions(each))


def test_the_containers_lock_has_the_service_and_no_tools() -> None:
    locked = set(
        re.findall(r"^([\w.-]+)==", (ROOT / "requirements-service.lock").read_text(encoding="utf-8"), re.MULTILINE)
    )
    expected = {*BASE, *errors.EXTRAS["engine"].values(), *errors.EXTRAS["service"].values()}
    assert {each.replace(".", "-") for each in expected} <= {each.replace(".", "-") for each in locked}
    assert not locked & set(errors.EXTRAS["tools"].values())


def test_all_that_is_imported_is_declared_and_the_reverse() -> None:
    found = {module for _, module in imports()}
    known = {*NAMES, *BASE, *FOREIGN}
    undeclared = {module for module in found if not any(f"{module}.".startswith(f"{name}.") for name in known)}
    assert not undeclared
    used = {name for name in NAMES if any(f"{module}.".startswith(f"{name}.") for module in found)}
    assert set(NAMES) - used == {"fastapi_offline"}  # service/openapi.py reads its files and imports nothing


def test_the_client_imports_numpy_and_pyarrow_alone() -> None:
    """Directly or indirectly, in functions too: import-linter forbids names, this allows only two."""
    graph = grimp.build_graph("augment", include_external_packages=True, exclude_type_checking_imports=True)
    reached = graph.find_upstream_modules("augment.client", as_package=True)
    outside = {module for module in reached if module.partition(".")[0] not in OWN | sys.stdlib_module_names}
    assert outside == {*BASE, *ADAPTERS}
    for framework, adapters in ADAPTERS.items():
        assert graph.find_modules_that_directly_import(framework) == adapters


def test_the_import_contracts_forbid_all_names_of_the_extras() -> None:
    contracts = project()["tool"]["importlinter"]["contracts"]
    of_client = next(
        set(each["forbidden_modules"]) for each in contracts if each.get("source_modules") == ["augment.client"]
    )
    assert of_client == {name.partition(".")[0] for name in NAMES}
    of_engine = next(set(each["forbidden_modules"]) for each in contracts if each.get("source_modules") == ["augment"])
    assert of_engine == {"service", *errors.EXTRAS["service"]}
    of_service = next(
        set(each["forbidden_modules"]) for each in contracts if "matplotlib" in each.get("forbidden_modules", ())
    )
    assert of_service >= set(errors.EXTRAS["tools"])


@pytest.mark.parametrize("name", NAMES)
def test_a_failed_import_names_its_extra(name: str) -> None:
    for missing in (name, name.partition(".")[0]):  # without any `ruamel.*`, Python says that there is no `ruamel`
        with pytest.raises(errors.MissingExtraError) as caught, errors.missing_extras_named():
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        assert str(caught.value) == (
            f"{name} is not installed; install the {NAMES[name]}: pip install '.[{NAMES[name]}]'"
        )
        assert caught.value.name == name
        copy = pickle.loads(pickle.dumps(caught.value))  # as from a worker  # noqa: S301 - ours
        assert (type(copy), str(copy), copy.name) == (type(caught.value), str(caught.value), name)


@pytest.mark.parametrize("name", ["scipy.of_another_version", "pandas", "augment.nothing"])
def test_a_failed_import_of_something_else_stays_what_it_is(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="as it was") as caught, errors.missing_extras_named():
        raise ModuleNotFoundError("as it was", name=name)
    assert type(caught.value) is ModuleNotFoundError


def test_the_command_without_the_engine_says_what_to_install() -> None:
    for arguments in ([], ["--help"], ["serve"], ["stats", "photos", "--json"]):
        done = python(without("typer", RUN), *arguments)
        assert done.returncode == exit_codes.REQUEST
        assert done.stderr == "augment: typer is not installed; install the engine: pip install '.[engine]'\n"
        assert done.stdout == ""


def test_serve_without_the_service_says_what_to_install() -> None:
    done = python(without("fastapi", RUN), "serve")
    assert done.returncode == exit_codes.REQUEST
    assert done.stderr == "error: fastapi is not installed; install the service: pip install '.[service]'\n"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("matplotlib", ["stats", ".", "-o", "report.html"]), ("imagehash", ["split", ".", "split"])],
)
def test_a_command_that_lacks_a_tool_says_so_before_it_scans(name: str, arguments: list[str], tmp_path: Path) -> None:
    code = f"import os; os.chdir({str(tmp_path)!r}); {without(name, RUN)}"
    done = python(code, *arguments)
    assert done.stderr == f"error: {name} is not installed; install the tools: pip install '.[tools]'\n"
    assert done.returncode == exit_codes.REQUEST
    assert not any(tmp_path.iterdir())


def test_stats_and_split_need_no_tools_without_plots_and_hashes(tmp_path: Path) -> None:
    lay_images(tmp_path / "data", *(f"class/{index}.png" for index in range(8)))
    for arguments in (["stats", "data"], ["split", "data", "out", "--no-near-duplicates"]):
        code = f"import os; os.chdir({str(tmp_path)!r}); import sys; sys.modules['imagehash'] = None; "
        done = python(code + without("matplotlib", RUN), *arguments)
        assert done.returncode == 0, done.stderr


def test_asking_the_package_for_a_name_says_what_to_install() -> None:
    done = python(without("albumentations", "import augment; augment.Stream"))
    assert done.stderr.splitlines()[-1] == (
        "augment.errors.MissingExtraError: albumentations is not installed; install the engine: pip install '.[engine]'"
    )
    assert issubclass(errors.MissingExtraError, ModuleNotFoundError)
    assert issubclass(errors.MissingExtraError, augment.AugmentError)


def test_nothing_says_to_install_a_name_that_is_not_published() -> None:
    texts = [
        path
        for folder in (*OWN, "demo", "docs")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".md"}
    ]
    for path in [*texts, *ROOT.glob("*.md"), ROOT / "Makefile", ROOT / "Dockerfile"]:
        assert not re.search(r"pip install \W*augment-service", path.read_text(encoding="utf-8")), path
