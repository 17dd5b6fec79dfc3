"""Attacks as a detector tells them."""

import struct

from spectrum.core.ddos.attack_events import Attack, AttackEvent, AttackRule, AttackSample, AttackTarget
from spectrum.core.life.attack import AttackState

NOW = 1_800_000_000.0


def rule(name="ddos-1", **fields):
    given = {
        "vector": "NTP reflection",
        "managed_id": "ab" * 16,
        "fingerprint": "protocol udp, source port 123",
        "action": "block",
        "began": NOW,
        "excess": 100_000.0,
        "low": 90_000.0,
        "high": 110_000.0,
        "hits": 0.001,
        "why": "next to no opening of any app matches",
    }
    return AttackRule(name=name, **(given | fields))


def attack(number=1, state=AttackState.MITIGATED, **fields):
    given = {
        "app": "game",
        "target": AttackTarget("192.0.2.1", 7000, "udp"),
        "began": NOW,
        "mitigated_after": 0.2,
        "rules": (rule(),),
        "packets_per_second": 100_000.0,
        "bits_per_second": 4e8,
    }
    return Attack(id=f"{number:016x}", state=state, **(given | fields))


def frame(last=1, payload=b"\xd7\0\x03\x2a"):
    udp = struct.pack("!HHHH", 123, 7000, 8 + len(payload), 0) + payload
    addresses = bytes([198, 51, 100, last, 192, 0, 2, 1])
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 7, 0, 55, 17, 0) + addresses
    return bytes(12) + b"\x08\x00" + header + udp


def sample(last=1):
    return AttackSample(NOW + last / 8, 14 + 468, frame(last))


def event(kind="began", at=NOW, samples=(), **fields):
    return AttackEvent(at=at, kind=kind, attack=attack(**fields), samples=tuple(samples))
