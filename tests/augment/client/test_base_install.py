"""The client with only NumPy and pyarrow installed, on Linux and as on other systems."""

import re
from pathlib import Path

import pytest

import augment
import augment.client
from augment.cli import exit_codes
from tests.augment.client.base_install_for_tests import install_base, run_in_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_base(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_client_and_all_its_names_can_be_imported(base: Path, *, elsewhere: bool) -> None:
    code = f"""
from augment.client import {", ".join(augment.client.__all__)}
import augment.client.client, augment.client.stream, augment.client.transport
others = {{name.partition(".")[0] for name in sys.modules if name.partition(".")[0] not in sys.stdlib_module_names}}
print(sorted(name for name in others if "cython" not in name))
"""
    done = run_in_base(base, code, elsewhere=elsewhere)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['__main__', 'augment', 'numpy', 'pyarrow']"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_predictions_are_merged_and_images_normalised(base: Path, *, elsewhere: bool) -> None:
    code = """
import numpy as np, augment
from augment.client import Client
images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
floats = augment.normalize_images(images, {"method": "standard"})
assert (augment.denormalise_images(floats, {"method": "standard"}) == images).all()
batch = augment.Batch(
    epoch=0, index=0, images=images, keys=["a", "b"], positions=np.arange(2), replaces=[None] * 2,
    inverses=np.stack([np.eye(3)] * 2), source_sizes=np.array([(4, 4)] * 2),
)
print(Client("http://127.0.0.1:1").merge([{"labels": np.array([[0.25, 0.75], [1, 0]])}], batch).labels.tolist())
"""
    done = run_in_base(base, code, elsewhere=elsewhere)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[[0.25, 0.75], [1.0, 0.0]]\n"


def test_every_other_name_says_which_extra_it_needs(base: Path) -> None:
    code = """
import augment
for name in augment.__all__:
    try:
        getattr(augment, name)
    except ModuleNotFoundError as error:
        print(name, type(error).__name__, error)
"""
    done = run_in_base(base, code.replace("augment.__all__", "set(augment.__all__) - {'__version__'}"))
    assert done.returncode == 0, done.stderr
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert all(re.fullmatch(r"MissingExtraError .* install the engine: .*", each) for each in said.values())
    here = {"AugmentError", "Batch", "Sample", "denormalise_images", "errors", "merge_predictions", "normalize_images"}
    assert not here & set(said)
    assert {"Stream", "Pipeline", "catalogue", "scan", "expand_dataset", "dataset_statistics"} <= set(said)
    assert set(said) <= set(augment.__all__)


def test_the_command_says_which_extra_it_needs(base: Path) -> None:
    done = run_in_base(base, "from augment.__main__ import main; main()", "--help")
    assert done.returncode == exit_codes.REQUEST
    assert done.stderr == "augment: typer is not installed; install the engine: pip install '.[engine]'\n"


def test_the_pytorch_dataset_names_pytorch(base: Path) -> None:
    done = run_in_base(base, "import augment.client.torch")
    assert "torch" in done.stderr.splitlines()[-1]
