"""What is an attack whatever is normal."""

import numpy as np
import pytest

from spectrum.core.ddos.packets import IN_USE, NO_APP, OPENING, SHAKEN, Packets
from spectrum.core.ddos.unlearned import Suspects
from spectrum.simulation.normal import (
    ACK,
    CROWDS,
    DNS,
    FIN,
    SYN,
    TCP,
    UDP,
    WEB,
    World,
    crowd,
    dns,
    normal,
    packets,
    scaled,
    web,
)
from spectrum.simulation.vectors import VECTORS, flood, hosts, spoofed

ONE_IN = 50.0
FLOOD = 400_000


def suspects(*parts, seconds=1.0):
    rows = Packets.joined(parts)
    return Suspects.among(rows, seconds), rows


@pytest.mark.parametrize("crowded", [None, *CROWDS])
def test_nothing_of_clients_is_suspect(crowded):
    world = World(3)
    came = [normal(world, 1.0, ONE_IN)]
    if crowded:
        came.append(crowd(world, crowded, 1, 0.5, 1.0, ONE_IN))
    found, rows = suspects(*came)
    assert not found and not found.match(rows).any() and len(found.trusted(rows)) == len(rows)


# What may be normal where it comes from the start: tunnels, and fragments, of which nobody knows a flow.
@pytest.mark.parametrize("vector", sorted(VECTORS.keys() - {"gre_flood", "fragments"}))
def test_attacks_are_suspect_and_clients_of_other_apps_are_not(vector):
    world = World(3)
    attack, usual = flood(world, vector, FLOOD, 1.0, ONE_IN), normal(world, 1.0, ONE_IN)
    found, _ = suspects(attack, usual)
    assert found and found.match(attack).mean() >= 0.75  # of some, a part is later fragments
    others = usual.where(~np.isin(usual["app"], np.unique(attack["app"])))
    assert found.match(others).sum() <= 0.01 * len(others)
    assert not found.match(usual.where(usual["state"] == IN_USE)).any()


@pytest.mark.parametrize("vector", ["gre_flood", "fragments"])
def test_what_no_table_of_flows_has_is_not_suspect(vector):
    assert not suspects(flood(World(3), vector, FLOOD, 1.0, ONE_IN))[0]


def test_known_sources_are_trusted_in_an_attack():
    world = World(3)
    attack, usual = flood(world, "udp_random", FLOOD, 1.0, ONE_IN), normal(world, 1.0, ONE_IN)
    found, rows = suspects(attack, usual)
    trusted = found.trusted(rows)
    assert found.apps == {0} and (trusted["known"] == 1).sum() == (rows["known"] == 1).sum()
    assert ((trusted["app"] == 0) & (trusted["state"] != IN_USE) & (trusted["known"] == 0)).sum() == 0


def answers(world, count, app, port, to, **given):
    source = hosts(world, count, 500)
    return scaled(
        packets(
            world, source, 10, UDP, source_port=port, destination_port=to, length=468, payload_bytes=8,
            app=app, served=int(app != NO_APP), **given,
        ),
        1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "is_suspect"),
    [
        ({}, True),
        ({"port": 40_000}, False),  # no server's
        ({"to": 123}, False),  # time servers ask each other so
        ({"count": 1_500}, False),  # too few
    ],
)
def test_answers_that_nobody_asked_for_are_no_clients_also_where_an_app_listens(given, is_suspect):
    world = World(3)
    attack = answers(world, **({"count": 5_000, "app": 0, "port": 123, "to": 7000} | given))
    used = scaled(normal(world, 1.0, 1.0), 1.0)  # the app has clients that go on
    found, _ = suspects(attack, used)
    assert found.of_no_client(attack).all() == is_suspect and not found.of_no_client(used).any()


def test_a_port_whose_packets_continue_is_a_client_s():
    world = World(3)
    asked = answers(world, 5_000, 0, 123, 7000)
    found, _ = suspects(asked, asked.replaced(state=np.full(5_000, IN_USE, np.uint8)))
    assert not len(found.ports)


@pytest.mark.parametrize(("flags", "is_suspect"), [(0, True), (SYN | FIN, True), (SYN | ACK, True), (SYN, False)])
def test_segments_that_no_client_sends(flags, is_suspect):
    world = World(3)
    rows = _segments(world, 5_000, tcp_flags=flags)
    found, rows = suspects(rows, scaled(web(world, 200_000), 1.0))
    assert found.impossible == is_suspect and found.of_no_client(rows).sum() == 5_000 * is_suspect


def _segments(world, count, **given):
    given = {"state": OPENING, "tcp_flags": SYN} | given
    source = spoofed(world, count)
    return scaled(packets(world, source, 80, TCP, destination_port=443, length=60, payload=0, **given), 1.0)


@pytest.mark.parametrize(
    ("states", "is_suspect"),
    [
        ((5_000, 0, 0), True),  # never completed
        ((5_000, 5_000, 0), True),  # completed, and nothing said
        ((5_000, 1_500, 7_500), False),
        ((1_900, 0, 0), False),
    ],
)
def test_connections_are_judged_by_what_they_do_after_their_handshake(states, is_suspect):
    world = World(3)
    counts = zip((OPENING, SHAKEN, IN_USE), states, strict=True)
    found, _ = suspects(*[_segments(world, count, state=state) for state, count in counts if count])
    assert found.apps == ({WEB} if is_suspect else set())


def test_an_app_that_answers_each_question_by_itself_is_judged_by_its_sources():
    world = World(3)
    clients = scaled(dns(world, 20_000), 1.0)
    assert not suspects(clients)[0]
    forged = flood(world, "udp_random", 20_000, 1.0, 1.0)
    forged = forged.replaced(app=np.full(len(forged), DNS, np.int32))
    assert suspects(forged)[0].apps == {DNS}
