"""Tokens of the API: their texts, of which only digests are stored, and the lookup by text."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# A fixed prefix, so that scanners of repositories find tokens, as GitHub's and Cloudflare's.
PREFIX = "sp_"
# 256 random bits: a plain digest is as good as a slow one (OWASP, Cryptographic Storage).
RANDOM_BYTES = 32
# The syntax of tokens that Terraform's provider accepts.
TEXT = re.compile(r"[0-9A-Za-z\-_]{40,80}")
# The prefix of a digest in the file.
ALGORITHM = "sha256:"


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token.

    Attributes:
        id: 32 hex digits.
        name: The displayed name; not unique.
        digest: `sha256:` and 64 hex digits; of the token's text.
        value: Its value in the file, without `hash`.
        created_on: In seconds since 1970.
        modified_on: The same.
        is_in_file: Whether it is in the file, and read-only to the API.
    """

    id: str
    name: str
    digest: str
    value: dict[str, Any]
    created_on: float
    modified_on: float
    is_in_file: bool = False


def new_token() -> str:
    """Return the text of a new token. It is displayed once and not stored."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def digest(text: str) -> str:
    """Return the digest of a token's text, which is stored."""
    return ALGORITHM + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class TokenIndex:
    """Finds tokens by their texts.

    The time of a lookup reveals nothing about tokens: the key is the prefix of a digest, and whole digests are
    compared.
    """

    def __init__(self, tokens: Iterable[StoredToken]) -> None:
        self._tokens: dict[str, list[StoredToken]] = {}
        for token in tokens:
            self._tokens.setdefault(_key(token.digest), []).append(token)

    def find(self, text: str) -> StoredToken | None:
        """Return the token with a text, also an invalid one; None if there is none."""
        if not TEXT.fullmatch(text):
            return None
        found, wanted = None, digest(text)
        for token in self._tokens.get(_key(wanted), ()):
            if hmac.compare_digest(token.digest, wanted):
                found = token
        return found


def _key(of: str) -> str:
    return of[: len(ALGORITHM) + 8]
