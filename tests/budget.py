"""Budget of seconds for a test run: tests that would begin after it are skipped, and the summary counts them.

``BUDGET_S`` in the environment sets it; without it every test runs. The clock starts with pytest and counts in every
process of pytest-xdist alike. In the last quarter of the budget one case of each parametrized test is enough, so that
the rest of the time goes to tests that have not run at all. A test that has begun is never cut.
"""

import os
import time
from typing import Any

import pytest

_THIN_SHARE = 0.25
_VARIABLE = "BUDGET_S"  # not AUGMENT_…: the service would warn of a setting that it does not know


def seconds_of(text: str) -> float | None:
    """Return the budget in the environment, or None."""
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise pytest.UsageError(f"{_VARIABLE} is {text!r}; give a number of seconds above 0, or unset it")
    return seconds


class Budget:
    """Plugin of one process that skips tests when the time is up, and counts them.

    The main process tells those of pytest-xdist when the time is up, and each returns the number of skipped tests.
    """

    def __init__(self, config: pytest.Config) -> None:
        told: dict[str, Any] = getattr(config, "workerinput", {})
        self._config = config
        self._seconds = seconds_of(os.environ.get(_VARIABLE, ""))
        self._ends = told.get("budget_ends", None if self._seconds is None else time.time() + self._seconds)
        self._thin_from = None if self._ends is None else self._ends - _THIN_SHARE * (self._seconds or 0)
        self._begun: set[str] = set()
        self._num_tests = self._num_left_out = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Skip a test and return True if the time is up."""
        if self._ends is None or self._thin_from is None:
            return None
        test, now = item.nodeid.partition("[")[0], time.time()
        if now < self._thin_from or (now < self._ends and test not in self._begun):
            self._begun.add(test)
            return None
        self._num_left_out += 1
        # The previous test left its module's fixtures to this one, which now ends them unless the next needs them.
        item.session._setupstate.teardown_exact(nextitem)
        return True

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Store the number of tests."""
        self._num_tests = max(self._num_tests, len(session.items))

    def pytest_sessionfinish(self) -> None:
        """Report to the main process, if this is another."""
        if (output := getattr(self._config, "workeroutput", None)) is not None:
            output["budget"] = [self._num_tests, self._num_left_out]

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Pass the end of the budget to a process of pytest-xdist."""
        node.workerinput["budget_ends"] = self._ends

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add the tests that another process skipped; one that died reports none, and is a failure anyway."""
        num_tests, num_left_out = getattr(node, "workeroutput", {}).get("budget", (0, 0))
        self._num_tests = max(self._num_tests, num_tests)
        self._num_left_out += num_left_out

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the number of tests that the budget skipped."""
        if self._num_left_out:
            terminalreporter.write_line(
                f"budget of {self._seconds:g} s used up: {self._num_left_out} of {self._num_tests} tests not run"
            )
