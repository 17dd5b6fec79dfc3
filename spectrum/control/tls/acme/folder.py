"""The stored state of certificates by ACME: account keys, certificates with their keys, renewal times. Every file is
written under another name, flushed to disk and renamed: after a crash there is the former one or the new one. A
certificate and its key are one file, so that no reader finds one without the other.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from spectrum.core.tls.renewal import OrderState
from spectrum.kernel.folders import check_folder


class InUse(Exception):
    """Another process orders with this folder: the previous daemon, or one with another configuration."""


class AcmeFolder:
    """The files.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> None:
        """Create the folder, if it is missing; only this user can read it.

        Raises:
            FolderError: If another user can write to it.
            OSError: If it cannot be created.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_folder(self.path)
        self.path.chmod(0o700)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Prevent all other processes from ordering.

        Raises:
            InUse: If another process orders.
            OSError: If the folder cannot be written to.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as exc:
            raise InUse(f"another process orders certificates with {self.path}") from exc
        finally:
            os.close(descriptor)

    def certificate(self, name: str) -> Path:
        """Return the file with a certificate, its chain and its key."""
        return self.path / f"{name}.pem"

    def pending(self, name: str) -> Path:
        """Return the file with the key and the URL of an unfinished order."""
        return self.path / f"{name}.order"

    def account(self, directory: str) -> Path:
        """Return the file with the account at a CA."""
        return self.path / f"account-{hashlib.sha256(directory.encode()).hexdigest()[:16]}.json"

    def standing(self, name: str) -> OrderState:
        """Return the state of the orders of a certificate; an empty one if the file is damaged."""
        try:
            return msgspec.json.decode(self._standing(name).read_bytes(), type=OrderState)
        except (FileNotFoundError, msgspec.DecodeError):
            return OrderState()

    def keep_standing(self, name: str, standing: OrderState) -> None:
        """Save the state of the orders of a certificate.

        Raises:
            OSError: If it cannot be written.
        """
        self.write(self._standing(name), msgspec.json.encode(standing))

    def forget(self, name: str) -> None:
        """Remove what is kept of a certificate: itself and its key, an order that is not over, and its orders."""
        for path in (self.certificate(name), self.pending(name), self._standing(name)):
            path.unlink(missing_ok=True)

    def _standing(self, name: str) -> Path:
        return self.path / f"{name}.json"

    def write(self, path: Path, data: bytes) -> None:
        """Replace a file of the folder by `data`, atomically.

        Raises:
            OSError: If it cannot be written; the former file stays.
        """
        beside = path.with_name(path.name + ".new")
        beside.unlink(missing_ok=True)
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            os.replace(beside, path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
