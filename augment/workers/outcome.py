"""Outcome of work in another process: the value it returned or the error it raised, as bytes."""

import pickle
import traceback
from collections.abc import Callable
from typing import Any

from augment.errors import WorkerError


class Stopped(BaseException):
    """Exception that ends a task from inside its guard; a task's own ``except Exception`` does not catch it."""


class Cancelled(Stopped):
    """The task was cancelled."""


class Exhausted(Stopped):
    """The worker ran out of the memory it may use."""


class RemoteTraceback(Exception):  # noqa: N818 - shown as the cause of an error, not an error itself
    """Traceback of an error in the other process; the ``__cause__`` of the error that is raised here."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class Outcome:
    """A value or an error. ``value`` returns the value or raises the error."""

    def __init__(self, result: Any, error: BaseException | None, trace: str) -> None:
        self._result = result
        self._error = error
        self._trace = trace

    def value(self) -> Any:
        """Return what the work returned; raise what it raised, with the other process's traceback as the cause."""
        if self._error is not None:
            raise self._error from RemoteTraceback(self._trace)
        return self._result


def run_and_dump(work: Callable[[], object]) -> bytes:
    """Do the work and pickle its outcome. MemoryError and Stopped are not outcomes of the work and are raised."""
    try:
        return pickle.dumps(Outcome(work(), None, ""), protocol=5)
    except (MemoryError, Stopped):
        raise
    except BaseException as error:  # noqa: BLE001 - any error is an outcome for the caller
        return pickle.dumps(Outcome(None, _portable(error), traceback.format_exc()), protocol=5)


def load(data: bytes) -> Outcome:
    """Read what ``run_and_dump`` wrote."""
    outcome = pickle.loads(data)  # noqa: S301 - written by a process that this one started
    if not isinstance(outcome, Outcome):
        raise TypeError(f"a pickled {type(outcome).__name__} is not an outcome")
    return outcome


def _portable(error: BaseException) -> BaseException:
    """Return the error itself if it survives pickling, else a WorkerError with its name and message."""
    try:
        copy = pickle.loads(pickle.dumps(error, protocol=5))  # noqa: S301 - our own bytes
        if type(copy) is type(error):
            return error
    except Exception:  # noqa: BLE001, S110 - an error's own __reduce__ or __init__ may raise anything
        pass
    return WorkerError(f"{type(error).__qualname__}: {error} (the error itself cannot be pickled)")
