"""The addresses of origins' names, looked up again on their TTL, never in the way of anything.

getaddrinfo asks what the machine asks for everything else (/etc/hosts, the resolvers, their search list) and runs in a
thread. It does not tell the record's own TTL, so `ttl` of the file decides when to look again. A failure leaves the
last good answer in place.
"""

import asyncio
import logging
import socket
from collections.abc import Callable

from spectrum.core.address import parse_address
from spectrum.core.names import NameSettings, name_key
from spectrum.plane.tasks import Tasks

log = logging.getLogger(__name__)

# After a failure the next look is soon, and later each time, up to the name's own TTL.
FIRST_RETRY_S = 1.0
LOOKUP_TIMEOUT_S = 10.0
# The start waits so long for first answers; a name that takes longer is served when it is there.
START_TIMEOUT_S = 3.0

_FAMILIES = {"": socket.AF_UNSPEC, "A": socket.AF_INET, "AAAA": socket.AF_INET6}


class LookupFailure(Exception):
    """A name has no address; the message says why."""


async def look_up(name: NameSettings) -> tuple[str, ...]:
    """Return the addresses of a name, each once, in the resolver's order.

    Raises:
        LookupFailure: If there are none.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await asyncio.wait_for(
            loop.getaddrinfo(name.name, None, family=_FAMILIES[name.type], type=socket.SOCK_STREAM), LOOKUP_TIMEOUT_S
        )
    except TimeoutError as exc:
        raise LookupFailure(f"no answer within {LOOKUP_TIMEOUT_S:g} s") from exc
    except OSError as exc:
        raise LookupFailure((exc.strerror or str(exc)).lower()) from exc
    return tuple(dict.fromkeys(str(info[4][0]) for info in found))


class NameWatch:
    """Keeps the addresses of a set of names.

    Args:
        changed: Called with what changed, by `core.snapshot.name_key`.
        refuse: Returns why an address may not be an origin, or None; such an address is left out.
    """

    def __init__(
        self,
        changed: Callable[[dict[str, tuple[str, ...]]], None],
        refuse: Callable[[NameSettings, str], str | None],
    ) -> None:
        self._changed = changed
        self._refuse = refuse
        self._tasks = Tasks()
        self._watched: dict[NameSettings, asyncio.Task[None]] = {}
        self.addresses: dict[str, tuple[str, ...]] = {}
        self.failures: dict[str, str] = {}

    async def watch(self, names: frozenset[NameSettings]) -> None:
        """Watch exactly these names; wait a short while for the first answers of new ones."""
        for name in self._watched.keys() - names:
            self._watched.pop(name).cancel()
        answered = []
        for name in names - self._watched.keys():
            first = asyncio.Event()
            answered.append(first)
            self._watched[name] = self._tasks.start(self._follow(name, first), f"look up {name.name}")
        if answered:
            waiting = asyncio.gather(*(first.wait() for first in answered))
            try:
                await asyncio.wait_for(waiting, START_TIMEOUT_S)
            except TimeoutError:
                log.warning("some names of origins have no address yet; their apps serve once they have")

    async def _follow(self, name: NameSettings, first: asyncio.Event) -> None:
        key, retry_s = name_key(name), FIRST_RETRY_S
        while True:
            try:
                addresses = self._usable(name, await look_up(name))
            except LookupFailure as exc:
                self._fail(key, name, str(exc))
                pause_s, retry_s = min(retry_s, name.ttl_s), min(retry_s * 2, name.ttl_s)
            else:
                pause_s, retry_s = name.ttl_s, FIRST_RETRY_S
                self._succeed(key, addresses)
            first.set()
            await asyncio.sleep(pause_s)

    def _usable(self, name: NameSettings, addresses: tuple[str, ...]) -> tuple[str, ...]:
        addresses = tuple(dict.fromkeys(str(parse_address(address)) for address in addresses))
        refused = {address: why for address in addresses if (why := self._refuse(name, address))}
        if len(refused) == len(addresses):
            raise LookupFailure("; ".join(refused.values()))
        return tuple(address for address in addresses if address not in refused)

    def _fail(self, key: str, name: NameSettings, why: str) -> None:
        if self.failures.get(key) != why:
            kept = ", ".join(self.addresses.get(key, ())) or "none"
            log.warning("origin name %s: %s; addresses in use: %s", name.name, why, kept)
        self.failures[key] = why

    def _succeed(self, key: str, addresses: tuple[str, ...]) -> None:
        self.failures.pop(key, None)
        # Resolvers rotate their answers; the order is no news.
        if set(self.addresses.get(key, ())) != set(addresses):
            self.addresses[key] = addresses
            self._changed({key: addresses})

    async def stop(self) -> None:
        """Stop watching."""
        await self._tasks.stop()
