"""Metrics as Prometheus text, and logs on standard error as one JSON object per line."""

import functools
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Metrics of one application, with its own registry. Thread-safe."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        counter = functools.partial(Counter, registry=self._registry)
        histogram = functools.partial(Histogram, registry=self._registry, buckets=_SECONDS)
        level = functools.partial(Gauge, registry=self._registry)
        self.requests = counter("augment_requests", "Requests answered.", ["method", "route", "status"])
        self.request_seconds = histogram(
            "augment_request_seconds",
            "Time from a request's arrival to the last byte of its answer.",
            ["route"],
        )
        self.requests_running = level("augment_requests_running", "Requests being answered now.")
        self.stage_seconds = histogram(
            "augment_stage_seconds",
            "Time in each stage of a batch, a sample or an image: queue, read, decode, transform, encode, assemble, "
            "write, convert, send.",
            ["stage"],
        )
        self.batches_sent = counter("augment_batches_sent", "Batches sent to readers.")
        self.batch_cache = counter("augment_batch_cache", "Batches requested, by hit, shared or miss.", ["outcome"])
        self.batch_cache_bytes = level("augment_batch_cache_bytes", "Bytes of rendered batches that are kept.")
        self.records_refused = counter("augment_records_refused", "Records refused, by reason.", ["reason"])
        self.requests_refused = counter("augment_requests_refused", "Requests refused, by status.", ["status"])
        self.images = counter("augment_images", "Images rendered for one-shot requests.")
        self.bytes_sent = counter("augment_bytes_sent", "Bytes of answers.")
        self.bytes_received = counter("augment_bytes_received", "Bytes of requests.")

    def observe_stages(self, seconds: Mapping[str, float]) -> None:
        """Add the seconds that each stage of a worker's task took."""
        for stage, took_s in seconds.items():
            self.stage_seconds.labels(stage).observe(took_s)

    def watch(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """Add a function that returns further metrics whenever they are read."""
        self._registry.register(_Watched(collect))

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


def gauge(name: str, help_text: str, value: float) -> Metric:
    """Return a gauge with its current value."""
    return GaugeMetricFamily(name, help_text, value=value)


def counter(name: str, help_text: str, value: float) -> Metric:
    """Return a counter with its current value."""
    return CounterMetricFamily(name, help_text, value=value)


def labelled(name: str, help_text: str, label: str, values: Mapping[str, float], *, counts: bool = False) -> Metric:
    """Return a metric with one label; ``counts`` if its values only grow."""
    kind = CounterMetricFamily if counts else GaugeMetricFamily
    family = kind(name, help_text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family


class _Watched(Collector):
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()


_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """Formatter of log records as JSON: time (UTC), level, logger, message, and the fields of ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line without a line break."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{stamp}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _PLAIN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure(level: str) -> None:
    """Send all logs of this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = name != "uvicorn.access"  # middleware.py logs requests with their ids
