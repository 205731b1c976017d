"""Endpoints for monitoring: `/healthz`, `/readyz` and Prometheus `/metrics`."""

from __future__ import annotations

from flask import Blueprint

from webapp.monitoring.health_checks import healthz, readyz
from webapp.monitoring.prometheus import metrics, register

__all__ = ["blueprint", "register"]

blueprint = Blueprint("monitoring", __name__)
for view in (healthz, readyz, metrics):
    blueprint.add_url_rule(f"/{view.__name__}", view.__name__, view)
