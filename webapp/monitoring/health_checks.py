"""`/healthz` and `/readyz`: whether every dataset's version can be served."""

from __future__ import annotations

from flask.typing import ResponseReturnValue

from common.errors import StoreError
from webapp.serving.request_context import version_cache


def healthz() -> ResponseReturnValue:
    """Whether each dataset has a readable version: the promoted one or a fallback."""
    versions, errors = {}, []
    for dataset in version_cache().datasets():
        try:
            versions[dataset] = version_cache().served(dataset).version
        except StoreError as error:
            errors.append(str(error))
    if errors:
        return {"status": "unreadable", "datasets": versions, "error": " ".join(errors)}, 503
    return {"status": "ok" if versions else "empty", "datasets": versions}


def readyz() -> ResponseReturnValue:
    """Whether each dataset serves its promoted version, with every file's checksum as published."""
    cache = version_cache()
    versions, errors = {}, []
    for dataset in cache.datasets():
        try:
            served = cache.served(dataset)
            if served.fallback_reason is None and (corruption := cache.find_corruption(served)):
                cache.mark_bad(served, corruption)
                served = cache.served(dataset)
            versions[dataset] = served.version
            errors += [served.fallback_reason] if served.fallback_reason else []
        except StoreError as error:
            errors.append(str(error))
    if errors:
        return {"status": "not ready", "datasets": versions, "error": " ".join(errors)}, 503
    return {"status": "ready" if versions else "empty", "datasets": versions}, 200 if versions else 503
