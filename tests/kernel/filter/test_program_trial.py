"""The examples in config/flow-programs, on real datagrams and on noise, beside what Python expects of them."""

import os
import random
import struct
from ipaddress import ip_address
from pathlib import Path

import dns.message
import dns.opcode
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import pytest

from spectrum.core.flow_programs.elf import read_flow_code
from spectrum.kernel import libbpf
from spectrum.kernel.compiling import compile_flow_program
from spectrum.kernel.filter import program_trial
from spectrum.kernel.filter.flow_programs import FlowProgramCode, code_of
from spectrum.kernel.filter.program_trial import ProgramTrial
from spectrum.kernel.pins import PinError

EXAMPLES = Path(__file__).parents[3] / "config" / "flow-programs"
MAGIC = bytes.fromhex("00ffff00fefefefefdfdfdfd12345678")


def frame(payload, source="198.51.100.7", to="192.0.2.1", ports=(40000, 9000)):
    """Return a frame with a datagram; its checksums are wrong, which XDP does not look at."""
    udp = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    ends = ip_address(source).packed + ip_address(to).packed
    if ip_address(source).version == 4:
        return bytes(12) + b"\x08\x00" + struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + ends + udp
    return bytes(12) + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + ends + udp


@pytest.fixture
def trial(tmp_path, require):
    """What tries a program in C, or an example by its name."""
    require("clang")
    if os.geteuid() != 0:
        pytest.skip("BPF needs root")
    open_ = []

    def begin(source):
        path = EXAMPLES / f"{source}.c" if "\n" not in source else tmp_path / "program.c"
        if "\n" in source:
            path.write_text("#include <spectrum_flow.h>\n" + source)
        made = ProgramTrial(code_of(read_flow_code(compile_flow_program(path.read_bytes(), path))))
        open_.append(made)
        return made.__enter__()

    yield begin
    for made in open_:
        made.__exit__(None, None, None)


def query(name, kind="A", **more):
    return dns.message.make_query(name, kind, **more).to_wire()


def test_dns_queries(trial):
    tried = trial("dns")
    signed = dns.message.make_query("example.org", "A", use_edns=0)
    signed.use_tsig({dns.name.from_text("key."): dns.tsig.Key("key.", b"0" * 32)})
    notify = dns.message.make_query("example.org", "SOA")
    notify.set_opcode(dns.opcode.NOTIFY)
    for payload in (
        query("example.org"),
        query("."),
        query("example.org", "AAAA", use_edns=0, payload=1232, want_dnssec=True),
        query("a." * 120 + "example"),
        query("1.0.0.0." * 8 + "ip6.arpa", "PTR"),
        query("x" * 63 + ".example"),
        signed.to_wire(),
        notify.to_wire(),
    ):
        for source, to in (("198.51.100.7", "192.0.2.1"), ("2001:db8::7", "2001:db8::1")):
            found = tried(frame(payload, source, to))
            assert found.verdict == "pass" and not found.is_dropped and found.ns > 0, payload
    assert tried(frame(query("example.org", "ANY")))[:2] == ("challenge", True)
    asked = dns.message.make_query("example.org", "A")
    update = dns.message.make_query("example.org", "SOA")
    update.set_opcode(dns.opcode.UPDATE)
    cut = query("example.org")[:-3]
    two = bytearray(query("example.org"))
    two[5] = 2
    for payload in (
        dns.message.make_response(asked).to_wire(),
        update.to_wire(),
        cut,
        bytes(two),
        query("example.org", "A", rdclass=dns.rdataclass.CH),
        query("example.org") + b"more",
        b"",
    ):
        assert tried(frame(payload))[:2] == ("drop", True), payload


def expected_of_dns(payload):
    """What dns.c is to say of what is no more than 512 bytes, by dnspython's eyes and the same rules."""
    if len(payload) < 17:
        return "drop"
    _, flags, *counts = struct.unpack_from("!6H", payload)
    if flags & 0x8000 or flags & 0x5800 or counts[0] != 1:
        return "drop"
    is_notify = bool(flags & 0x7800)
    if not is_notify and (counts[1] or counts[2]):
        return "drop"
    at = 12
    while True:
        if at >= len(payload) or payload[at] > 63:
            return "drop"
        size = payload[at]
        at += size + 1
        if at - 12 > 255:
            return "drop"
        if not size:
            break
    if at + 4 > len(payload):
        return "drop"
    kind, of_class = struct.unpack_from("!2H", payload, at)
    at += 4
    if kind == 0 or of_class not in (1, 255):
        return "drop"
    if not is_notify:
        more = counts[3]
        if more > 2 or (more == 0 and at != len(payload)):
            return "drop"
        if more == 2 and (payload[at : at + 1] or b"\0") + payload[at + 1 : at + 3].ljust(2, b"\0") != b"\0\0\x29":
            return "drop"
    return "challenge" if kind == 255 else "pass"


def test_dns_noise_is_judged_as_expected(trial):
    tried = trial("dns")
    chance = random.Random(7)
    good = [query("www.example.org"), query("example.org", "ANY"), query("a.b", "AAAA", use_edns=0)]
    for _ in range(80):
        payload = bytearray(chance.choice(good))
        for _ in range(chance.randrange(4)):
            payload[chance.randrange(len(payload))] = chance.choice((0, 1, 2, 63, 64, 255, chance.randrange(256)))
        payload = bytes(payload[: chance.choice((len(payload), chance.randrange(len(payload) + 1)))])
        assert tried(frame(payload), False).verdict == expected_of_dns(payload), payload.hex()


def test_a_game_s_handshake(trial):
    tried = trial("game")
    first = b"\x05" + MAGIC + b"\x0b" + bytes(1400)
    second = b"\x07" + MAGIC + bytes(18)
    session = b"\x84" + bytes(40)

    def said(payload, source):
        return tried(frame(payload, source), False).verdict

    # Who goes through it, in order.
    assert [said(one, "198.51.100.7") for one in (session, second, first, second, session, b"\xc0\0\1")] == [
        *("drop", "drop", "challenge", "pass", "pass", "pass")
    ]
    # Another source has a state of its own; noise gets nowhere.
    assert [said(one, "2001:db8::9".replace("2001:db8::9", "198.51.100.8")) for one in (session, second)] == [
        "drop"
    ] * 2
    chance = random.Random(7)
    assert {said(chance.randbytes(size), "198.51.100.9") for size in range(1, 400, 37)} == {"drop"}
    assert said(first[:200], "198.51.100.9") == "drop"
    # Ten pings in a second.
    ping = b"\x01" + bytes(8) + MAGIC + bytes(8)
    verdicts = [said(ping, "198.51.100.10") for _ in range(14)]
    assert verdicts[:10] == ["pass"] * 10 and "drop" in verdicts[10:]
    assert said(ping + b"x", "198.51.100.11") == "drop"


def test_facts_and_payload(trial):
    """Each is compared with what the frame has: 7 is none of the verdicts, and passes."""
    tried = trial(
        "FLOW_PROGRAM(p)\n{\n"
        "if (p->from_port != 40000 || p->to_port != 9000 || p->version != 4 || p->lifetime != 64) return FLOW_DROP;\n"
        "if (p->from[12] != 198 || p->to[15] != 1 || p->from[10] != 255 || p->flow || p->known) return FLOW_DROP;\n"
        "if (!p->now_ms || p->length != flow_u16(p, 0)) return FLOW_DROP;\n"
        "if (p->bytes != (p->length > 512 ? 512 : p->length)) return FLOW_DROP;\n"
        "if (flow_u8(p, p->bytes) || flow_u8(p, 512) || flow_u16(p, p->bytes - 1)) return FLOW_DROP;\n"
        "for (__u32 i = 2; i < 512 && i < p->bytes; i++)\n"
        "  if (flow_u8(p, i) != (i & 255)) return FLOW_DROP;\n"
        "if (p->bytes > 11 && flow_u64(p, 3) != 0x030405060708090aULL) return FLOW_DROP;\n"
        "if (p->bytes > 7 && flow_u32(p, 4) != 0x04050607) return FLOW_DROP;\n"
        "return 7;\n}\n"
    )
    for size in (*range(2, 18), 255, 511, 512, 513, 1400):
        payload = struct.pack("!H", size) + bytes(n & 255 for n in range(2, size))
        found = tried(frame(payload))
        assert (found.verdict, found.is_dropped) == ("pass", False), size


def test_a_length_that_is_wrong(trial):
    tried = trial("FLOW_PROGRAM(p)\n{\nreturn p->length == flow_u8(p, 0) && p->bytes == flow_u8(p, 1) ? 0 : 1;\n}\n")
    whole = bytearray(frame(bytes((4, 4, 0, 0))))
    assert not tried(bytes(whole)).is_dropped
    assert not tried(bytes(whole) + bytes(10)).is_dropped  # the padding of a short frame is none of it
    longer = bytearray(frame(bytes((200, 4, 0, 0))))
    longer[38:40] = struct.pack("!H", 208)  # longer than the frame: what is there is there
    assert not tried(bytes(longer)).is_dropped


def test_other_packets_are_not_judged(trial):
    tried = trial("FLOW_PROGRAM(p)\n{\nreturn FLOW_DROP;\n}\n")
    tcp = bytearray(frame(bytes(20)))
    tcp[23] = 6
    for data in (bytes(14) + b"noise", bytes(tcp)):
        assert tried(data).verdict == ""
    assert tried(frame(b""))[:2] == ("drop", True)
    vlan = frame(b"x")
    assert tried(vlan[:12] + b"\x81\x00\x00\x05" + vlan[12:])[:2] == ("drop", True)


def test_what_the_kernel_refuses(trial):
    for source, why in (
        ("FLOW_PROGRAM(p)\n{\nreturn p->payload[flow_u16(p, 0)];\n}\n", "instruction [0-9]+: the kernel"),
        ("FLOW_PROGRAM(p)\n{\nreturn *(__u32 *)flow_u64(p, 0);\n}\n", "the kernel does not take it: R"),
        ("FLOW_PROGRAM(p)\n{\n__u32 x = 0; while (1) x += *(volatile __u8 *)p->payload; return x;\n}\n", "instruction"),
        (
            "FLOW_PROGRAM(p)\n{\n__u32 x = 0; for (__u32 i = 0; i < 40000; i++) x += *(volatile __u8 *)p->payload;"
            "return x;\n}\n",
            "more than 65,536 steps",
        ),
        ("FLOW_PROGRAM_WITH_STATE(p, s)\n{\nreturn s->u64[90];\n}\n", "instruction"),
    ):
        with pytest.raises(PinError, match=why):
            trial(source)


def raw(*instructions):
    return FlowProgramCode(b"".join(struct.pack("=BBhi", *one) for one in instructions), False)


@pytest.mark.parametrize("register", [3, 4, 5])
def test_nothing_is_left_in_registers(require, register):
    """What is behind the two arguments is 0: no pointer to the packet, which could be written to."""
    if os.geteuid() != 0:
        pytest.skip("BPF needs root")
    store = raw((0xB7, 0, 0, 0), (0x73, register, 0, 0), (0x95, 0, 0, 0))
    with pytest.raises(PinError, match=r"instruction 1: .*invalid mem access '(scalar|inv)'"):
        ProgramTrial(store)
    with ProgramTrial(raw((0xBF, register << 4, 0, 0), (0x95, 0, 0, 0))) as trial:
        assert trial(frame(b"x"))[:2] == ("pass", False)


def test_the_context_is_out_of_reach():
    if os.geteuid() != 0:
        pytest.skip("BPF needs root")
    for register in (6, 7, 8, 9):
        with pytest.raises(PinError, match=f"R{register} !read_ok"):
            ProgramTrial(raw((0x79, register << 4, 0, 0), (0x95, 0, 0, 0)))


def test_a_kernel_that_cannot(monkeypatch):
    monkeypatch.setattr(program_trial, "can_call", lambda: False)
    with pytest.raises(PinError, match="cannot run"):
        ProgramTrial(raw((0xB7, 0, 0, 0), (0x95, 0, 0, 0)))


def test_the_kernel_does_not_run_it(trial, monkeypatch):
    tried = trial("FLOW_PROGRAM(p)\n{\nreturn 0;\n}\n")
    with pytest.raises(PinError, match="cannot be run"):
        tried(b"")
    monkeypatch.setattr(program_trial, "Object", lambda *_: (_ for _ in ()).throw(libbpf.BpfError("no", 1)))
    with pytest.raises(PinError, match="needs root"):
        ProgramTrial(raw((0xB7, 0, 0, 0), (0x95, 0, 0, 0)))
