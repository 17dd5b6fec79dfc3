"""Tokens of the API: their texts, of which only digests are kept, and how one is found by what a client sends."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# So that scanners of repositories find them, as GitHub's and Cloudflare's.
PREFIX = "sp_"
# 256 bits, which nobody guesses: a plain digest is as good as a slow one (OWASP, Cryptographic Storage).
RANDOM_BYTES = 32
# What Terraform's provider takes as a token.
TEXT = re.compile(r"[0-9A-Za-z\-_]{40,80}")
# What a digest begins with in the file.
ALGORITHM = "sha256:"


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token.

    Attributes:
        id: 32 hex digits.
        name: For people; several may have the same.
        digest: `sha256:` and 64 hex digits; of the token's text.
        value: What stands in the file below a token's name, without `hash`.
        created_on: In seconds since 1970.
        modified_on: The same.
        is_in_file: It is the file's, and read-only to the API.
    """

    id: str
    name: str
    digest: str
    value: dict[str, Any]
    created_on: float
    modified_on: float
    is_in_file: bool = False


def new_token() -> str:
    """Return the text of a new token. It is shown once and not kept."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def digest(text: str) -> str:
    """Return what is kept of a token."""
    return ALGORITHM + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class TokenIndex:
    """Finds tokens by their texts.

    How long that takes tells nothing of a token: what is looked up is the beginning of a digest, and digests are
    compared as a whole.
    """

    def __init__(self, tokens: Iterable[StoredToken]) -> None:
        self._tokens: dict[str, list[StoredToken]] = {}
        for token in tokens:
            self._tokens.setdefault(_key(token.digest), []).append(token)

    def find(self, text: str) -> StoredToken | None:
        """Return the token with a text, if there is one. Whether it is still valid is not asked."""
        if not TEXT.fullmatch(text):
            return None
        found, wanted = None, digest(text)
        for token in self._tokens.get(_key(wanted), ()):
            if hmac.compare_digest(token.digest, wanted):
                found = token
        return found


def _key(of: str) -> str:
    return of[: len(ALGORITHM) + 8]
