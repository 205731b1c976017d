"""The Spark session of a run: open it, close it, and kill it when it hangs."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession

from common.errors import UserError
from common.redaction import NAMES, secrets_of
from common.scratch import scratch_directory
from spark.runtime import pyspark_internals
from spark.runtime.child_processes import defer_signals, descendants, keep_interrupt_handler, kill, kill_tree
from spark.runtime.java_home import set_java_home
from spark.runtime.process_output import finish_output, redirect_output
from spark.runtime.py_files import build_py_files

_DEEP_STACK = "-Xss16m"
"""Ten iterations of MLlib's ALS have a lineage that is too deep for the default stack when tasks are deserialised."""

_SHORT_RUN = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Java options for runs of seconds: fast compilation, serial garbage collection. Slow in long runs."""

_LONG_RUN = "-XX:+UseParallelGC"
"""Java options for batch work: throughput matters, pauses do not."""

_FALLBACK_USER = "encore"
"""User name for Java if the system has none for the user id: Java does not start without one."""

_MAX_SOCKET_DIRECTORY = 60
"""Length of a directory in which sockets can be created; Unix limits their whole path to 107 characters."""


@dataclass(frozen=True)
class SessionOptions:
    """Options of a session. None of them may change a result."""

    master: str = "local[*]"
    shuffle_partitions: int = 8
    driver_memory: str = "2g"
    short_run: bool = True
    """The input is small: Java is tuned to start fast."""
    ui: bool = False
    """Whether Spark serves its web page, which takes half a second to start."""
    log: Path | None = None
    """Receives the output of Java and Spark; None leaves it on the terminal."""
    py_files: Path | None = None
    """Shared directory for the project's code, for workers that do not have it; None if they have it."""
    numba_cache: Path | None = None
    """Directory of compiled code; None keeps it beside its source."""
    scratch: Path | None = None
    """Directory for temporary files of Java and Spark; None is the system's."""
    line_prefix: str = ""
    """Prefix of each line in the log, until `process_output.set_line_prefix` changes it."""


def open_session(options: SessionOptions) -> SparkSession:
    """Return the open session, or open one if the last one has ended or its JVM has died.

    Raises:
        UserError: Java does not start.
    """
    set_java_home()
    forget_dead_session()
    _set_environment(options)
    is_new = not pyspark_internals.has_gateway()
    scratch = scratch_directory(options.scratch) if options.scratch is not None and is_new else None
    builder = SparkSession.builder.master(options.master).appName("encore")
    for key, value in _settings(options, scratch).items():
        builder = builder.config(key, value)
    log = options.log if is_new else None  # the output of a running Java is already redirected
    with redirect_output(log, options.line_prefix, scratch), keep_interrupt_handler(), _kill_java_on_failure():
        try:
            session: SparkSession = builder.getOrCreate()
        except Exception as error:
            if "JAVA_GATEWAY_EXITED" not in str(error):
                raise
            raise UserError(
                f"Spark's Java did not start (JAVA_HOME={os.environ['JAVA_HOME']}): set JAVA_HOME to a Java 17 or 21, "
                "or unset it to use the Java that is installed with the project; or lower "
                f"[spark_session] driver_memory = {options.driver_memory}."
            ) from error
    _hide_details(session)
    return session


def forget_dead_session() -> None:
    """Clear pyspark's references to a JVM that has ended; a working session is kept."""
    if pyspark_internals.has_gateway() and not pyspark_internals.has_usable_jvm():
        pyspark_internals.forget_jvm()


def close_session() -> None:
    """Stop the session and its JVM, if there is one."""
    if not pyspark_internals.has_gateway():
        return
    if (session := SparkSession.getActiveSession()) is not None:
        session.stop()
    process = pyspark_internals.jvm_process()
    pyspark_internals.shut_down_gateway()
    if process is not None:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=10)
        finish_output()


def kill_session() -> None:
    """Kill a session that hangs: its JVM and Python workers. `open_session` then opens a new one."""
    process = pyspark_internals.jvm_process()
    if process is None:
        return
    kill_tree(process.pid)
    process.wait(timeout=10)
    assert process.stdin is not None
    process.stdin.close()
    forget_dead_session()


def active_tasks() -> tuple[int, int]:
    """Return the completed and the total number of tasks in the active stages; (0, 0) without a session."""
    context = pyspark_internals.open_context()
    if context is None:
        return (0, 0)
    tracker = context.statusTracker()
    stages = [info for number in tracker.getActiveStageIds() if (info := tracker.getStageInfo(number)) is not None]
    return sum(info.numCompletedTasks for info in stages), sum(info.numTasks for info in stages)


def _set_environment(options: SessionOptions) -> None:
    """Set the environment variables that pyspark, its workers and numba read."""
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    if options.numba_cache is not None:
        os.environ.setdefault("NUMBA_CACHE_DIR", str(options.numba_cache))
    if options.master.startswith(("local", "spark://127.0.0.1", "spark://localhost")):
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    if not _has_user_name():
        for variable in ("HADOOP_USER_NAME", "SPARK_USER"):
            os.environ.setdefault(variable, _FALLBACK_USER)


def _settings(options: SessionOptions, scratch: Path | None) -> dict[str, str]:
    """Return Spark's configuration."""
    java = f"{_DEEP_STACK} {_SHORT_RUN if options.short_run else _LONG_RUN}"
    settings = {
        "spark.driver.memory": options.driver_memory,
        "spark.driver.extraJavaOptions": java,
        "spark.executor.extraJavaOptions": f"{_DEEP_STACK} {_LONG_RUN}",
        "spark.ui.enabled": str(options.ui).lower(),
        "spark.port.maxRetries": "100",
        # Over TCP, each Python task waits 20 ms longer.
        "spark.python.unix.domain.socket.enabled": "true",
        "spark.redaction.regex": NAMES,
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": str(options.shuffle_partitions),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        # Raw files may have any encoding that Java supports, and bytes that are invalid in it.
        "spark.sql.legacy.javaCharsets": "true",
        "spark.sql.legacy.codingErrorAction": "true",
        "spark.sql.legacy.timeParserPolicy": "CORRECTED",
        "spark.sql.legacy.parquet.nanosAsLong": "true",
    }
    if not _has_user_name():
        settings["spark.jars.ivy"] = gettempdir()
    if scratch is not None:
        settings["spark.local.dir"] = str(scratch)
        settings["spark.driver.extraJavaOptions"] = f'{java} "-Djava.io.tmpdir={scratch}"'
        sockets = scratch if len(str(scratch)) <= _MAX_SOCKET_DIRECTORY else gettempdir()
        settings["spark.python.unix.domain.socket.dir"] = str(sockets)
    if options.py_files is not None:
        settings["spark.executorEnv.PYTHONPATH"] = str(build_py_files(options.py_files))
    if "NUMBA_CACHE_DIR" in os.environ:
        settings["spark.executorEnv.NUMBA_CACHE_DIR"] = os.environ["NUMBA_CACHE_DIR"]
    return settings


def _hide_details(session: SparkSession) -> None:
    """Keep pyspark from logging errors that the caller handles, and secrets of the environment out of Spark's logs."""
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        PySparkLogger.getLogger(name).disabled = True
    if secrets := secrets_of(os.environ):
        # Set at run time, because an option of the builder appears on Java's command line, readable for everyone.
        session.conf.set("spark.sql.redaction.string.regex", "|".join(f"\\Q{secret}\\E" for secret in secrets))


def _has_user_name() -> bool:
    """Whether the system has a name for the user id; it has none in `docker run --user 12345`."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return True


@contextmanager
def _kill_java_on_failure() -> Iterator[None]:
    """Kill a JVM that is still starting when the block fails: it would wait for pyspark forever."""
    before = descendants(os.getpid())
    try:
        yield
    except BaseException:
        if not pyspark_internals.has_gateway():
            with defer_signals():
                kill(pid for pid in descendants(os.getpid()) if pid not in before)
        raise
