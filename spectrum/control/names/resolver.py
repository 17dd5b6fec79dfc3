"""Addresses of names: from the hosts file, else from the DNS servers of resolv.conf, each answer with its TTL.

dnspython queries on sockets of the loop: a server that does not answer delays its own query only. Other mechanisms of
nsswitch.conf (mdns, ldap) are not used. See docs/decisions/010-names.md.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from spectrum.control.configuration.watch import FilesRead
from spectrum.core.address import parse_address
from spectrum.core.name_files import ResolverSettings, parse_hosts, parse_resolv_conf
from spectrum.core.names import Service

if TYPE_CHECKING:  # 35 ms and 9 MB, which only files with names need.
    import dns.message
    import dns.resolver

RESOLV_CONF = Path("/etc/resolv.conf")
HOSTS = Path("/etc/hosts")
MAX_LOOKUP_S = 30.0
# How long a server that did not answer, while another one did, is asked last.
SILENT_SERVER_S = 30.0
# Of an SRV name only this many of the lowest priorities are used: each target needs look-ups of its own.
MAX_TARGETS = 64
# Of each type of record, and of a service. Orders of trying them are quadratic in number, and their owner chooses it:
# a name with thousands would hold up a worker for seconds.
MAX_ADDRESSES = 128
# A service some of whose targets have no address is looked up again after this time.
LACKING_TARGET_S = 30.0
_TYPES = {"": ("AAAA", "A"), "A": ("A",), "AAAA": ("AAAA",)}

T = TypeVar("T")
log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """The answer for a name.

    Attributes:
        addresses: Each once, in the server's order; for SRV the texts of `core.names.Service`.
        ttl_s: Time to live; infinite for an answer from a file, which is read again when it changes.
    """

    addresses: tuple[str, ...]
    ttl_s: float


class LookupFailure(Exception):
    """A name has no address; the message says why.

    Attributes:
        result: One word for the metric.
        ttl_s: Time to live of a negative answer, from the SOA record (RFC 2308, section 5); otherwise 0.
    """

    def __init__(self, reason: str, result: str, ttl_s: float = 0.0) -> None:
        super().__init__(reason)
        self.result = result
        self.ttl_s = ttl_s

    @property
    def is_negative(self) -> bool:
        """Whether a server answered that there is no record, rather than no server answering."""
        return self.result in ("no_name", "no_record")


class Resolver:
    """Looks names up.

    Args:
        resolv_conf: The file with the servers and options.
        hosts: The hosts file.
        port: The port of the servers.

    Attributes:
        paths: The files whose change is a reason to `read` and to look everything up again.
        files: Their state when they were read.
    """

    def __init__(self, resolv_conf: Path = RESOLV_CONF, hosts: Path = HOSTS, port: int = 53) -> None:
        self.paths = resolv_conf, hosts
        self.files = FilesRead()
        self._port = port
        self._settings = ResolverSettings()
        self._hosts: dict[str, tuple[str, ...]] = {}
        self._silent_until: dict[str, float] = {}
        self._cut: set[tuple[str, int]] = set()
        self.read()

    def read(self) -> None:
        """Read the files; a missing file keeps its former content, at first none."""
        self.files.reading(self.paths)
        resolv_conf, hosts = map(_text, self.paths)
        if resolv_conf is not None:
            self._settings = parse_resolv_conf(resolv_conf)
            self._silent_until.clear()
        if hosts is not None:
            self._hosts = parse_hosts(hosts)

    async def look_up(self, name: str, kind: str) -> Answer:
        """Return the answer for a name.

        Args:
            name: With a final dot it is absolute; without one the search list of resolv.conf applies.
            kind: "A", "AAAA", "" for both, or "SRV".

        Raises:
            LookupFailure: If there is no answer.
        """
        return await (self._services(name) if kind == "SRV" else self._addresses(name, _TYPES[kind]))

    # --- addresses ------------------------------------------------------------------------------------------------

    async def _addresses(self, name: str, types: Sequence[str]) -> Answer:
        if local := self._local(name, types):
            return Answer(local, math.inf)

        async def ask(candidate: str) -> Answer:
            answers = _successes(await _all(self._ask(candidate, kind) for kind in types))
            # In canonical form: an IPv4-mapped address of an AAAA record becomes IPv4.
            found = dict.fromkeys(
                address
                for answer in answers
                for address in self._bounded(name, answer.rdtype, [str(parse_address(one.address)) for one in answer])
            )
            return Answer(tuple(found), min(map(_ttl_of, answers)))

        return await self._search(name, ask)

    def _bounded(self, name: str, kind: int, addresses: list[str]) -> list[str]:
        """Return as many addresses of a type as are used: always the same ones, whatever order the server has."""
        if len(addresses) <= MAX_ADDRESSES:
            self._cut.discard((name, kind))
            return addresses
        if (name, kind) not in self._cut:
            self._cut.add((name, kind))
            log.warning("name %s has %d addresses; %d of them are used", name, len(addresses), MAX_ADDRESSES)
        return sorted(addresses)[:MAX_ADDRESSES]

    def _local(self, name: str, types: Sequence[str]) -> tuple[str, ...]:
        """Return what is known without a query: the hosts file, and names of this machine (RFC 6761, section 6.3)."""
        lower = name.lower().rstrip(".")
        found = self._hosts.get(lower, ())
        if not found and f".{lower}".endswith(".localhost"):
            found = ("::1", "127.0.0.1")
        return tuple(address for address in found if ("AAAA" if ":" in address else "A") in types)

    async def _search(self, name: str, ask: Callable[[str], Awaitable[T]]) -> T:
        """Return the first answer for the candidates of the search list. A server failure ends the search: a name must
        not resolve to another host because its own zone fails.
        """
        failures = []
        for candidate in self._settings.candidates(name):
            try:
                return await ask(candidate)
            except LookupFailure as exc:
                if not exc.is_negative:
                    raise
                failures.append(LookupFailure(str(exc), exc.result, exc.ttl_s))  # `exc` refers to this frame: a cycle.
        raise _worst(failures or [LookupFailure("the name is too long", "no_name")])

    # --- services -------------------------------------------------------------------------------------------------

    async def _services(self, name: str) -> Answer:
        answer = await self._search(name, lambda candidate: self._ask(candidate, "SRV"))
        offered = [record for record in answer if record.target.to_text() != "."]
        records = [record for record in offered if record.port]
        if not records:
            why = "has port 0, which is not reachable" if offered else "says that there is no such service"
            raise LookupFailure(f"its SRV record {why}", "no_record", _ttl_of(answer))
        records = sorted(records, key=lambda record: (record.priority, -record.weight))[:MAX_TARGETS]
        targets = await _all(self._addresses(record.target.to_text(), _TYPES[""]) for record in records)
        _successes(targets)  # Some targets are enough.
        found = [
            Service(record.priority, record.weight / len(target.addresses), record.port, address)
            for record, target in zip(records, targets, strict=True)
            if isinstance(target, Answer)
            for address in target.addresses
        ]
        ttls = (max(target.ttl_s, 0 if isinstance(target, Answer) else LACKING_TARGET_S) for target in targets)
        return Answer(tuple(dict.fromkeys(map(str, found)))[:MAX_ADDRESSES], min(_ttl_of(answer), *ttls))

    # --- the servers ----------------------------------------------------------------------------------------------

    async def _ask(self, name: str, kind: str) -> "dns.resolver.Answer":
        """Query the records of an absolute name."""
        if f".{name.lower().rstrip('.')}".endswith(".invalid"):  # Never queried: RFC 6761, section 6.4.
            raise LookupFailure("no name under .invalid exists", "no_name", math.inf)
        import dns.asyncbackend
        import dns.asyncresolver
        import dns.exception

        settings, loop = self._settings, asyncio.get_running_loop()
        asked = dns.asyncresolver.Resolver(configure=False)
        began = loop.time()
        servers = sorted(settings.servers, key=lambda server: self._silent_until.get(server, 0.0) > began)
        asked.nameservers = list(servers)
        asked.port, asked.timeout, asked.rotate = self._port, settings.timeout_s, settings.rotate
        if settings.edns:
            asked.use_edns(0)
        lifetime_s = min(settings.timeout_s * settings.attempts * len(settings.servers), MAX_LOOKUP_S)
        backend = dns.asyncbackend.get_backend("asyncio")
        try:
            answer = await asked.resolve(
                name, kind, tcp=settings.tcp, lifetime=lifetime_s, search=False, backend=backend
            )
        except dns.resolver.NXDOMAIN as exc:
            raise LookupFailure("no such name", "no_name", _negative_ttl(*exc.kwargs["responses"].values())) from exc
        except dns.resolver.NoAnswer as exc:
            raise LookupFailure(f"no {kind} record", "no_record", _negative_ttl(exc.kwargs["response"])) from exc
        except dns.exception.Timeout as exc:
            _without_cycles(exc)
            raise LookupFailure(f"no answer from {', '.join(servers)} within {lifetime_s:g} s", "no_answer") from exc
        except dns.resolver.NoNameservers as exc:
            _without_cycles(exc)
            raise LookupFailure(_last_error(exc), "server_failure") from exc
        except dns.exception.DNSException as exc:
            raise LookupFailure(str(exc), "server_failure") from exc
        if loop.time() - began >= settings.timeout_s and answer.nameserver in servers and not settings.rotate:
            silent = servers[: servers.index(answer.nameserver)]
            self._silent_until.update(dict.fromkeys(silent, loop.time() + SILENT_SERVER_S))
        return answer


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return None


def _without_cycles(failure: "dns.exception.DNSException") -> None:
    """Break the reference cycles in errors of single queries: thousands of objects would pile up."""
    for _, _, _, error, _ in failure.kwargs.get("errors", ()):
        if isinstance(error, BaseException):
            error.__traceback__ = None


def _last_error(failure: "dns.resolver.NoNameservers") -> str:
    """Return the last error of the server that was asked last."""
    errors = failure.kwargs["errors"]
    if not errors:
        return "no server could be asked"
    server, over_tcp, _, error, _ = errors[-1]
    address = str(server).partition(":")[2].rpartition("@")[0]  # of "Do53:192.0.2.1@53"
    return f"{address}{' over TCP' * over_tcp}: {error}"


def _ttl_of(answer: "dns.resolver.Answer") -> float:
    """Return the least TTL of an answer, aliases included."""
    return answer.chaining_result.minimum_ttl


def _negative_ttl(response: "dns.message.QueryMessage") -> float:
    """Return the time to live of a negative answer by its SOA record; 0 without one."""
    import dns.rdatatype

    has_soa = any(records.rdtype == dns.rdatatype.SOA for records in response.authority)
    return response.resolve_chaining().minimum_ttl if has_soa else 0.0


async def _all(questions: Iterable[Awaitable[T]]) -> list[T | LookupFailure]:
    """Query concurrently; return each answer or failure."""
    found = await asyncio.gather(*questions, return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException) and not isinstance(one, LookupFailure):
            raise one
    return found  # type: ignore[return-value]


def _successes(outcomes: Sequence[T | LookupFailure]) -> list[T]:
    """Return the answers; raise the most significant failure if there are none."""
    answers = [outcome for outcome in outcomes if not isinstance(outcome, LookupFailure)]
    if not answers:
        raise _worst([outcome for outcome in outcomes if isinstance(outcome, LookupFailure)])
    return answers


def _worst(failures: Sequence[LookupFailure]) -> LookupFailure:
    """Combine several failures: a temporary one comes before "no record", and that before "no name"."""
    worst = min(failures, key=lambda failure: (failure.is_negative, failure.result != "no_record"))
    return LookupFailure(str(worst), worst.result, min(failure.ttl_s for failure in failures))
