"""Attacks as JSON: for the control socket, the API, and `spectrum ddos --json`."""

from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from spectrum.core.ddos.attack_events import Attack, AttackRule, AttackSample
from spectrum.core.ddos.attack_words import explain
from spectrum.core.packets import PROTOCOLS
from spectrum.wire import frames
from spectrum.wire.pcap import CapturedFrame, capture

_NAMES = {number: name for name, number in PROTOCOLS.items()}


def attack_shown(attack: Attack) -> dict[str, Any]:
    """Return an attack as JSON. Sums are the counts of its rules."""
    packets, size = attack.dropped
    return {
        "id": attack.id,
        "state": attack.state.value,
        "app": attack.app,
        "vectors": list(attack.vectors),
        "target": str(attack.target),
        "destination": attack.target.prefix,
        "destination_port": attack.target.port,
        "protocol": attack.target.protocol,
        "began": _time(attack.began),
        "ended": _time(attack.ended) if attack.ended is not None else None,
        "mitigated_after": attack.mitigated_after,
        "packets": attack.packets,
        "bits": 8 * attack.bytes,
        "dropped_packets": packets,
        "dropped_bits": 8 * size,
        "packets_per_second": round(attack.packets_per_second),
        "bits_per_second": round(attack.bits_per_second),
        "sources": attack.sources,
        "hits": attack.hits,
        "recurs": attack.recurs or None,
        "rules": [_rule_shown(attack, rule) for rule in attack.rules],
    }


def _rule_shown(attack: Attack, rule: AttackRule) -> dict[str, Any]:
    return {
        "name": rule.name or None,
        "vector": rule.vector,
        "managed_rule": rule.managed_id,
        "matches": rule.fingerprint,
        "action": rule.action,
        "limit": rule.limit or None,
        "override": rule.override or None,
        "override_id": rule.override_id or None,
        "why": rule.why,
        "began": _time(rule.began),
        "ended": _time(rule.ended) if rule.ended is not None else None,
        "excess": round(rule.excess),
        "rate_low": round(rule.low),
        "rate_high": round(rule.high),
        "hits": rule.hits,
        "packets": rule.packets,
        "bits": 8 * rule.bytes,
        "in_words": list(explain(attack, rule)),
    }


def sample_shown(sample: AttackSample) -> dict[str, Any]:
    """Return a packet with its decoded headers; the header itself is base64."""
    shown: dict[str, Any] = {
        "time": _time(sample.at),
        "frame_bytes": sample.frame_bytes,
        "header": b64encode(sample.header).decode(),
    }
    frame = frames.parse(sample.header[: sample.frame_bytes])
    return shown if frame is None else shown | _decoded(frame)


def _decoded(frame: frames.Frame) -> dict[str, Any]:
    return {
        "source": str(frame.source),
        "destination": str(frame.destination),
        "protocol": _NAMES.get(frame.protocol, str(frame.protocol)),
        "source_port": frame.source_port,
        "destination_port": frame.destination_port,
        "length": frame.length,
        "ttl": frame.ttl or None,  # unknown to workers
        "tcp_flags": "+".join(frame.tcp_flags),
    }


def as_capture(samples: Iterable[AttackSample]) -> bytes:
    """Return samples as a file that tcpdump and Wireshark read."""
    return capture(CapturedFrame(round(one.at * 1e9), one.frame_bytes, one.header) for one in samples)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
