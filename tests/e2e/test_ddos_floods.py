"""Real floods, by a cable, at a real daemon: what rules do to them, and what sessions beside them notice."""

import contextlib
import os
import signal
import socket
import struct
import time
from pathlib import Path

import pytest

from spectrum.cli.client import ask
from spectrum.simulation.network import CLIENTS_4, entered
from tests.e2e.flood_lab import FOUR, FRAMES, SIX, TCP_PORT, echoes
from tests.engine.harness import eventually

# Packets of each flood whose answers are compared.
SHADOWED = 200
# By vector: the rule for it, and which part of the flood it has to match at least. The first rule that matches counts.
RULES = {
    "syn_os": ("{version: 4, protocol: tcp, tcp_flags: syn !ack, action: log}", 1.0),
    "syn_sequence": ("{protocol: tcp, sequence: 3405803856}", 1.0),
    "ack_constant": ("{protocol: tcp, acknowledgement: 305419896}", 1.0),
    "udp_fixed": ("{protocol: udp, payload: '41414141'}", 1.0),
    "udp_random": ("{version: 4, protocol: udp, destination_port: 7000, length: 48-328, action: retry}", 1.0),
    "udp_empty": ("{protocol: udp, length: 28}", 1.0),
    "ntp_reflection": ("{protocol: udp, source_port: 123}", 1.0),
    "memcached_reflection": (
        "{protocol: udp, source_port: 11211, action: source-limit, packets_per_second: 1}",
        0.4,
    ),
    "fragments": ("{protocol: udp, fragment: later}", 1.0),
    "v6_udp": ("{version: 6, protocol: udp, source: '2001:db8::/32'}", 1.0),
    "carpet": (
        "{protocol: udp, destination: 198.18.0.0/24, length: 600-1428, action: limit, packets_per_second: 10}",
        0.9,
    ),
    "icmp_flood": ("{version: 4, protocol: icmp}", 1.0),
    "gre_flood": ("{protocol: 47}", 1.0),
    "syn_fixed": ("{protocol: tcp, window: 5840, tcp_flags: syn !ack, action: cookie}", 0.5),
    "synack_reflection": ("{protocol: tcp, source_port: 80, tcp_flags: syn ack}", 0.4),
    "rst_flood": ("{protocol: tcp, tcp_flags: rst}", 1.0),
    "v6_syn": ("{version: 6, protocol: tcp, tcp_flags: syn !ack, action: cookie}", 0.5),
}


def test_every_action_and_many_vectors(lab):
    rules = "".join(f"    {name}: {rule}\n" for name, (rule, _) in RULES.items())
    lab.serve(f"  guard: [192.0.2.0/24]\n  rules:\n{rules}")
    with entered(lab.network.edge):  # cookies always, not only where the queue of SYNs is full
        Path("/proc/sys/net/ipv4/tcp_syncookies").write_text("2")
    four, six = lab.session(), lab.session(address=SIX)
    assert echoes(four) and echoes(six)
    for name, (rule, share) in RULES.items():
        before, passed = lab.count(f"rule {name}"), lab.count("passed")
        sent = lab.flood(name)
        matched = lab.count(f"rule {name}") - before
        assert share * FRAMES <= matched <= FRAMES == sent, (name, matched)
        # What `log` looks at goes on; so does what sessions and the kernel say.
        if "log" not in rule:
            assert lab.count("passed") - passed <= sent - matched + 50, (name, matched)
        assert echoes(four) and echoes(six), name


def test_a_rule_that_only_logs_changes_nothing_on_the_wire(lab):
    """Shadow run: what the edge answers to a flood, and what the origin gets of it, packet by packet."""
    answers = []
    for text in ("  guard: [192.0.2.0/24]\n", None):
        rules = "  rules: {all4: {version: 4, action: log}, all6: {version: 6, action: log}}\n"
        daemon = lab.serve(text or f"  guard: [192.0.2.0/24]\n{rules}")
        heard = lab.heard()
        for vector in ("syn_fixed", "udp_fixed", "v6_syn", "rst_flood", "icmp_flood"):
            lab.flood(vector, 200)
        time.sleep(0.3)
        answers.append({answer for frame in received(heard) if (answer := said(frame)) is not None})
        if text is None:
            assert lab.count("rule all4") >= 700 and lab.count("rule all6") >= 200
        daemon.__exit__()
    without, logged = answers
    assert len(without) > 500
    assert without == logged


@pytest.mark.parametrize(
    ("text", "vector"),
    # Workers see no SYNs.
    [("  guard: [192.0.2.0/24]\n", "udp_fixed"), ("  guard: [192.0.2.0/24]\n", "syn_fixed"), ("", "udp_fixed")],
    ids=["filter-udp", "filter-syn", "workers-udp"],
)
def test_detection_that_only_logs_changes_nothing_on_the_wire(lab, learned, text, vector):
    """Shadow run: what the edge answers, while rules that wrote themselves match it all."""
    daemon = lab.serve(text)
    without = answers_to(lab, vector)
    daemon.__exit__()

    daemon = lab.serve(text, f"ddos: {{action: log, store: {learned}, learning_time: 1s}}\n")
    eventually(lambda: daemon.status()["ddos"]["state"] == "on", 30, daemon.messages)
    flood = lab.begin(vector, 4.0, 4_000.0, 16_000)
    eventually(lambda: rules_of(daemon), 20, daemon.messages)
    flood.wait(20)
    before = sum(rules_of(daemon).values())
    logged = answers_to(lab, vector)
    attacks = ask(daemon.socket, "GET", "/attacks")["attacks"]
    eventually(lambda: sum(rules_of(daemon).values()) - before >= 0.9 * SHADOWED, 5, daemon.messages)
    assert {rule["action"] for one in attacks for rule in one["rules"] if rule["name"]} == {"log"}
    assert all(one["dropped_packets"] == 0 for one in attacks)
    assert len(without) >= 0.95 * SHADOWED  # some may be alike
    assert without <= logged  # SYN-ACKs of the flood before it are repeated


def answers_to(lab, vector):
    """Flood the edge shortly; return what it said: a datagram, or a SYN-ACK."""
    session = lab.session()
    heard = lab.heard()
    lab.flood(vector, SHADOWED)
    time.sleep(0.3)
    assert echoes(session)
    found = {answer for frame in received(heard) if (answer := said(frame)) is not None}
    return {answer for answer in found if answer[0] == 17 or answer[3] == 0x12}


def rules_of(daemon):
    """Packets that rules which wrote themselves have matched."""
    return {rule["name"]: rule["packets"] for rule in daemon.status().get("ddos", {}).get("rules", ())}


def received(sock):
    with contextlib.suppress(BlockingIOError):
        while True:
            frame, address = sock.recvfrom(4096)
            if address[2] != socket.PACKET_OUTGOING:
                yield frame


def said(frame):
    """What the edge said to whom, without what is of chance: ids, sequence numbers."""
    packet = frame[14:]
    kind = struct.unpack_from("!H", frame, 12)[0]
    if kind == 0x0800:
        protocol, ends, body = packet[9], packet[12:20], packet[4 * (packet[0] & 15) :]
    elif kind == 0x86DD:
        protocol, ends, body = packet[6], packet[8:40], packet[40:]
    else:
        return None
    if protocol == 6:
        return protocol, ends, body[:4], body[13]
    if protocol == 17:
        return protocol, ends, body[:4], len(body)
    return None


def test_guarded_prefixes_cannot_be_blocked(lab):
    lab.serve(
        f"  guard: [{CLIENTS_4[0].ip}/32]\n"
        "  lists: {all: {prefixes: [0.0.0.0/0]}}\n"
        "  rules: {all: {version: 4}, limit: {version: 4, action: limit, packets_per_second: 1}}\n"
    )
    assert echoes(lab.session(0))
    with pytest.raises(TimeoutError), entered(lab.network.clients):
        socket.create_connection((FOUR, TCP_PORT), 0.5, source_address=(str(CLIENTS_4[1].ip), 0))
    lab.flood("udp_fixed")
    assert echoes(lab.session(0))


def test_rules_outlive_the_detector(lab):
    """Helper and supervisor are killed in the middle of a flood: it is dropped on and on, and sessions go on."""
    daemon = lab.serve("  guard: [192.0.2.0/24]\n  rules: {flood: {protocol: udp, payload: '41414141'}}\n")
    session = lab.session()
    lab.begin("udp_fixed", 30.0, 5_000.0)

    def drops():
        before, passed = lab.count("rule flood"), lab.count("passed")
        time.sleep(0.3)
        return lab.count("rule flood") - before > 500 and lab.count("passed") - passed < 200

    eventually(drops, 10)
    status = daemon.status()
    children = [worker["pid"] for worker in status["workers"]]
    os.kill(int(status["kernel"]["helper"].removeprefix("on: pid ")), signal.SIGKILL)
    assert drops() and echoes(session)
    daemon.process.kill()
    daemon.process.wait()
    assert drops() and echoes(session)
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
