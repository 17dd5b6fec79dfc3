"""What is kept of certificates by ACME: keys of accounts, certificates with their keys, when they are to be renewed.

Every file is written beside, flushed to disk and renamed: after a crash there is the former one or the new one. A
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
    """Another process orders for this folder: the daemon before this one, or one of another configuration."""


class AcmeFolder:
    """The files.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> None:
        """Make it, if it is not there; only this user reads it.

        Raises:
            FolderError: If another user can write to it.
            OSError: If it cannot be made.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_folder(self.path)
        self.path.chmod(0o700)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep all other processes from ordering.

        Raises:
            InUse: If one does.
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
        """Return the file with the key and the URL of an order that is not over."""
        return self.path / f"{name}.order"

    def account(self, directory: str) -> Path:
        """Return the file with the account at a CA."""
        return self.path / f"account-{hashlib.sha256(directory.encode()).hexdigest()[:16]}.json"

    def standing(self, name: str) -> OrderState:
        """Return what is known of the orders of a certificate; of a file that is damaged, nothing."""
        try:
            return msgspec.json.decode(self._standing(name).read_bytes(), type=OrderState)
        except (FileNotFoundError, msgspec.DecodeError):
            return OrderState()

    def keep_standing(self, name: str, standing: OrderState) -> None:
        """Keep what is known of the orders of a certificate.

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
        """Have a file of the folder hold `data`, whatever happens meanwhile.

        Raises:
            OSError: If it cannot be written; then it is as it was.
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
