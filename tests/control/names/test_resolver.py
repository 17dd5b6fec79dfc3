import asyncio
import gc
import math
import os
import socket
import subprocess
import time
from contextlib import suppress

import dns.rcode
import pytest

from spectrum.control.names import resolver as module
from spectrum.control.names.resolver import LookupFailure, Resolver
from tests.control.dns_server import DnsServer
from tests.control.keepers import until


@pytest.fixture
def make(tmp_path):
    """A function that returns a resolver for a server's port, with files of its own."""

    def build(port, conf="nameserver 127.0.0.1\noptions timeout:1 attempts:1\n", hosts=""):
        (tmp_path / "resolv.conf").write_text(conf)
        (tmp_path / "hosts").write_text(hosts)
        return Resolver(tmp_path / "resolv.conf", tmp_path / "hosts", port)

    return build


async def failure(resolver, name, kind=""):
    with pytest.raises(LookupFailure) as caught:
        await resolver.look_up(name, kind)
    return str(caught.value), caught.value.result, caught.value.ttl_s


# --- a real server ----------------------------------------------------------------------------------------------------

ZONE = """$ORIGIN example.org.
@ 3600 SOA ns admin 1 60 60 60 45
@ NS ns
ns A 192.0.2.53
both 30 A 192.0.2.1
both 20 AAAA 2001:db8::1
four 30 A 192.0.2.4
mapped 30 AAAA ::ffff:192.0.2.1
text 30 TXT "hello"
one 50 CNAME two
two 10 CNAME both
_sip._udp 40 SRV 10 60 5060 both
_sip._udp 40 SRV 10 40 5061 four
_sip._udp 40 SRV 20 0 5062 text
_none._tcp 40 SRV 0 0 1 .
_zero._tcp 40 SRV 0 0 0 four
_lost._tcp 40 SRV 0 0 1 text
_x_y.under_score 5 A 192.0.2.5
db.a 5 A 192.0.2.6
"""


@pytest.fixture(scope="module")
def knot(tmp_path_factory):
    """The port of a real DNS server."""
    folder = tmp_path_factory.mktemp("knot")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    many = "".join(f"many 60 A 192.0.2.{i}\n" for i in range(1, 60))
    (folder / "example.org.zone").write_text(ZONE + many)
    (folder / "knot.conf").write_text(
        f"server:\n  rundir: {folder}\n  listen: 127.0.0.1@{port}\n"
        f"database:\n  storage: {folder}\nzone:\n  - domain: example.org\n    storage: {folder}\n"
    )
    try:
        server = subprocess.Popen(["/usr/sbin/knotd", "-c", folder / "knot.conf"], stdout=subprocess.DEVNULL)
    except FileNotFoundError:
        if os.environ.get("CI"):
            raise
        pytest.skip("not installed: knotd")
    yield port
    server.terminate()
    server.wait()


@pytest.fixture
async def real(knot, make):
    resolver = make(knot)

    async def answers():
        try:
            return await resolver.look_up("four.example.org", "A")
        except LookupFailure:
            return None

    async with asyncio.timeout(20):
        while not await answers():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return resolver


@pytest.mark.parametrize(
    ("name", "kind", "addresses", "ttl_s"),
    [
        ("both.example.org", "", {"192.0.2.1", "2001:db8::1"}, 20),
        ("BOTH.example.org.", "A", {"192.0.2.1"}, 30),
        ("four.example.org", "", {"192.0.2.4"}, 30),
        ("one.example.org", "", {"192.0.2.1", "2001:db8::1"}, 10),
        ("mapped.example.org", "", {"192.0.2.1"}, 30),
        ("_x_y.under_score.example.org", "", {"192.0.2.5"}, 5),
        ("many.example.org", "A", {f"192.0.2.{i}" for i in range(1, 60)}, 60),
        (
            "_sip._udp.example.org",
            "SRV",
            {"10 30 5060 192.0.2.1", "10 30 5060 2001:db8::1", "10 40 5061 192.0.2.4"},
            20,
        ),
    ],
)
async def test_records(real, name, kind, addresses, ttl_s):
    answer = await real.look_up(name, kind)
    assert (set(answer.addresses), len(answer.addresses)) == (addresses, len(addresses))
    assert answer.ttl_s == ttl_s


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("nothing.example.org", "", ("no such name", "no_name", 45)),
        ("four.example.org", "AAAA", ("no AAAA record", "no_record", 45)),
        ("text.example.org", "", ("no AAAA record", "no_record", 45)),
        ("_none._tcp.example.org", "SRV", ("its SRV record says that there is no such service", "no_record", 40)),
        ("_zero._tcp.example.org", "SRV", ("its SRV record has port 0, which is not reachable", "no_record", 40)),
        ("_lost._tcp.example.org", "SRV", ("no AAAA record", "no_record", 45)),
        ("elsewhere.example.net", "", ("127.0.0.1: REFUSED", "server_failure", 0)),
    ],
)
async def test_what_is_not_there(real, name, kind, why):
    assert await failure(real, name, kind) == why


@pytest.mark.parametrize(
    ("conf", "name", "address"),
    [
        ("search nothing.example.org a.example.org\n", "db", "192.0.2.6"),
        ("search example.org\n", "db.a", "192.0.2.6"),
        ("search example.org\noptions ndots:3\n", "db.a", "192.0.2.6"),
        ("options edns0\n", "both.example.org", "192.0.2.1"),
        ("options use-vc\n", "both.example.org", "192.0.2.1"),
        ("nameserver fe80::1%lo\n", "both.example.org", "192.0.2.1"),
    ],
)
async def test_resolv_conf(knot, real, make, conf, name, address):
    # A server outside the search list's zone refuses: only what names of the list mean is looked for here.
    found = make(knot, f"{conf}nameserver 127.0.0.1\noptions timeout:1 attempts:2\n")
    if name == "db.a" and "ndots" not in conf:
        assert (await failure(found, name, "A"))[1] == "server_failure"  # it might stand for another host
    else:
        assert (await found.look_up(name, "A")).addresses == (address,)


# --- servers in trouble -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.FORMERR, dns.rcode.NOTIMP])
async def test_failures_of_servers(make, code):
    async with DnsServer({"*": code}).running() as server:
        resolver = make(server.port)
        assert await failure(resolver, "a.test") == (f"127.0.0.1: {dns.rcode.to_text(code)}", "server_failure", 0)


async def test_silence(make):
    async with DnsServer({"*": None}).running() as server:
        why = await failure(make(server.port), "a.test")
        assert why == ("no answer from 127.0.0.1 within 1 s", "no_answer", 0)


async def test_no_listener(make):
    async with DnsServer({}).running() as server:
        port = server.port
    assert (await failure(make(port, "options timeout:1 attempts:1\n"), "a.test"))[1] in ("no_answer", "server_failure")


async def test_a_negative_answer_without_soa_has_no_ttl(make):
    async with DnsServer({("a.test.", "A"): ()}).running() as server:
        assert await failure(make(server.port), "a.test", "A") == ("no A record", "no_record", 0)
        assert await failure(make(server.port), "b.test", "A") == ("no such name", "no_name", 0)


@pytest.mark.parametrize(
    "records", [{"*": None}, {}, {"*": dns.rcode.SERVFAIL}, {("a.test.", "A"): None, ("a.test.", "AAAA"): ()}]
)
async def test_a_failed_look_up_leaves_no_cycle(make, records):
    """Each would keep hundreds of objects until the next collection, and dead names are asked for again and again."""
    async with DnsServer(records).running() as server:
        resolver = make(server.port, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\nsearch b.test c.test\n")
        await failure(resolver, "a.test")  # what is imported and remembered
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            with suppress(LookupFailure):
                await resolver.look_up("a.test", "")
            assert gc.collect() < 50
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()


async def test_no_server_is_asked_for_invalid_names(make):
    async with DnsServer({"*": ["192.0.2.1"]}).running() as server:
        for name in ("a.invalid", "A.Invalid.", "invalid."):
            assert await failure(make(server.port), name, "A") == ("no name under .invalid exists", "no_name", math.inf)
        resolver = make(server.port, hosts="192.0.2.7 a.invalid\n")
        assert (await resolver.look_up("a.invalid", "A")).addresses == ("192.0.2.7",)


async def test_one_family_is_enough(make):
    async with DnsServer({("a.test.", "A"): ["192.0.2.1"], ("a.test.", "AAAA"): None}).running() as server:
        assert (await make(server.port).look_up("a.test", "")).addresses == ("192.0.2.1",)


async def test_an_address_that_may_come_back_is_not_taken_for_none(make):
    async with DnsServer({("a.test.", "A"): dns.rcode.SERVFAIL, ("a.test.", "AAAA"): ()}).running() as server:
        assert (await failure(make(server.port), "a.test"))[1] == "server_failure"


async def test_truncated_answers_come_over_tcp(make):
    server = DnsServer({("a.test.", "A"): [f"192.0.2.{i}" for i in range(1, 101)]})
    server.truncates = True
    async with server.running():
        assert len((await make(server.port).look_up("a.test", "A")).addresses) == 100
        assert server.asked["a.test.", "A"] == 2


async def test_a_name_with_hundreds_of_addresses(make, caplog):
    many = [f"10.0.{i // 250}.{i % 250}" for i in range(500)]
    records = {("many.example.", "A"): many, ("many.example.", "AAAA"): ["2001:db8::1"]}
    records["s.example.", "SRV"] = [f"{i} 0 22 many.example." for i in range(1, 9)]
    async with DnsServer(records).running() as server:
        server.truncates = True  # so much comes over TCP
        resolver = make(server.port, "nameserver 127.0.0.1\noptions timeout:10\n")
        (answer, _) = await resolver.look_up("many.example.", "")
        assert len(answer) == module.MAX_ADDRESSES + 1 and "2001:db8::1" in answer
        assert "name many.example. has 500 addresses; 128 of them are used" in caplog.text
        records["many.example.", "A"] = many[::-1]
        assert set((await resolver.look_up("many.example.", ""))[0]) == set(answer), "whatever order they come in"
        assert caplog.text.count("many.example. has") == 1
        assert len((await resolver.look_up("s.example.", "SRV"))[0]) == module.MAX_ADDRESSES


async def test_a_dead_server_is_asked_last_for_a_while(make):
    async with (
        DnsServer({"*": ["192.0.2.1"]}).running("127.0.0.2") as living,
        DnsServer({"*": None}).running("127.0.0.1", living.port) as dead,
    ):
        conf = "nameserver 127.0.0.1\nnameserver 127.0.0.2\noptions timeout:1 attempts:1\n"
        resolver = make(living.port, conf)
        took = []
        for name in ("a.test", "b.test"):
            began = time.monotonic()
            assert (await resolver.look_up(name, "A")).addresses == ("192.0.2.1",)
            took.append(time.monotonic() - began)
        assert took[0] > 0.9
        assert took[1] < 0.9
        assert dead.asked == {("a.test.", "A"): 1}


async def test_a_service_with_a_target_in_trouble(make, monkeypatch):
    records = {
        ("_s._tcp.test.", "SRV"): ["0 1 80 good.test.", "0 1 81 ill.test.", "0 1 0 port.test."],
        ("good.test.", "A"): ["192.0.2.1"],
        ("ill.test.", "A"): dns.rcode.SERVFAIL,
        ("ill.test.", "AAAA"): dns.rcode.SERVFAIL,
    }
    async with DnsServer(records, ttl=600).running() as server:
        resolver = make(server.port, hosts="192.0.2.9 known.test\n")
        assert await resolver.look_up("_s._tcp.test", "SRV") == (("0 1 80 192.0.2.1",), module.LACKING_TARGET_S)
        records["ill.test.", "A"] = ["192.0.2.2"]
        records["_s._tcp.test.", "SRV"] = ["0 1 80 good.test.", "0 1 81 ill.test.", "5 0 82 known.test."]
        found = {"0 1 80 192.0.2.1", "0 1 81 192.0.2.2", "5 0 82 192.0.2.9"}
        assert set((await resolver.look_up("_s._tcp.test", "SRV")).addresses) == found


# --- files ------------------------------------------------------------------------------------------------------------


async def test_the_hosts_file_comes_first_and_is_read_again(make, tmp_path):
    async with DnsServer({("db.test.", "AAAA"): ["2001:db8::7"]}).running() as server:
        resolver = make(server.port, hosts="192.0.2.1 db.test\n192.0.2.2 db.test db\n2001:db8::1 six.test\n")
        assert await resolver.look_up("DB.test.", "") == (("192.0.2.1", "192.0.2.2"), math.inf)
        assert server.asked.total() == 0
        assert (await resolver.look_up("six.test", "AAAA")).addresses == ("2001:db8::1",)
        assert (await resolver.look_up("db.test", "AAAA")).addresses == ("2001:db8::7",)  # of the server
        (tmp_path / "hosts").write_text("192.0.2.100 db.test\n")
        resolver.read()
        assert (await resolver.look_up("db.test", "")).addresses == ("192.0.2.100",)
        (tmp_path / "hosts").unlink()
        resolver.read()
        assert (await resolver.look_up("db.test", "")).addresses == ("192.0.2.100",)  # being replaced


@pytest.mark.parametrize(
    ("name", "kind", "addresses"),
    [
        ("localhost", "", ("::1", "127.0.0.1")),
        ("LOCALHOST.", "A", ("127.0.0.1",)),
        ("db.localhost", "AAAA", ("::1",)),
    ],
)
async def test_localhost_is_this_machine_whatever_servers_say(make, name, kind, addresses):
    assert (await make(9).look_up(name, kind)).addresses == addresses


async def test_other_servers_while_it_runs(make, tmp_path):
    async with DnsServer({"*": ["192.0.2.2"]}).running("127.0.0.2") as server:
        resolver = make(server.port, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        assert (await failure(resolver, "a.test", "A"))[1] in ("no_answer", "server_failure")
        (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.2\n")
        resolver.read()
        assert (await resolver.look_up("a.test", "A")).addresses == ("192.0.2.2",)


async def test_cancelled_at_once(make):
    async with DnsServer({"*": None}).running() as server:
        resolver = make(server.port, "nameserver 127.0.0.1\noptions timeout:30\n")
        task = asyncio.get_running_loop().create_task(resolver.look_up("a.test", ""))
        await until(lambda: server.asked.total() == 2)
        task.cancel()
        async with asyncio.timeout(10):
            with pytest.raises(asyncio.CancelledError):
                await task
