"""Normalisation of TensorFlow's and JAX's tensors, eager and compiled: the floats of arrays, bit for bit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from augment.errors import CallError
from augment.normalize.images import normalize
from augment.normalize.pixel_format import PLAIN, dtype_name

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore")]

IMAGES = np.random.default_rng(1).integers(0, 256, (2, 5, 4, 3), np.uint8)
SECTIONS: list[dict[str, Any]] = [{"method": "standard"}, {"method": "standard", "statistics": "image"}]


@pytest.fixture(params=["tensorflow", "jax"])
def framework(request: pytest.FixtureRequest) -> tuple[Any, Callable[[Any], Any], Callable[[Any], Any]]:
    """The class of its tensors, what makes one of an array, and what compiles a function."""
    module = pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    if request.param == "jax":
        return module.Array, module.numpy.asarray, module.jit
    return module.Tensor, module.constant, module.function


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("axis", [-1, -3])
def test_tensors_become_the_floats_of_arrays(framework: Any, section: dict[str, Any], axis: int) -> None:
    kind, make, _ = framework
    floats = normalize(make(np.moveaxis(IMAGES, -1, axis)), section, PLAIN)
    assert isinstance(floats, kind)
    assert dtype_name(floats.dtype) == "float32"
    assert np.array_equal(np.asarray(floats), np.moveaxis(normalize(IMAGES, section, PLAIN), -1, axis))


def test_a_compiled_function_may_normalise(framework: Any) -> None:
    _, make, compiled = framework
    floats = compiled(lambda images: normalize(images, SECTIONS[0], PLAIN))(make(IMAGES))
    assert np.array_equal(np.asarray(floats), normalize(IMAGES, SECTIONS[0], PLAIN))


def test_tensors_that_are_no_images_are_refused(framework: Any) -> None:
    _, make, _ = framework
    with pytest.raises(CallError, match=r"images are uint8 \(\.\.\., H, W, 3\), not float32"):
        normalize(make(IMAGES.astype(np.float32)), SECTIONS[0], PLAIN)


def test_a_dtype_of_any_framework_has_its_name(framework: Any) -> None:
    _, make, _ = framework
    for name in ("uint8", "float16", "float32"):
        assert dtype_name(make(np.zeros(1, name)).dtype) == name
