"""What is measured, for Prometheus; a registry of its own, nothing global."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from framework.status import BOUNDS, Timing

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
_LAGS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5)
_LAG_INTERVAL = 0.25

# Gauges that are read when somebody asks: name -> (help, value).
Gauges = Callable[[], dict[str, tuple[str, float]]]


class Metrics:
    """The numbers of one gateway."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "mesos_gateway_request_seconds",
            "How long requests took, by resource, method and status",
            ("route", "method", "status"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._lag = Histogram(
            "mesos_gateway_loop_lag_seconds",
            "How much later than asked the event loop came back",
            buckets=_LAGS,
            registry=self._registry,
        )
        self._watch: asyncio.Task[None] | None = None

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts one answered request; unknown methods share a label, whoever invents them."""
        known = (
            method if method in ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS") else "other"
        )
        self._requests.labels(route, known, str(status)).observe(seconds)

    def gauges(self, read: Gauges) -> None:
        """Adds gauges that ``read`` tells at each scrape."""
        self._registry.register(_Gauges(read))

    def scheduler(self, status: Callable[[], Any]) -> None:
        """Adds the scheduler's numbers, from :meth:`framework.service.SchedulerService.status`."""
        self._registry.register(_Scheduler(status))

    def text(self) -> str:
        """Returns everything in Prometheus's text format."""
        return generate_latest(self._registry).decode()

    def start(self) -> None:
        """Begins to watch the event loop's lag."""
        self._watch = asyncio.get_running_loop().create_task(self._watch_lag())

    def stop(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    async def _watch_lag(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(_LAG_INTERVAL)
            self._lag.observe(max(0.0, time.monotonic() - began - _LAG_INTERVAL))


class _Gauges(Collector):
    def __init__(self, read: Gauges) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        for name, (text, value) in self._read().items():
            yield GaugeMetricFamily(f"mesos_gateway_{name}", text, value=value)


class _Scheduler(Collector):
    """Reads a status once per scrape; see :class:`framework.status.ServiceStatus`."""

    def __init__(self, status: Callable[[], Any]) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        status = self._status()
        yield _gauge("ready", "1 when the scheduler is ready", float(status.ready))
        yield _gauge("scheduler_queue", "Commands and events that wait for the scheduler", status.queued)
        if status.counts is not None:
            yield from _counts(status.counts)
        yield from _durations(status.durations)
        yield _gauge("mesos_calls_queued", "Calls that wait to be sent to Mesos", status.calls_queued)
        mesos = CounterMetricFamily(
            "mesos_gateway_mesos_events", "What passed between the framework and Mesos", labels=["kind"]
        )
        for kind, count in status.mesos.items():
            mesos.add_metric([kind], count)
        yield mesos


def _durations(durations: Mapping[str, Timing]) -> Iterable[Metric]:
    took = HistogramMetricFamily(
        "mesos_gateway_scheduler_seconds", "How long each step of the scheduler took", labels=["step"]
    )
    longest = GaugeMetricFamily(
        "mesos_gateway_scheduler_longest_seconds", "The longest of each step", labels=["step"]
    )
    names = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
    for step, timing in durations.items():
        sums = itertools.accumulate(timing.buckets)
        took.add_metric([step], list(zip(names, sums, strict=True)), timing.total)
        longest.add_metric([step], timing.longest)
    yield from (took, longest)


def _counts(counts: Any) -> Iterable[Metric]:
    tasks = GaugeMetricFamily("mesos_gateway_tasks", "Tasks by state", labels=["state"])
    for state, count in counts.tasks.items():
        tasks.add_metric([state], count)
    yield tasks
    yield _gauge("jobs", "Jobs that run or want to run something", counts.jobs)
    yield _gauge("updates", "Updates and restarts under way", counts.updates)
    yield _gauge("offers", "Offers held", counts.offers)
    yield _gauge(
        "tasks_unanswered",
        "Tasks that Mesos was asked about and has not answered for",
        counts.unanswered,
    )
    placed = "mesos_gateway_tasks_placed"
    yield CounterMetricFamily(placed, "Tasks assigned to an agent", value=counts.placed)
    looks = "mesos_gateway_matching_looks"
    yield CounterMetricFamily(looks, "Configurations matched with an agent", value=counts.looks)
    yield _gauge("agents", "Agents whose offers have been seen", counts.agents)
    yield _gauge("agents_in_trouble", "Agents whose Docker does not answer", len(counts.troubles))
    yield _gauge("driver_connected", "1 when Mesos has accepted the framework", float(counts.registered))


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"mesos_gateway_{name}", text, value=value)
