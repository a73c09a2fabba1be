"""Mean and deviation of a dataset's splits, measured once in worker processes and kept in its manifest's folder.

A pass over all images may take minutes. A request waits AUGMENT_SCAN_WAIT_S for it and is then asked to retry. The pass
continues, and requests that come meanwhile wait for the same one.
"""

import asyncio
from functools import partial

import anyio
from anyio import to_thread

from augment.dataset_stats import mean_std
from augment.dataset_stats.mean_std import MeanStd
from augment.datasets.dataset import Dataset
from augment.workers.task import Workers
from service.datasets.registration import DatasetEntry
from service.datasets.registry import Datasets
from service.errors import MeasuringError
from service.settings import Settings

_AT_ONCE = 4
"""Passes that run at once. Each holds a thread, which waits for workers."""


class Measuring:
    """Mean and deviation of registered datasets. For the event loop's thread only."""

    def __init__(self, datasets: Datasets, workers: Workers, settings: Settings) -> None:
        self._datasets = datasets
        self._workers = workers
        self._settings = settings
        self._threads = anyio.CapacityLimiter(_AT_ONCE)
        self._passes: dict[tuple[str, str | None], asyncio.Task[MeanStd]] = {}

    async def measured(self, name: str, split: str | None) -> tuple[Dataset, MeanStd]:
        """Return the view of a split, and its numbers. Raises MeasuringError if they are not ready in time.

        Raises NotFoundError and ConflictError; DatasetError if the split does not exist or has nothing to measure.
        """
        entry = self._datasets.entry(name)
        view, kept = await to_thread.run_sync(self._kept, entry, split)
        if kept is not None:
            return view, kept
        key = (entry.generation, view.split)
        task = self._passes.get(key)
        if task is None:
            task = self._passes[key] = asyncio.create_task(self._pass(entry, view), name=f"statistics of {name}")
        await asyncio.wait({task}, timeout=self._settings.scan_wait_s)
        if not task.done():
            raise MeasuringError(
                f"mean and deviation of dataset {name!r} are still being measured; try again in a few seconds"
            )
        self._passes.pop(key, None)  # only now, so that at least one request sees an error of the pass
        return view, task.result()

    async def aclose(self) -> None:
        """Stop all passes; the next request measures again."""
        for task in self._passes.values():
            task.cancel()
        await asyncio.gather(*self._passes.values(), return_exceptions=True)

    def _kept(self, entry: DatasetEntry, split: str | None) -> tuple[Dataset, MeanStd | None]:
        view = self._datasets.open_entry(entry).choose(split)
        return view, mean_std.kept(view, self._datasets.manifest(entry).parent)

    async def _pass(self, entry: DatasetEntry, view: Dataset) -> MeanStd:
        work = partial(
            mean_std.measured,
            view,
            self._workers,
            folder=self._datasets.manifest(entry).parent,
            max_pixels=self._settings.max_pixels,
        )
        async with self._datasets.reading(entry):
            return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads)
