"""Private keys sent to the API: sealed for the supervisor, which alone can open them (HPKE, RFC 9180).

The API's process has the public half, so that it can seal a key and never open one.
"""

import base64
import binascii
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
# Prefix of a sealed key: the format.
PREFIX = "hpke-x25519:"
_PURPOSE = b"spectrum: the private key of a certificate\0"


class SealingError(Exception):
    """A sealed key cannot be opened, or the sealing key cannot be read; the message has the reason."""


def seal(key: bytes, belongs_to: bytes, public: bytes) -> str:
    """Encrypt a private key for the sealing key.

    Args:
        key: The private key.
        belongs_to: The public key that it belongs to; the sealed key can be opened with no other one.
        public: The public half of the sealing key, 32 bytes.
    """
    sealed = _SUITE.encrypt(key, X25519PublicKey.from_public_bytes(public), _PURPOSE + belongs_to)
    return PREFIX + base64.b64encode(sealed).decode()


def unseal(text: str, belongs_to: bytes, sealing_key: X25519PrivateKey) -> bytes:
    """Return the private key of `seal`.

    Raises:
        SealingError: If it was sealed for another installation, or for another public key, or is damaged.
    """
    if not text.startswith(PREFIX):
        raise SealingError(f"it does not begin with {PREFIX}, as a sealed key does")
    try:
        sealed = base64.b64decode(text.removeprefix(PREFIX), validate=True)
        return _SUITE.decrypt(sealed, sealing_key, _PURPOSE + belongs_to)
    except (binascii.Error, ValueError, InvalidTag) as exc:
        raise SealingError("it was not sealed by this installation for this certificate; send the key again") from exc


def read_sealing_key(path: Path) -> X25519PrivateKey:
    """Return the sealing key.

    Raises:
        SealingError: If it cannot be read.
    """
    try:
        return X25519PrivateKey.from_private_bytes(path.read_bytes())
    except FileNotFoundError as exc:
        raise SealingError(f"{path}, which opens sealed keys, is not there; send the key again") from exc
    except OSError as exc:
        raise SealingError(f"{path}, which opens sealed keys: {(exc.strerror or str(exc)).lower()}") from exc
    except ValueError as exc:
        raise SealingError(f"{path}, which opens sealed keys, is damaged") from exc


def have_sealing_key(path: Path) -> X25519PrivateKey:
    """Return the sealing key; create it if missing, atomically and readable by its owner only.

    Raises:
        SealingError: If it cannot be read, or created.
    """
    if path.exists():
        return read_sealing_key(path)
    made = X25519PrivateKey.generate()
    beside = path.with_name(f".{path.name}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:
            file.write(made.private_bytes_raw())
            file.flush()
            os.fsync(descriptor)
        beside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as exc:
        raise SealingError(f"{path}, which opens sealed keys: {(exc.strerror or str(exc)).lower()}") from exc
    return made
