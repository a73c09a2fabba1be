"""Albumentations and OpenCV, imported in the only way that makes their pixels reproducible.

Every other module of this package imports ``A`` and ``cv2`` from here. ``OPENCV_IPP`` must be set before OpenCV is
loaded: with IPP some transforms give other bytes on AVX2 than on AVX-512 machines. Without
``NO_ALBUMENTATIONS_UPDATE`` an import would ask a package registry for its latest version.
"""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2

from augment.workers.optional_imports import kept_out

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ["OPENCV_IPP"] = "disabled"

# OpenCV reads the variable now, and would warn on standard error that IPP is off.
_log_level = cv2.utils.logging.getLogLevel()
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
cv2.ipp.useIPP()
cv2.utils.logging.setLogLevel(_log_level)

# Albumentations imports these if they are installed, and works without them: PyTorch for two transforms that no
# pipeline may name (seconds, and hundreds of megabytes in every worker), huggingface_hub for sharing pipelines on its
# hub (a tenth of a second, mostly for an HTTP client).
with kept_out("torch"), kept_out("huggingface_hub"):
    import albumentations as A  # noqa: N812 - the name its documentation uses

__all__ = ["TARGETS", "A", "corrected", "cpu_problem", "cv2", "disable_ipp", "use_one_thread", "versions"]

_PIXEL_LIBRARIES = ("albumentations", "albucore", "numpy", "scipy", "simsimd", "stringzilla")
_CPU_INFO = Path("/proc/cpuinfo")

TARGETS = A.core.type_definitions.ALL_TARGETS[:4]  # the image, its mask, boxes and keypoints; no volumes


def corrected(mixin: type, original: Any) -> Any:
    """Return a class of Albumentations with a mixin's corrections, under its original name."""
    return type(original)(original.__name__, (mixin, original), {"__module__": mixin.__module__})


def disable_ipp() -> None:
    """Turn Intel's IPP off for this thread, in case OpenCV was loaded earlier; the switch is per thread.

    Costs 0.1 microseconds.
    """
    cv2.ipp.setUseIPP(False)


def use_one_thread() -> None:
    """Restrict OpenCV to the caller's thread; with a worker on each core, its threads would compete with them."""
    cv2.setNumThreads(0)


def versions() -> dict[str, str]:
    """Return versions of the libraries here that affect pixels; OpenCV's is its own, not its wheel's."""
    return {"opencv": cv2.__version__} | {name: metadata.version(name) for name in _PIXEL_LIBRARIES}


def cpu_problem() -> str | None:
    """Return why this machine would render other bytes than the rest, or None.

    On x86-64 OpenCV and the SIMD libraries below Albumentations give other bytes without AVX2 (15 of 96 transforms);
    AArch64 always has the instructions that they use there.
    """
    machine = platform.machine().lower()
    if machine in {"aarch64", "arm64"}:
        return None
    if machine not in {"x86_64", "amd64"}:
        return f"the processor is {machine}; rendering is known to be reproducible on x86-64 with AVX2 and on AArch64"
    try:
        flags = _CPU_INFO.read_text()
    except OSError as error:
        return f"{_CPU_INFO} cannot be read ({error.strerror}), so it is unknown whether the processor has AVX2"
    if " avx2" in flags:
        return None
    return (
        "the processor has no AVX2, without which 15 of 96 transforms give other bytes; use a machine built after 2013"
    )
