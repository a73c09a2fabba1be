"""Warm-up of the workers, so that the first request does not wait for their imports."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread

from augment.errors import WorkerError
from augment.workers.pool import LocalWorkers
from service.errors import StartingError

_RETRY_S = 5.0

_log = logging.getLogger(__name__)


class Warming:
    """Background start of the workers, which is repeated until it succeeds."""

    def __init__(self) -> None:
        self._is_done = False

    @asynccontextmanager
    async def of(self, workers: LocalWorkers) -> AsyncIterator[None]:
        """Start the workers while the block runs. The end of the block does not wait for them."""
        task = asyncio.create_task(self._start(workers))
        try:
            yield
        finally:
            task.cancel()

    def check(self) -> None:
        """Raise StartingError until the workers are ready."""
        if not self._is_done:
            raise StartingError("the workers are still starting; try again in a second")

    async def _start(self, workers: LocalWorkers) -> None:
        while not self._is_done:
            try:
                await to_thread.run_sync(workers.start, abandon_on_cancel=True)
                self._is_done = True
            except WorkerError as error:
                _log.error("no workers yet: %s", error)
                await asyncio.sleep(_RETRY_S)
