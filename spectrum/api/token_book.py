"""All tokens of file and store: found by their text, made, changed and deleted.

Times of last use are written in batches: no request waits for them, and a kill loses a minute of them at most.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from spectrum.core.tenants.tokens import Token
from spectrum.store.audit import AuditEntry
from spectrum.store.errors import StoreError
from spectrum.store.objects import file_id
from spectrum.store.store import Store
from spectrum.store.tokens import StoredToken, TokenIndex
from spectrum.tasks import in_thread

log = logging.getLogger(__name__)

WRITE_EVERY_S = 60.0


class TokenBook:
    """The tokens.

    Args:
        store: Keeps the tokens that are not in the file.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tokens: dict[str, StoredToken] = {}
        self._limits: dict[str, Token] = {}
        self._used: dict[str, float] = {}
        # The tokens whose last use is not in the store yet.
        self._unwritten: set[str] = set()
        self._has_failed = False
        self._index = TokenIndex(())

    def fill(
        self, file: Mapping[str, Mapping[str, Any]], stored: Iterable[StoredToken], uses: Mapping[str, float]
    ) -> None:
        """Replace all tokens.

        Args:
            file: The file's values by name.
            stored: The store's tokens.
            uses: Times of last use in the store.
        """
        found = []
        for name, value in file.items():
            rest = {key: item for key, item in value.items() if key != "hash"}
            found.append(StoredToken(file_id("tokens", name), name, value["hash"], rest, 0.0, 0.0, True))
        self._tokens = {one.id: one for one in (*found, *stored)}
        self._limits = {one.id: _limits_of(one) for one in self._tokens.values()}
        self._index = TokenIndex(self._tokens.values())
        known = {**uses, **self._used}
        self._used = {token_id: at for token_id, at in known.items() if token_id in self._tokens}
        self._unwritten |= known.keys() - self._used.keys()

    def all(self) -> list[StoredToken]:
        """Return all tokens, the file's first."""
        return list(self._tokens.values())

    def get(self, token_id: str) -> StoredToken | None:
        """Return the token with an id; None if there is none."""
        return self._tokens.get(token_id)

    def find(self, text: str) -> StoredToken | None:
        """Return the token with a text, also a disabled or expired one; None if there is none."""
        return self._index.find(text)

    def limits(self, token: StoredToken) -> Token:
        """Return the permissions of a token."""
        return self._limits[token.id]

    def used(self, token: StoredToken, now: float) -> None:
        """Record that a token is used."""
        self._used[token.id] = now
        self._unwritten.add(token.id)

    def last_used(self, token: StoredToken) -> float | None:
        """Return when a token was last used, in seconds since 1970; None without a recorded use."""
        return self._used.get(token.id)

    async def keep_uses(self) -> None:
        """Write times of last use, once per minute if any changed, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self.write_uses()

    async def write_uses(self) -> None:
        """Write times of last use that changed. What cannot be written is logged, and kept for the next attempt."""
        uses = {token_id: self._used.get(token_id) for token_id in self._unwritten}
        if not uses:
            return
        self._unwritten = set()
        try:
            await in_thread(self._store.write_token_uses, uses)
        except StoreError as exc:
            self._unwritten |= uses.keys()
            if not self._has_failed:
                log.warning("when tokens were used cannot be written: %s", exc)
            self._has_failed = True
        else:
            self._has_failed = False

    async def put(self, token: StoredToken, audit: Sequence[AuditEntry], now: float) -> None:
        """Make or change a token.

        Raises:
            StoreError: If it cannot be saved; nothing has changed.
        """
        limits = _limits_of(token)
        await in_thread(self._store.put_token, token, audit, now)
        self._tokens[token.id], self._limits[token.id] = token, limits
        self._index = TokenIndex(self._tokens.values())

    async def delete(self, token: StoredToken, audit: Sequence[AuditEntry], now: float) -> None:
        """Delete a token.

        Raises:
            StoreError: If the deletion cannot be saved; nothing has changed.
        """
        await in_thread(self._store.delete_token, token.id, audit, now)
        self._tokens.pop(token.id, None)
        self._used.pop(token.id, None)
        self._index = TokenIndex(self._tokens.values())


def _limits_of(token: StoredToken) -> Token:
    return Token.model_validate({**token.value, "hash": token.digest})
