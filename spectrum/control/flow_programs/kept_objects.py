"""Objects that were compiled from sources, in files: a start has them where there is no compiler.

Each has the digest of what it was compiled from as its name, and its own digest before it. What is in such a file is
checked as any program is, after it is found whole here.
"""

import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from spectrum.kernel.whole_files import replace_file

log = logging.getLogger(__name__)

SUFFIX = ".o"
MAX_BYTES = 4 * 2**20
_DIGEST_BYTES = 32


class KeptObjectError(Exception):
    """A file is not as it was written; the message says why."""


@dataclass(frozen=True, slots=True)
class KeptObjects:
    """Keeps objects.

    Attributes:
        folder: Of them alone; it is made where there is none.
    """

    folder: Path

    def find(self, address: str) -> bytes | None:
        """Return an object; None where there is none, or who asks may not read it.

        Raises:
            KeptObjectError: If the file is not as it was written.
        """
        try:
            return _opened(self._read(address))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None
        except OSError as exc:
            raise KeptObjectError(f"{self._path(address)}: {(exc.strerror or str(exc)).lower()}") from exc
        except ValueError as exc:
            raise KeptObjectError(f"{self._path(address)}: {exc}") from exc

    def keep(self, objects: Mapping[str, bytes]) -> None:
        """Keep these, and no others. Where that cannot be, the log says so."""
        try:
            for address, built in objects.items():
                if not self._has(address, built):
                    self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                    replace_file(self._path(address), sha256(built).digest() + built)
            for path in self.folder.glob(f"*{SUFFIX}"):
                if path.stem not in objects:
                    path.unlink(missing_ok=True)
        except OSError as exc:
            log.warning("%s: flow programs are not kept, so the next start needs clang: %s", self.folder, exc)

    def _has(self, address: str, built: bytes) -> bool:
        try:
            return self.find(address) == built
        except KeptObjectError:
            return False

    def _path(self, address: str) -> Path:
        return self.folder / f"{address}{SUFFIX}"

    def _read(self, address: str) -> bytes:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(self._path(address), flags), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise ValueError(f"other users could have written it (mode {stat.S_IMODE(found.st_mode):04o})")
            return file.read(MAX_BYTES + _DIGEST_BYTES)


def _opened(data: bytes) -> bytes:
    digest, built = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if sha256(built).digest() != digest:
        raise ValueError("it is damaged")
    return built
