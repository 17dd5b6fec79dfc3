"""Certificates by ACME in a daemon: when each is ordered, answers to challenges, status and metrics.

Orders run one after the other, each in a process of its own, which writes the certificate into the folder. The watch of
files notices it, as it notices a certificate that an operator replaces, and a reload puts it into use: sessions
continue, and until then the former one is served.
"""

import asyncio
import hashlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from spectrum.control.configuration.actor import Actor, Change, Jobs, RolloutError
from spectrum.control.configuration.served import Served
from spectrum.control.http.resource import Resource, ResourceRequest
from spectrum.control.processes.workers import WorkerProcess
from spectrum.control.tls.acme.folder import AcmeFolder
from spectrum.control.tls.acme.http_answers import HttpAnswers
from spectrum.control.tls.acme.kept import kept_certificate
from spectrum.control.tls.acme.messages import ChallengeAnswer, Failed, Found, Issued, OrderRequest
from spectrum.control.tls.acme.process import OrderProcess
from spectrum.control.trouble import Severity, Trouble
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.fields import check_name
from spectrum.core.tls.acme import Acme, whole_order
from spectrum.core.tls.pem import issuer_of
from spectrum.core.tls.renewal import (
    OrderState,
    asked_again_at,
    bounded,
    due_at,
    failed,
    issued,
    needed_at,
    not_needed,
    renewed_at,
)
from spectrum.kernel.folders import FolderError
from spectrum.link.messages import Challenge

log = logging.getLogger(__name__)

# The wall clock may be set meanwhile.
LONGEST_SLEEP_S = 600.0
# Delay while another process, such as the previous daemon during an upgrade, orders.
BUSY_PAUSE_S = 10.0
# Interval if the CA could not be asked for a better time.
LOOK_AGAIN_S = 6 * 3600.0


class AcmeActor(Actor):
    """Orders certificates.

    Args:
        served: What is served.
        tell: Sends workers the certificates for tls-alpn-01.
        told: Waits until workers have processed it.
    """

    def __init__(
        self, served: Served, tell: Callable[[list[Challenge]], None], told: Callable[[], Awaitable[None]]
    ) -> None:
        self._served = served
        self._tell = tell
        self._told = told
        self._wake = asyncio.Event()
        self._process = OrderProcess(self._show)
        self._http = HttpAnswers()
        self._challenges: dict[str, Challenge] = {}
        # The stored state of each, kept here in case the disk is full.
        self._standings: dict[tuple[str, str], OrderState] = {}
        self._ends: dict[str, float] = {}
        self._ordering = ""
        # Removed while they were ordered.
        self._forgotten: set[str] = set()
        self._orders: dict[str, int] = {}
        self._failures: dict[str, int] = {}

    # --- the configuration ----------------------------------------------------------------------------------------

    async def prepare(self, change: Change) -> None:
        """Create the folder.

        Raises:
            RolloutError: If that fails, or other users can write to it.
        """
        if _concerns(change) and any(_wanted(change.after.config)):
            folder = Path(change.after.config.acme.folder)
            try:
                await asyncio.to_thread(AcmeFolder(folder).open)
            except FolderError as exc:
                raise RolloutError(f"acme.folder: {exc}") from exc
            except OSError as exc:
                raise RolloutError(f"acme.folder: {folder}: {(exc.strerror or str(exc)).lower()}") from exc

    async def release(self, change: Change) -> None:
        """Check which certificates are due."""
        if _concerns(change):
            self._wake.set()

    def tell(self, worker: WorkerProcess) -> None:
        """Send a worker the certificates for tls-alpn-01."""
        if self._challenges:
            worker.tell_challenges(list(self._challenges.values()))

    def jobs(self) -> Jobs:
        """Order certificates when they are due."""
        return {"order certificates": self._run}

    def halt(self) -> None:
        """End the running order; it is continued after the next start."""
        self._process.kill()

    def leave(self) -> None:
        """Leave orders to the successor."""
        self._process.kill()

    async def close(self) -> None:
        """End the running order."""
        self._process.kill()
        await self._http.close()

    # --- schedule -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            pause_s = await self._step()
            try:
                await asyncio.wait_for(self._wake.wait(), min(pause_s, LONGEST_SLEEP_S))
            except TimeoutError:
                pass

    async def _step(self) -> float:
        """Do what is due first; return the time until the next thing is due."""
        config = self._served.config
        folder = AcmeFolder(Path(config.acme.folder))
        agenda = await asyncio.to_thread(self._agenda, config, folder)
        if not agenda:
            return LONGEST_SLEEP_S
        at, only_looks, name = min(agenda)
        if at > time.time():
            return at - time.time()
        return await self._do(name, dict(_wanted(config))[name], folder, only_looks)

    def _agenda(self, config: Config, folder: AcmeFolder) -> list[tuple[float, bool, str]]:
        """Return when each certificate is due, and when the CA is to be asked for the renewal time."""
        agenda = []
        for name, acme in _wanted(config):
            kept = kept_certificate(name, acme, folder.path)
            self._ends[name] = 0.0 if kept.temporary else kept.ends_at
            standing = self._standing(folder, name)
            if standing.failures and needed_at(standing, _asked(acme), not kept.temporary) > time.time():
                standing = self._standings[str(folder.path), name] = not_needed(standing)
            due = due_at(standing, _asked(acme), _settings(acme), not kept.temporary)
            agenda.append((due, False, name))
            if not kept.temporary and standing.asked == _asked(acme):
                agenda.append((standing.ask_at, True, name))
        return agenda

    def _standing(self, folder: AcmeFolder, name: str) -> OrderState:
        key = str(folder.path), name
        known = self._standings.get(key) or folder.standing(name)
        self._standings[key] = bounded(known, time.time())
        return self._standings[key]

    # --- orders ---------------------------------------------------------------------------------------------------

    async def _do(self, name: str, acme: Acme, folder: AcmeFolder, only_looks: bool) -> float:
        """Order a certificate, or ask for its renewal time; return how long to wait before anything else."""
        self._ordering = "" if only_looks else name
        if not only_looks:
            log.info(
                "certificate %s: ordered of %s by %s for %s",
                name,
                acme.directory,
                acme.challenge,
                ", ".join(acme.names),
            )
        try:
            found = await self._process.run(_work(name, acme, folder.path, only_looks))
        finally:
            self._ordering = ""
            await self._forget_challenges()
        if name in self._forgotten:
            self._forgotten.discard(name)
            await asyncio.to_thread(folder.forget, name)
            return 0.0
        if isinstance(found, Failed) and not found.counts:
            log.info("certificate %s: %s; trying again in %g s", name, found.why, BUSY_PAUSE_S)
            return BUSY_PAUSE_S
        standing = self._standing(folder, name)
        if only_looks:
            after = self._looked(name, standing, found)
        else:
            self._orders[name] = self._orders.get(name, 0) + 1
            after = self._ordered(name, acme, standing, found)
        self._standings[str(folder.path), name] = after
        try:
            await asyncio.to_thread(folder.keep_standing, name, after)
        except OSError as exc:
            log.error("certificate %s: its renewal time cannot be saved: %s", name, exc)
        return 0.0

    def _ordered(self, name: str, acme: Acme, standing: OrderState, found: Issued | Found | Failed) -> OrderState:
        now, lot = time.time(), random.random()
        if isinstance(found, Issued):
            after = issued(_asked(acme), found.begins_at, found.ends_at, now, lot)
            log.info(
                "certificate %s: issued, valid until %s, to be renewed at %s",
                name,
                _time(found.ends_at),
                _time(after.renew_at),
            )
            return after
        assert isinstance(found, Failed), "an order is served or fails"
        self._failures[name] = self._failures.get(name, 0) + 1
        after = failed(standing, _settings(acme), found.why, found.reached, found.retry_after_s, now, lot)
        ends_at = self._ends.get(name, 0.0)
        rest = f"the one in use is valid until {_time(ends_at)}" if ends_at else "there is none yet"
        log.error(
            "certificate %s: not issued: %s; %s; the next order is at %s", name, found.why, rest, _time(after.try_at)
        )
        return after

    def _looked(self, name: str, standing: OrderState, found: Issued | Found | Failed) -> OrderState:
        now = time.time()
        if isinstance(found, Found):
            if found.renew_at and found.renew_at < min(now, standing.renew_at):
                log.warning("certificate %s: the CA wants it to be renewed now", name)
            ask_at = asked_again_at(found.ask_at, now)
            return msgspec.structs.replace(standing, ca_at=found.renew_at, ask_at=ask_at)
        why = found.why if isinstance(found, Failed) else "no answer"
        log.warning("certificate %s: the CA does not say when to renew it: %s", name, why)
        return msgspec.structs.replace(standing, ask_at=now + LOOK_AGAIN_S)

    async def _show(self, answer: ChallengeAnswer) -> None:
        """Publish the answer to a challenge."""
        if answer.kind == "http-01":
            await self._http.add(answer.subject, answer.content, self._served.config.acme.http)
            return
        one = Challenge(answer.subject, answer.content.encode(), answer.key.encode())
        self._challenges[answer.subject] = one
        self._tell(list(self._challenges.values()))
        await self._told()

    async def _forget_challenges(self) -> None:
        await self._http.close()
        if self._challenges:
            self._challenges.clear()
            self._tell([])

    # --- status and metrics ---------------------------------------------------------------------------------------

    def resources(self) -> Iterable[Resource]:
        """GET /certificates: those that are served, of ordered ones also the order; and what the API asks for them."""
        return (
            Resource("GET", "/certificates", self._certificates),
            Resource("POST", "/certificates/order", self._order_now),
            Resource("POST", "/certificates/forget", self._forget),
        )

    async def _order_now(self, asked: ResourceRequest) -> dict[str, Any]:
        """Order a certificate that is not there, or whose latest order failed, without the pause after that."""
        name = _name_in(asked)
        acme = dict(_wanted(self._served.config)).get(name)
        if acme is None:
            raise ValueError(f"certificate {name} is not by ACME")
        if self._ordering == name:
            raise ValueError(f"certificate {name}: it is being ordered")
        folder = AcmeFolder(Path(self._served.config.acme.folder))
        standing = await asyncio.to_thread(self._standing, folder, name)
        if self._ends.get(name, 0.0) > time.time() and not standing.failures:
            raise ValueError(f"certificate {name}: it is valid until {_time(self._ends[name])}, and renewed by itself")
        self._standings[str(folder.path), name] = msgspec.structs.replace(standing, try_at=0.0)
        self._wake.set()
        return {}

    async def _forget(self, asked: ResourceRequest) -> dict[str, Any]:
        """Remove what is kept of a certificate that the configuration has no more, with its key."""
        name = _name_in(asked)
        if name in self._served.config.certificates:
            raise ValueError(f"certificate {name} is in use")
        folder = AcmeFolder(Path(self._served.config.acme.folder))
        if self._ordering == name:
            self._forgotten.add(name)
            self._process.kill()
        for known in (self._ends, self._orders, self._failures):
            known.pop(name, None)
        self._standings.pop((str(folder.path), name), None)
        await asyncio.to_thread(folder.forget, name)
        return {}

    async def _certificates(self, asked: ResourceRequest) -> dict[str, Any]:
        orders = {one["certificate"]: one for one in (await self.status()).get("acme", ())}
        return {
            "certificates": [
                {
                    "name": one.name,
                    "names": one.names,
                    "issuer": "" if one.temporary else issuer_of(x509.load_pem_x509_certificate(one.chain)),
                    "key": one.kind,
                    "ends_at": one.ends_at,
                    "temporary": one.temporary,
                    "order": orders.get(one.name),
                }
                for one in self._served.snapshot.tls.certificates
            ]
        }

    async def status(self) -> Mapping[str, Any]:
        """Return each certificate, with its next step."""
        shown = []
        for name, acme in _wanted(self._served.config):
            standing = self._standings.get((self._served.config.acme.folder, name), OrderState())
            shown.append(
                {
                    "certificate": name,
                    "names": acme.names,
                    "ordering": self._ordering == name,
                    "ends_at": self._ends.get(name, 0.0),
                    "renew_at": renewed_at(standing),
                    "failures": standing.failures,
                    "failure": standing.why,
                    "try_at": standing.try_at,
                }
            )
        return {"acme": shown} if shown else {}

    def troubles(self) -> Iterable[Trouble]:
        """Report certificates that could not be ordered."""
        for name, _ in _wanted(self._served.config):
            standing = self._standings.get((self._served.config.acme.folder, name))
            if standing is not None and standing.failures:
                facts = {"failures": standing.failures, "why": standing.why, "try_at": standing.try_at}
                severity: Severity = "degraded" if self._ends.get(name, 0.0) > time.time() else "failed"
                yield Trouble("certificate_not_ordered", severity, "certificates", name, facts=facts)

    async def metrics(self) -> Iterable[Metric]:
        """Return the number of orders and failures, and when the next one is due."""
        label = ["certificate"]
        orders = CounterMetricFamily("spectrum_acme_orders", "Orders of certificates by ACME", labels=label)
        failures = CounterMetricFamily("spectrum_acme_failures", "Orders by ACME that failed", labels=label)
        renewal = GaugeMetricFamily(
            "spectrum_acme_next_order_timestamp_seconds",
            "Time of the next order of a certificate by ACME; after a failure, of the next attempt",
            labels=label,
        )
        for name, acme in _wanted(self._served.config):
            standing = self._standings.get((self._served.config.acme.folder, name), OrderState())
            is_there = self._ends.get(name, 0.0) > 0
            orders.add_metric([name], self._orders.get(name, 0))
            failures.add_metric([name], self._failures.get(name, 0))
            renewal.add_metric([name], due_at(standing, _asked(acme), _settings(acme), is_there))
        return (orders, failures, renewal) if orders.samples else ()


def _concerns(change: Change) -> bool:
    """Return whether certificates may differ."""
    return change.names is None or "certificates" in change.names


def _wanted(config: Config) -> Iterator[tuple[str, Acme]]:
    for name, one in config.certificates.items():
        if one.acme is not None:
            yield name, whole_order(one.acme, config.acme)


def _name_in(asked: ResourceRequest) -> str:
    """Return the name of a certificate that a request is about, which becomes the name of a file.

    Raises:
        ValueError: If it is none.
    """
    name = asked.query.get("name", "")
    if (fault := check_name(name, "a certificate")) is not None:
        raise ValueError(fault)
    return name


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _asked(acme: Acme) -> str:
    """Return what decides whether another certificate is needed."""
    return _digest(sorted(acme.names), acme.directory, acme.key_type, acme.profile)


def _settings(acme: Acme) -> str:
    """Return the settings on which the outcome of an order may depend."""
    return _digest(acme)


def _time(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _work(name: str, acme: Acme, folder: Path, only_looks: bool) -> OrderRequest:
    account, dns = acme.external_account, acme.dns
    assert acme.challenge is not None, "whole_order fills it in"
    return OrderRequest(
        name=name,
        asked=_asked(acme),
        folder=str(folder),
        only_looks=only_looks,
        names=acme.names,
        directory=acme.directory,
        challenge=acme.challenge,
        email=acme.email or "",
        key_type=acme.key_type,
        profile=acme.profile or "",
        ca=acme.ca or "",
        key_id=account.key_id if account else "",
        hmac_key=account.hmac_key if account else "",
        dns_address=str(dns.server.address) if dns else "",
        dns_port=dns.server.port if dns else 0,
        dns_key=(dns.key or "") if dns else "",
        dns_propagation_s=dns.propagation_s if dns else 0.0,
    )
