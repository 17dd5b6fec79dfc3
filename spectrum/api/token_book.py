"""All tokens of file and store: found by what clients send, made, changed and deleted."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from spectrum.core.tenants.tokens import Token
from spectrum.store.audit import AuditEntry
from spectrum.store.objects import file_id
from spectrum.store.store import Store
from spectrum.store.tokens import StoredToken, TokenIndex
from spectrum.tasks import in_thread


class TokenBook:
    """The tokens.

    Args:
        store: Where those are kept that the file has not.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tokens: dict[str, StoredToken] = {}
        self._limits: dict[str, Token] = {}
        self._used: dict[str, float] = {}
        self._index = TokenIndex(())

    def fill(self, file: Mapping[str, Mapping[str, Any]], stored: Iterable[StoredToken]) -> None:
        """Have these tokens and no others.

        Args:
            file: The file's values by name.
            stored: The store's.
        """
        found = []
        for name, value in file.items():
            rest = {key: item for key, item in value.items() if key != "hash"}
            found.append(StoredToken(file_id("tokens", name), name, value["hash"], rest, 0.0, 0.0, True))
        self._tokens = {one.id: one for one in (*found, *stored)}
        self._limits = {one.id: _limits_of(one) for one in self._tokens.values()}
        self._index = TokenIndex(self._tokens.values())

    def all(self) -> list[StoredToken]:
        """Return all tokens, the file's first."""
        return list(self._tokens.values())

    def get(self, token_id: str) -> StoredToken | None:
        """Return the token with an id, if there is one."""
        return self._tokens.get(token_id)

    def find(self, text: str) -> StoredToken | None:
        """Return the token with a text, if there is one; it may be disabled, or over."""
        return self._index.find(text)

    def limits(self, token: StoredToken) -> Token:
        """Return what a token may."""
        return self._limits[token.id]

    def used(self, token: StoredToken, now: float) -> None:
        """Remember that a token was used."""
        self._used[token.id] = now

    def last_used(self, token: StoredToken) -> float | None:
        """Return when a token was used last since this process has run."""
        return self._used.get(token.id)

    async def put(self, token: StoredToken, audit: Sequence[AuditEntry], now: float) -> None:
        """Make or change a token.

        Raises:
            StoreError: If it cannot be kept; nothing has changed.
        """
        limits = _limits_of(token)
        await in_thread(self._store.put_token, token, audit, now)
        self._tokens[token.id], self._limits[token.id] = token, limits
        self._index = TokenIndex(self._tokens.values())

    async def delete(self, token: StoredToken, audit: Sequence[AuditEntry], now: float) -> None:
        """Delete a token.

        Raises:
            StoreError: If that cannot be kept; nothing has changed.
        """
        await in_thread(self._store.delete_token, token.id, audit, now)
        self._tokens.pop(token.id, None)
        self._index = TokenIndex(self._tokens.values())


def _limits_of(token: StoredToken) -> Token:
    return Token.model_validate({**token.value, "hash": token.digest})
