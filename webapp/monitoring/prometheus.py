"""`/metrics`: request counts and latencies, and each dataset's served version and runs, in Prometheus format."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache

from flask import Flask, Response, current_app
from flask.typing import ResponseReturnValue
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from common.errors import StoreError
from config.paths import Paths
from run_records import reader
from run_records.recorded_run import RUNNING
from webapp.serving.served_version import ServedVersion
from webapp.serving.version_cache import VersionCache

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)

GAUGES = {
    "version_age_seconds": "Seconds since the served version was created.",
    "data_age_seconds": "Seconds since the served version's data was ingested.",
    "newest_interaction_age_seconds": "Seconds since the newest interaction in that data; absent without timestamps.",
    "promoted_served": "1 if the promoted version is served, 0 if a fallback is.",
    "last_run_ok": "1 if the last finished run succeeded.",
    "last_run_start_seconds": "Start of the last finished run, Unix time.",
    "last_run_duration_seconds": "Duration of the last finished run.",
    "last_success_seconds": "End of the last successful run, Unix time.",
}
"""Help texts of the gauges with a `dataset` label, by name without the prefix `encore_`."""

_RUNS_READ = 3
"""Runs to search for a finished one: two can be running, on the page and from the command line."""


def metrics() -> ResponseReturnValue:
    """Return all metrics."""
    registry: CollectorRegistry = current_app.extensions["metrics"]
    return Response(generate_latest(registry), content_type="text/plain; version=0.0.4; charset=utf-8")


def register(app: Flask) -> Callable[[str, str, float], None]:
    """Create the metrics and return the function that counts a request: endpoint, status line, seconds."""
    registry = CollectorRegistry()
    requests = Counter("encore_requests", "Requests answered.", ["endpoint", "status"], registry=registry)
    seconds = Histogram(
        "encore_request_seconds", "Time to answer.", ["endpoint"], buckets=LATENCY_BUCKETS_S, registry=registry
    )
    registry.register(_DatasetCollector(app.extensions["version_cache"], app.config["PATHS"]))
    app.extensions["metrics"] = registry

    @cache
    def labelled(endpoint: str, status: str) -> tuple[Counter, Histogram]:
        return requests.labels(endpoint, status), seconds.labels(endpoint)

    def count_request(endpoint: str, status: str, duration_s: float) -> None:
        counter, histogram = labelled(endpoint, status[:3])
        counter.inc()
        histogram.observe(duration_s)

    return count_request


class _DatasetCollector(Collector):
    """Reads the gauges of each dataset when Prometheus scrapes them."""

    def __init__(self, version_cache: VersionCache, paths: Paths) -> None:
        self._version_cache, self._paths = version_cache, paths

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering this does not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges of all datasets."""
        gauges = {name: GaugeMetricFamily(f"encore_{name}", text, labels=["dataset"]) for name, text in GAUGES.items()}
        info = GaugeMetricFamily("encore_version_info", "The served version.", labels=["dataset", "version"])
        for dataset in self._version_cache.datasets():
            values = self._run_gauges(dataset)
            try:
                served = self._version_cache.served(dataset)
            except StoreError:
                values["promoted_served"] = 0
            else:
                values |= _version_gauges(served)
                info.add_metric([dataset, served.version], 1)
            for name, value in values.items():
                gauges[name].add_metric([dataset], value)
        yield from (info, *gauges.values())

    def _run_gauges(self, dataset: str) -> dict[str, float]:
        directory = self._paths.runs(dataset)
        runs = reader.last_runs(directory, _RUNS_READ)
        last = next((run for run in runs if run.status != RUNNING), None)
        success = last if last is None or last.succeeded else reader.last_success(directory)
        values: dict[str, float] = {}
        if last is not None:
            values["last_run_ok"] = last.succeeded
            if last.started:
                values["last_run_start_seconds"] = _unix_time(last.started)
            if last.duration_s is not None:
                values["last_run_duration_seconds"] = last.duration_s
        if success is not None and success.ended is not None:
            values["last_success_seconds"] = success.ended.timestamp()
        return values


def _version_gauges(served: ServedVersion) -> dict[str, float]:
    times = served.profile.get("times")
    timestamps = {
        "version_age_seconds": served.manifest["created_at"],
        "data_age_seconds": served.manifest.get("ingested_at"),  # absent in old versions
        "newest_interaction_age_seconds": times["last"] if times else None,
    }
    ages = {name: time.time() - _unix_time(timestamp) for name, timestamp in timestamps.items() if timestamp}
    return {"promoted_served": served.fallback_reason is None, **ages}


def _unix_time(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
