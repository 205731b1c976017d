"""For machines that watch: `/healthz`, `/readyz`, and `/metrics` in the form of Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache

from flask import Blueprint, Flask, Response, current_app
from flask.typing import ResponseReturnValue
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from common.errors import StoreError
from config.paths import Paths
from run_records import reader
from run_records.recorded_run import RUNNING
from webapp.serving.request_context import version_cache
from webapp.serving.version_cache import ServedVersion, VersionCache

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Of the seconds that an answer takes."""

GAUGES = {
    "version_age_seconds": "Since the served version was made.",
    "data_age_seconds": "Since the data of the served version was ingested.",
    "newest_interaction_age_seconds": "Since the last interaction in that data; absent where it has no times.",
    "promoted_served": "1 if what is promoted is served.",
    "last_run_ok": "1 if the last run that has ended did so well.",
    "last_run_start_seconds": "When that one began, Unix time.",
    "last_run_duration_seconds": "How long it took.",
    "last_success_seconds": "When the last run that ended well did so, Unix time.",
}
"""What is said of each dataset, by the names without `encore_`."""

_LOOKED_AT = 3
"""The last runs among which one has ended: two may go on."""

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> ResponseReturnValue:
    """Whether the process answers, and whether each dataset has a version that it can serve."""
    served, faults = {}, []
    for dataset in version_cache().datasets():
        try:
            served[dataset] = version_cache().served(dataset).version
        except StoreError as error:
            faults.append(str(error))
    if faults:
        return {"status": "unreadable", "datasets": served, "error": " ".join(faults)}, 503
    return {"status": "ok" if served else "empty", "datasets": served}


@blueprint.get("/readyz")
def readyz() -> ResponseReturnValue:
    """Whether what is promoted is what is served, and is what was published, file by file."""
    served, faults = {}, []
    for dataset in version_cache().datasets():
        try:
            version = version_cache().served(dataset)
            if version.instead_of is None and (fault := version_cache().fault(version)):
                version_cache().give_up(version, fault)
                version = version_cache().served(dataset)
            served[dataset] = version.version
            faults += [version.instead_of] if version.instead_of else []
        except StoreError as error:
            faults.append(str(error))
    if faults:
        return {"status": "not ready", "datasets": served, "error": " ".join(faults)}, 503
    return {"status": "ready" if served else "empty", "datasets": served}, 200 if served else 503


@blueprint.get("/metrics")
def metrics() -> ResponseReturnValue:
    """Requests, how long they took, how old what is served and its data are, and how the last runs went."""
    registry: CollectorRegistry = current_app.extensions["metrics"]
    return Response(generate_latest(registry), content_type="text/plain; version=0.0.4; charset=utf-8")


def register(app: Flask) -> Callable[[str, str, float], None]:
    """Prepares `/metrics`; returns what is to be told of each request: endpoint, status, and the seconds it took."""
    registry = CollectorRegistry()
    requests = Counter("encore_requests", "Requests answered.", ["endpoint", "status"], registry=registry)
    seconds = Histogram(
        "encore_request_seconds", "How long answers took.", ["endpoint"], buckets=BUCKETS, registry=registry
    )
    registry.register(_Datasets(app.extensions["shelf"], app.config["PATHS"]))
    app.extensions["metrics"] = registry

    @cache
    def of(endpoint: str, status: str) -> tuple[Counter, Histogram]:
        return requests.labels(endpoint, status), seconds.labels(endpoint)

    def seen(endpoint: str, status: str, took_s: float) -> None:
        counter, histogram = of(endpoint, status[:3])
        counter.inc()
        histogram.observe(took_s)

    return seen


class _Datasets(Collector):
    """What is served and what the last runs did, read when it is asked for."""

    def __init__(self, shelf: VersionCache, paths: Paths) -> None:
        self._shelf, self._paths = shelf, paths

    def describe(self) -> list[Metric]:
        """Nothing has to be read to register this."""
        return []

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        gauges = {name: GaugeMetricFamily(f"encore_{name}", text, labels=["dataset"]) for name, text in GAUGES.items()}
        info = GaugeMetricFamily("encore_version_info", "The served version.", labels=["dataset", "version"])
        for dataset in self._shelf.datasets():
            figures = self._of_runs(dataset)
            try:
                version = self._shelf.served(dataset)
            except StoreError:
                figures["promoted_served"] = 0
            else:
                figures |= _of_version(version)
                info.add_metric([dataset, version.version], 1)
            for name, figure in figures.items():
                gauges[name].add_metric([dataset], figure)
        yield from (info, *gauges.values())

    def _of_runs(self, dataset: str) -> dict[str, float]:
        """What the records say; one that goes on has not ended well or badly."""
        directory = self._paths.runs(dataset)
        last = next((run for run in reader.last_runs(directory, _LOOKED_AT) if run.status != RUNNING), None)
        good = last if last is None or last.succeeded else reader.last_success(directory)
        figures: dict[str, float] = {}
        if last is not None:
            figures["last_run_ok"] = last.succeeded
            if last.started:
                figures["last_run_start_seconds"] = _unix(last.started)
            if last.duration_s is not None:
                figures["last_run_duration_seconds"] = last.duration_s
        if good is not None and good.ended is not None:
            figures["last_success_seconds"] = good.ended.timestamp()
        return figures


def _of_version(version: ServedVersion) -> dict[str, float]:
    """How old it and its data are; versions from before do not say when their data was ingested."""
    manifest, times = version.manifest, version.profile.get("times")
    since = {
        "version_age_seconds": manifest["created_at"],
        "data_age_seconds": manifest.get("ingested_at"),
        "newest_interaction_age_seconds": times["last"] if times else None,
    }
    ages = {name: time.time() - _unix(moment) for name, moment in since.items() if moment}
    return {"promoted_served": version.instead_of is None, **ages}


def _unix(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
