import numpy as np
import pytest

from spectrum.core.ddos.mining import COVER_WEIGHTS, UNKNOWN_TO_WORKERS, _varies, mine
from spectrum.core.ddos.packets import IN_USE, Packets
from spectrum.core.ddos.profile import Normal
from spectrum.simulation.normal import normal
from spectrum.simulation.vectors import flood
from tests.core.ddos.mix import ONE_IN, learned


def mined(vector, rate=200_000, cover_weight=COVER_WEIGHTS[0], unknown=frozenset()):
    world, profile = learned()
    parts = [normal(world, 0.25, ONE_IN)]
    if vector:
        parts.append(flood(world, vector, rate, 0.25, ONE_IN))
    packets = Packets.joined(parts)
    idle = packets.where(packets["state"] != IN_USE)
    return mine(idle, 0.25, profile.normal, 5_000, cover_weight, unknown)


@pytest.mark.parametrize(
    ("vector", "words", "varies"),
    [
        ("udp_fixed", ("540 bytes", "payload begins 4141414141414141", "to 203.0.113.10"), ("ttl", "source", "IP id")),
        ("dns_reflection", ("source port 53", "without an app"), ("destination port", "length")),
        ("syn_fixed", ("window 5840", "TCP syn", "44 bytes"), ("ttl", "source port")),
        ("syn_sequence", ("TCP sequence number 3405803856", "TCP syn"), ("window", "options", "acknowledgement")),
        ("ack_constant", ("TCP acknowledgement number 305419896", "TCP ack"), ("window", "sequence", "ttl")),
        ("udp_random", ("payload's first 2 bytes not in {4756}",), ("bytes,", "ttl", "source port")),
        ("carpet", ("without an app", "protocol udp"), ("to 203.0.113", "destination port")),
    ],
)
def test_what_an_attack_shares_and_not_what_varies(vector, words, varies):
    found = mined(vector)
    assert found.is_clean
    text = f"{found.what}, "
    assert all(word in text for word in words), text
    assert not any(word in text for word in varies), text
    later = 0.16 if vector == "dns_reflection" else 0.0  # fragments without ports are another vector
    assert found.excess == pytest.approx(200_000 * (1 - later), rel=0.15)


@pytest.mark.parametrize("vector", ["udp_fixed", "syn_fixed", "syn_sequence"])
def test_what_workers_do_not_know_is_not_looked_for(vector):
    found = mined(vector, unknown=UNKNOWN_TO_WORKERS)
    assert found is not None and not UNKNOWN_TO_WORKERS & {one.field for one in found.what.predicates}


@pytest.mark.parametrize(("common", "varies"), [(0, True), (1_000, False), (4_000, False)])
def test_a_column_without_a_common_value_is_told_by_some_rows(common, varies):
    column = np.random.default_rng(5).permutation(np.where(np.arange(4_000) < common, 7, np.arange(4_000)))
    assert _varies(column) is varies
    assert not _varies(column[:1_000]), "of few rows all are counted"


def test_no_excess_no_finding():
    assert mined(None) is None
    _, profile = learned()
    assert mine(Packets.none(), 0.25, profile.normal, 5_000, 4.0) is None


def test_what_looks_as_normal_is_not_clean():
    found = mined("game_replay")
    assert not found.is_clean and found.hits.max() > 0.05


def test_prefixes_of_bots():
    """Few prefixes that send what clients send."""
    world, profile = learned()
    packets = flood(world, "syn_os", 200_000, 0.25, ONE_IN)
    columns = {name: packets[name] for name in packets._columns if "/" not in name and name != "source"}
    columns["source_low"] = (0xFFFF << 32) | (0x0B000000 + (np.arange(len(packets)) % 10 << 8)).astype(np.uint64)
    bots = Packets(columns)
    found = mine(bots, 0.25, profile.normal, 5_000, COVER_WEIGHTS[0])
    assert found.is_clean and "11.0." in str(found.what)


def test_without_a_profile_the_whole_is_found():
    """What a new app gets cannot be told from normal packets; a rule may not be written of it alone."""
    world, _ = learned()
    empty = Normal(Packets.none(), np.empty(0), np.empty(0), np.zeros(1, np.int64), 0.0)
    found = mine(flood(world, "udp_fixed", 200_000, 0.25, ONE_IN), 0.25, empty, 5_000, 4.0)
    assert "payload begins 4141414141414141" in str(found.what)
