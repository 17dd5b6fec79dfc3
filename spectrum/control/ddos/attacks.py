"""Attacks, kept over restarts: events from the detector are logged, recorded, counted and shown.

Each attack has a file of its own, which is replaced as a whole; so a kill loses a second of figures at most.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.core import Metric

from spectrum.control.configuration.actor import Actor, Jobs
from spectrum.control.ddos.attack_metrics import AttackCounts, attack_metrics
from spectrum.control.http.resource import Resource, ResourceRequest
from spectrum.control.state_file import write_state
from spectrum.control.trouble import Severity, Trouble
from spectrum.core.ddos.attack_events import MOST_SAMPLES, Attack, AttackEvent, AttackRule, AttackSample
from spectrum.core.ddos.attack_records import AttackRecord, records_of
from spectrum.core.ddos.attack_view import attack_shown, sample_shown
from spectrum.core.ddos.attack_words import event_text
from spectrum.core.life.attack import AttackState
from spectrum.tasks import in_thread

log = logging.getLogger(__name__)

MOST_ATTACKS = 1_000
# An attack with the same fingerprint within this time is the same attack.
REMEMBERED_S = 86_400.0
WRITE_S = 1.0
# How long after its end an attack is listed among the troubles.
TOLD_S = 86_400.0
# The prefix of rules of attacks where the filter's other rules are listed, too.
OWNER = "ddos/"
_ID = re.compile(r"[0-9a-f]{16}")
_STATES = tuple(state.value for state in AttackState)


class KeptAttack(msgspec.Struct):
    """An attack, and samples of its packets."""

    attack: Attack
    samples: tuple[AttackSample, ...] = ()


_DECODER = msgspec.json.Decoder(KeptAttack)


def _actions(attack: Attack) -> list[tuple[str, str]]:
    """Return the mitigation of an attack: the rules in force, and their actions."""
    return [(rule.name, rule.action) for rule in attack.rules if rule.ended is None]


class AttackBook:
    """Keeps the latest attacks.

    Args:
        folder: The folder of the files.
        record: Takes records for the journal.
        most: The number of attacks that are kept, besides all open ones.

    Attributes:
        counts: The counters for metrics.
    """

    def __init__(
        self, folder: Path, record: Callable[[Sequence[AttackRecord]], None], most: int = MOST_ATTACKS
    ) -> None:
        self._folder = folder
        self._most = most
        self._record = record
        # None until the folder has been read. Oldest first.
        self._known: dict[str, KeptAttack] | None = None
        self._unwritten: set[str] = set()
        self._failure = ""
        self.counts = AttackCounts()

    @property
    def _attacks(self) -> dict[str, KeptAttack]:
        if self._known is None:
            found = [one for path in self._folder.glob("*.json") if (one := self._read(path)) is not None]
            found.sort(key=lambda one: one.attack.began)
            self._known = {one.attack.id: one for one in found}
            for one in found:
                self.counts.know(one.attack)
        return self._known

    @staticmethod
    def _read(path: Path) -> KeptAttack | None:
        try:
            return _DECODER.decode(path.read_bytes())
        except (OSError, msgspec.MsgspecError) as exc:
            log.error("%s: an attack cannot be read, and is ignored: %s", path, exc)
            return None

    # --- events ---------------------------------------------------------------------------------------------------

    def take(self, events: Iterable[AttackEvent]) -> None:
        """Take an event: log, record and count it; `write` saves it."""
        for event in events:
            if _ID.fullmatch(event.attack.id):
                self._take(event)
            else:
                log.error("the detector reported an attack with a malformed id: %r", event.attack.id[:40])

    def _take(self, event: AttackEvent) -> None:
        attack, known = event.attack, self._attacks
        former = known.get(attack.id)
        told = {rule.name: (rule.packets, rule.bytes) for rule in former.attack.rules} if former else {}
        samples = (former.samples if former else ()) + event.samples
        known[attack.id] = KeptAttack(attack, samples[:MOST_SAMPLES])
        self._unwritten.add(attack.id)
        if event.kind != "changed" or former is None or _actions(attack) != _actions(former.attack):
            log.warning("%s", event_text(event))
        self.counts.take(event, told)
        self._record(list(records_of(event, told)))
        self._forget()

    def _forget(self) -> None:
        """Forget the oldest attacks that have ended."""
        known = self._attacks
        beyond = len(known) - self._most
        for name in [one.attack.id for one in known.values() if one.attack.ended is not None][: max(0, beyond)]:
            del known[name]
            self._unwritten.add(name)

    def close_open(self, at: float) -> None:
        """End all open attacks: detection has stopped, and rules expire."""
        self.take([AttackEvent(at=at, kind="ended", attack=_ended(attack, at)) for attack in self.open()])

    # --- queries --------------------------------------------------------------------------------------------------

    def open(self) -> list[Attack]:
        """Return the open attacks."""
        return [one.attack for one in self._attacks.values() if one.attack.ended is None]

    def since(self, at: float) -> list[Attack]:
        """Return the open attacks, and those that ended since then."""
        return [one.attack for one in self._attacks.values() if one.attack.ended is None or one.attack.ended >= at]

    def held(self, now: float) -> tuple[Attack, ...]:
        """Return the state for a new detector: open attacks, and those whose fingerprints may recur."""
        return tuple(self.since(now - REMEMBERED_S))

    def latest(self) -> list[Attack]:
        """Return all, open ones first, then the latest."""
        return sorted(
            (one.attack for one in self._attacks.values()), key=lambda one: (one.ended is not None, -one.began)
        )

    def find(self, name: str) -> KeptAttack:
        """Return an attack by its id, or by a unique beginning of it.

        Raises:
            ValueError: If there is none.
        """
        if name in self._attacks:
            return self._attacks[name]
        found = [one for one in self._attacks.values() if name and one.attack.id.startswith(name)]
        if len(found) != 1:
            several = f"{len(found)} attacks begin so" if found else "`spectrum ddos attacks` lists those that are kept"
            raise ValueError(f'there is no attack "{name}"; {several}')
        return found[0]

    def of_rule(self, name: str) -> tuple[Attack, AttackRule]:
        """Return the latest attack that has a rule of this name, and the rule; verdicts have `ddos/` before it.

        Raises:
            ValueError: If there is none.
        """
        bare = name.removeprefix(OWNER)
        for attack in self.latest():
            for rule in attack.rules:
                if rule.name == bare and bare:
                    return attack, rule
        names = [rule.name for attack in self.open() for rule in attack.rules if rule.name and rule.ended is None]
        raise ValueError(f'no attack has a rule "{name}"; in force: {", ".join(names) or "none"}')

    # --- storage --------------------------------------------------------------------------------------------------

    def unwritten(self) -> dict[str, KeptAttack | None]:
        """Return the changes that are not saved, by id; None for an attack to be deleted."""
        taken, self._unwritten = self._unwritten, set()
        return {name: self._attacks.get(name) for name in taken}

    def write(self, changed: dict[str, KeptAttack | None]) -> None:
        """Save what `unwritten` returned; it blocks. Failures are logged, and tried again."""
        failed = ""
        for name, kept in changed.items():
            path = self._folder / f"{name}.json"
            try:
                if kept is None:
                    path.unlink(missing_ok=True)
                else:
                    write_state(path, kept)
            except OSError as exc:
                failed = f"{path}: {(exc.strerror or str(exc)).lower()}"
                self._unwritten.add(name)
        if failed != self._failure and failed:
            log.error("attacks are not kept over a restart: %s", failed)
        self._failure = failed


def _ended(attack: Attack, at: float) -> Attack:
    rules = tuple(msgspec.structs.replace(rule, ended=rule.ended or at) for rule in attack.rules)
    return msgspec.structs.replace(attack, state=AttackState.ENDED, ended=at, rules=rules)


def _trouble(kind: str, severity: Severity, attack: Attack, since: float, **facts: Any) -> Trouble:
    """Return the trouble of attacks on an app, or on addresses without an app."""
    apps = (attack.app,) if attack.app else ()
    facts |= {"attack": attack.id, "target": str(attack.target)}
    return Trouble(kind, severity, "apps" if attack.app else "", attack.app, since, facts, apps)


def _goes_on(attack: Attack) -> Trouble:
    return _trouble(
        "attack",
        "degraded",
        attack,
        attack.began,
        state=attack.state.value,
        vectors=list(attack.vectors),
        packets_per_second=round(attack.packets_per_second),
        bits_per_second=round(attack.bits_per_second),
        dropped=attack.dropped[0],
        why=attack.rules[-1].why if attack.state is AttackState.LEFT_ALONE and attack.rules else "",
    )


def _are_over(attacks: Sequence[Attack]) -> Trouble:
    """Return the trouble of attacks on an app that have ended; it names the latest."""
    last = max(attacks, key=lambda one: one.ended or 0.0)
    return _trouble(
        "attacks_ended",
        "past",
        last,
        last.ended or 0.0,
        count=len(attacks),
        vectors=list(dict.fromkeys(vector for one in attacks for vector in one.vectors)),
        bits_per_second=round(max(one.bits_per_second for one in attacks)),
        dropped=sum(one.dropped[0] for one in attacks),
    )


class AttacksActor(Actor):
    """Shows attacks, and saves them.

    Args:
        book: Keeps the attacks.
        detects: Returns whether detection is on: otherwise open attacks end.
    """

    def __init__(self, book: AttackBook, detects: Callable[[], bool]) -> None:
        self._book = book
        self._detects = detects

    async def status(self) -> dict[str, Any]:
        """Return the number of open attacks."""
        return {"attacks": len(self._book.open())} if self._detects() else {}

    async def metrics(self) -> Iterable[Metric]:
        """Return open attacks, their counters, and times to mitigate."""
        return attack_metrics(self._book.open(), self._book.counts) if self._detects() else ()

    def troubles(self) -> Iterable[Trouble]:
        """Report the open attacks, and for each app those of the last day."""
        if not self._detects():
            return
        ended: dict[str, list[Attack]] = {}
        for attack in self._book.since(time.time() - TOLD_S):
            if attack.ended is None:
                yield _goes_on(attack)
            else:
                ended.setdefault(attack.app, []).append(attack)
        for attacks in ended.values():
            yield _are_over(attacks)

    def resources(self) -> Iterable[Resource]:
        """GET /attacks, /attack and /attack/rule."""
        return (
            Resource("GET", "/attacks", self._list),
            Resource("GET", "/attack", self._show),
            Resource("GET", "/attack/rule", self._explain),
        )

    async def _list(self, asked: ResourceRequest) -> dict[str, Any]:
        query = asked.query
        limit, state = int(query.get("limit", "100")), query.get("state", "")
        if state not in ("", "open", *_STATES):
            raise ValueError(f"{state!r} is not a state of attacks: open, {', '.join(_STATES)}")
        apps = set(query["apps"].split(",")) if "apps" in query else None
        found = [
            one
            for one in self._book.latest()
            if (not state or one.state.value == state or (state == "open" and one.ended is None))
            and (apps is None or one.app in apps)
        ]
        return {"total": len(found), "attacks": [attack_shown(one) for one in found[: max(0, limit)]]}

    async def _show(self, asked: ResourceRequest) -> dict[str, Any]:
        kept = self._book.find(asked.query.get("id", ""))
        return attack_shown(kept.attack) | {"samples": [sample_shown(one) for one in kept.samples]}

    async def _explain(self, asked: ResourceRequest) -> dict[str, Any]:
        attack, rule = self._book.of_rule(asked.query.get("name", ""))
        (shown,) = [one for one in attack_shown(attack)["rules"] if one["name"] == rule.name]
        return {"attack": attack.id, "app": attack.app, "rule": shown}

    def jobs(self) -> Jobs:
        """Save attacks."""
        return {"keep attacks": self._keep}

    async def _keep(self) -> None:
        while True:
            if not self._detects():
                self._book.close_open(time.time())
            await self._write()
            await asyncio.sleep(WRITE_S)

    async def _write(self) -> None:
        if changed := self._book.unwritten():
            await in_thread(self._book.write, changed)

    async def drain(self) -> None:
        """End all attacks: the filter lets everything pass."""
        self._book.close_open(time.time())

    async def close(self) -> None:
        """Save what is not saved."""
        with suppress(OSError):
            await self._write()
