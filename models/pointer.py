"""The version that a dataset serves (`current`), and the pin that stops runs from replacing it (`pinned`)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from common.errors import StoreError
from common.files import fsync, write_atomically

PINNED = "pinned"


@dataclass(frozen=True)
class CurrentPointer:
    """The file `models/<dataset>/current`: the id of the served version."""

    file: Path

    def read(self) -> str | None:
        """Return the served version; None before the first promotion.

        Raises:
            StoreError: the path is not a readable file.
        """
        try:
            return self.file.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            message = f"{self.file} cannot be read ({error.strerror}): move it away, and promote a version again."
            raise StoreError(message) from error

    def write(self, version: str) -> None:
        """Serve a version, in one durable step."""
        write_atomically(self.file, f"{version}\n")

    def rewrite(self) -> None:
        """Replace the file by an equal one, so that readers open the served version again.

        The modification time moves by a microsecond only: it orders datasets by their last promotion.
        """
        if (served := self.read()) is not None:
            before = self.file.stat()
            self.write(served)
            os.utime(self.file, ns=(before.st_atime_ns, before.st_mtime_ns + 1000))


@dataclass(frozen=True)
class Pin:
    """The file `models/<dataset>/pinned`: runs do not promote while it names the served version.

    A crash may leave a pin that names other versions. It has no effect.
    """

    file: Path

    def holds(self, served: str | None) -> bool:
        """Whether the served version is pinned."""
        try:
            return served in self.file.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return False

    def write(self, *versions: str) -> None:
        """Pin versions, in one durable step: during a rollback both the old and the new one."""
        write_atomically(self.file, "".join(f"{version}\n" for version in versions))

    def remove(self) -> None:
        """Remove the pin, if there is one."""
        self.file.unlink(missing_ok=True)
        fsync(self.file.parent)
