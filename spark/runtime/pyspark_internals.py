"""All private use of pyspark: the process and state of its JVM, for which pyspark has no public interface.

pyspark keeps the connection to a JVM in class attributes, also after that JVM has died. `SparkSession.builder` then
fails until they are cleared.
"""

from __future__ import annotations

import subprocess
from typing import Any

from pyspark import SparkContext
from pyspark.sql import SparkSession

TESTED_VERSION = "4.3"
"""The release of pyspark that these functions are tested with."""


def has_gateway() -> bool:
    """Whether pyspark has started a JVM, dead or alive."""
    return SparkContext._gateway is not None


def jvm_process() -> subprocess.Popen[bytes] | None:
    """Return the JVM that pyspark has started; None without one, or if another process started it."""
    process: subprocess.Popen[bytes] | None = getattr(SparkContext._gateway, "proc", None)
    return process


def open_context() -> SparkContext | None:
    """Return the Spark context; None without one, and while it is being opened or closed."""
    context = SparkContext._active_spark_context
    return context if getattr(context, "_jsc", None) is not None else None


def has_usable_jvm() -> bool:
    """Whether the JVM runs and its context, if there is one, is open."""
    process = jvm_process()
    is_running = has_gateway() and (process is None or process.poll() is None)
    return is_running and (SparkContext._active_spark_context is None or open_context() is not None)


def forget_jvm() -> None:
    """Clear the references to a JVM and its session, so that pyspark starts new ones."""
    context: Any = SparkContext
    context._gateway = context._jvm = context._active_spark_context = None
    session: Any = SparkSession
    session._instantiatedSession = session._activeSession = None


def shut_down_gateway() -> None:
    """Close the connection to the JVM, and clear the references to it."""
    gateway: Any = SparkContext._gateway
    gateway.shutdown()
    context: Any = SparkContext
    context._gateway = context._jvm = None
