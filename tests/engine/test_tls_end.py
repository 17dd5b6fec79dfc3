"""TLS in the relay, against Python's ssl on both sides: handshakes, bytes, ends, failures, resumption."""

import contextlib
import errno
import hashlib
import secrets
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from spectrum.engine.sessions import Outcome
from spectrum.engine.tls import (
    KEY_BYTES,
    CertificateKeyPair,
    ChallengeContext,
    ClientContext,
    ServerContext,
    TicketKeys,
    TlsPeer,
)
from tests.certificates import Authority
from tests.engine.harness import (
    Recorder,
    add,
    client,
    engine_socket,
    eventually,
    in_thread,
    listening,
    narrow_client,
    read_all,
    reset,
    target,
)

AUTHORITY = Authority()
EC, RSA = AUTHORITY.issue("a.example", "127.0.0.1"), AUTHORITY.issue("a.example", kind="rsa")
OTHER, STRANGER = AUTHORITY.issue("b.example"), Authority("stranger").issue("a.example")
CLIENT = AUTHORITY.issue(common_name="alice")


def certificate(issued):
    return CertificateKeyPair(issued.chain, issued.key, issued.staple())


@pytest.fixture
def tickets():
    keys = TicketKeys()
    keys.set_keys([secrets.token_bytes(KEY_BYTES)])
    return keys


class Securing(Recorder):
    """A handler that speaks TLS with every client, then connects it."""

    def __init__(self, targets, context, timeout_ms=5000, **options):
        super().__init__(targets, **options)
        self.context = context
        self.timeout_ms = timeout_ms
        self.secure = []
        self.origins = []
        self.insecurities = []

    def accepted(self, batch):
        for name, *_ in batch:
            self.relay.secure(name, self.context, self.timeout_ms)

    def secured(self, name, facts):
        self.secure.append(facts)
        self.relay.connect(name, self.targets, self.header_bytes, *self.timeouts, 1 + len(self.others))

    def origin_secured(self, name, facts):
        self.origins.append(facts)

    def insecure(self, name, side, reason):
        self.insecurities.append((side, reason))


def trusting(**options):
    context = ssl.create_default_context(cadata=AUTHORITY.pem.decode())
    for name, value in options.items():
        setattr(context, name, value)
    return context


@contextlib.contextmanager
def running(recorder, edge):
    add(recorder, edge)
    with recorder.running():
        yield recorder


def hand_shaken(context, edge, name="a.example", **options):
    return context.wrap_socket(client(edge), server_hostname=name, **options)


@pytest.fixture
def edge():
    with listening() as sock:
        yield sock


@pytest.fixture
def origin():
    with listening() as sock:
        yield sock


def server_of(tickets, *issued, **options):
    return ServerContext(b"test", tuple(map(certificate, issued or (EC,))), tickets, **options)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_bytes_pass_both_ways_and_half_close(tickets, edge, origin, version):
    with running(Securing([target(origin)], server_of(tickets), header=b"HEAD "), edge) as recorder:
        with hand_shaken(trusting(maximum_version=version), edge) as c:
            c.sendall(b"question")
            o, _ = origin.accept()
            with o:
                assert o.recv(13, socket.MSG_WAITALL) == b"HEAD question"
                o.sendall(b"answer")
                assert c.recv(100) == b"answer"
                o.shutdown(socket.SHUT_WR)
                assert c.recv(100) == b""  # close_notify, and not a broken end: suppress_ragged_eofs would hide it
                c.sendall(b"more, into the other half")
                assert o.recv(100) == b"more, into the other half"
                c.unwrap()
                assert o.recv(100) == b""
        eventually(lambda: recorder.reports)
    report = recorder.reports[0]
    assert recorder.outcomes() == [(Outcome.EOF_ORIGIN, 0)]
    assert report[9:11] == (len(b"questionmore, into the other half"), len(b"answer"))
    facts = recorder.secure[0]
    assert facts[0] == (b"TLSv1.3" if version == ssl.TLSVersion.TLSv1_3 else b"TLSv1.2")
    assert facts[2:] == (b"", b"a.example", False, None, b"ecdsa-with-SHA256", b"EC256")


def test_an_end_without_close_notify_is_an_end(tickets, edge, origin):
    with running(Securing([target(origin)], server_of(tickets)), edge) as recorder:
        with hand_shaken(trusting(), edge) as c:
            o, _ = origin.accept()
            o.sendall(b"x")
            assert c.recv(1) == b"x"  # with what TLS itself had to say: unread bytes would make a reset of the close
        with o:
            assert o.recv(1) == b""
        eventually(lambda: recorder.reports)


def test_what_comes_with_the_end_of_the_handshake_is_relayed(tickets, edge, origin):
    """A TLS 1.3 client's Finished, its first bytes and its FIN in one segment."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting().wrap_bio(into, out, server_hostname="a.example")
    with running(Securing([target(origin)], server_of(tickets)), edge), client(edge) as c:
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        c.sendall(out.read())
        while True:
            into.write(c.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                break
        tls.write(b"early bird" * 3000)
        c.sendall(out.read())
        c.shutdown(socket.SHUT_WR)
        o, _ = origin.accept()
        with o:
            assert read_all(o) == b"early bird" * 3000
            o.sendall(b"bye")
        into.write(read_all(c))
        assert tls.read(100) == b"bye"


@pytest.mark.parametrize("pieces", [1, 7, 100_000])
def test_handshakes_in_pieces(tickets, edge, origin, pieces):
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting().wrap_bio(into, out, server_hostname="a.example")
    with running(Securing([target(origin)], server_of(tickets)), edge) as recorder, client(edge) as c:
        while not recorder.secure:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            data = out.read()
            for start in range(0, len(data), pieces):
                c.sendall(data[start : start + pieces])
                if pieces < 10 and start % 50 == 0:
                    time.sleep(0.001)
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                eventually(lambda: recorder.secure)
                break
            into.write(c.recv(65536))
        o, _ = origin.accept()
        o.close()


@pytest.mark.parametrize("secure_origin", [False, True], ids=["clear", "tls"])
def test_bulk_through_slow_peers_arrives_whole(tickets, edge, origin, secure_origin):
    """16 MB each way at once, with readers that pause: backlogs of sealed bytes."""
    context = ClientContext(True, authorities=AUTHORITY.pem)
    options = {"tls": TlsPeer(context, "a.example", False)} if secure_origin else {}
    size, chunk = 16 << 20, secrets.token_bytes(1 << 20)
    served = {}

    def both(sock, key):
        """Send and receive in turn: an SSLSocket is not to be used by two threads."""
        digests, sent, got = (hashlib.sha256(), hashlib.sha256()), 0, 0
        sock.setblocking(False)
        while sent < size or got < size:
            before = sent, got
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                while sent < size:
                    part = chunk[sent % len(chunk) :]
                    count = sock.send(part)
                    digests[0].update(part[:count])
                    sent += count
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                for _ in range(20):
                    data = sock.recv(65536)
                    assert data or got == size
                    digests[1].update(data)
                    got += len(data)
            time.sleep(0.001 if before != (sent, got) else 0.003)
        served[key] = tuple(digest.hexdigest() for digest in digests)

    def serve():
        o, _ = origin.accept()
        o.settimeout(30)
        with serving(EC).wrap_socket(o, server_side=True) if secure_origin else o as stream:
            both(stream, "origin")

    thread = threading.Thread(target=serve)
    thread.start()
    with running(Securing([target(origin, **options)], server_of(tickets)), edge) as recorder:
        with hand_shaken(trusting(), edge) as c:
            c.settimeout(30)
            both(c, "client")
            thread.join()
        eventually(lambda: recorder.reports)
    assert served["client"][0] == served["origin"][1]
    assert served["origin"][0] == served["client"][1]
    assert recorder.relay.held_bytes == 0


def serving(issued, **options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for name, value in options.items():
        setattr(context, name, value)
    _load(context, issued)
    return context


def _load(context, issued):
    with tempfile.TemporaryDirectory() as path:
        context.load_cert_chain(*issued.write(Path(path), "x"))


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sends", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "http request"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "wrong version number"),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "length mismatch|bad|length too short|decode"),
        (b"", "the client left"),
    ],
)
def test_a_client_without_tls_gets_an_alert_and_the_reason_is_recorded(tickets, edge, sends, reason):
    with running(Securing([], server_of(tickets)), edge) as recorder:
        with client(edge) as c:
            c.sendall(sends)
            c.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                read_all(c)
        eventually(lambda: recorder.reports)
    assert recorder.outcomes() == [(Outcome.HANDSHAKE_FAILED, 0)]
    side, said = recorder.insecurities[0]
    assert side == 0
    assert any(word in said for word in reason.split("|")), said


def test_an_old_client_gets_an_alert(tickets, edge):
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    context = server_of(tickets, versions=("1.3", "1.3"))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with running(Securing([], context), edge) as recorder:
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol version"):
            hand_shaken(old, edge)
        eventually(lambda: recorder.reports)
    assert recorder.insecurities == [(0, "unsupported protocol")]


def test_a_slow_handshake_ends_at_its_deadline(tickets, edge):
    recorder = Securing([], server_of(tickets), timeout_ms=200)
    with running(recorder, edge), client(edge) as silent, client(edge) as slow:
        slow.sendall(b"\x16\x03\x01\x02\x00")
        eventually(lambda: len(recorder.reports) == 2)
        for sock in (silent, slow):
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
    assert recorder.outcomes() == [(Outcome.HANDSHAKE_TIMEOUT, 0)] * 2


def test_broken_records_end_a_session_with_an_alert_and_a_reset(tickets, edge, origin):
    with running(Securing([target(origin)], server_of(tickets)), edge) as recorder:
        c = hand_shaken(trusting(), edge)
        o, _ = origin.accept()
        raw = socket.socket(fileno=c.detach())
        raw.settimeout(5)
        raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        eventually(lambda: recorder.reports)
        with o, pytest.raises(ConnectionResetError):
            o.recv(1)
        raw.close()
    assert recorder.outcomes() == [(Outcome.TLS_ERROR_CLIENT, 0)]
    assert "bad record mac" in recorder.insecurities[0][1]


# --- certificates, ALPN, resumption -----------------------------------------------------------------------------------


def test_a_client_gets_the_certificate_of_the_name_it_asks_for(tickets, edge, origin):
    known = {"a.example": (certificate(EC),), "b.example": (certificate(OTHER),)}
    context = server_of(tickets, find=lambda name: known.get(name))
    with running(Securing([target(origin)], context), edge) as recorder:
        for name in known:
            with hand_shaken(trusting(), edge, name):
                pass
        with pytest.raises(ssl.SSLError):
            hand_shaken(trusting(check_hostname=False), edge, "c.example")
        with hand_shaken(trusting(check_hostname=False), edge, None):
            pass
        eventually(lambda: len(recorder.reports) == 4)
    assert [facts[3] for facts in recorder.secure] == [b"a.example", b"b.example", b""]


def test_a_failing_find_is_an_internal_error(tickets, edge):
    def find(name):
        raise RuntimeError(name)

    recorder = Securing([], server_of(tickets, find=find))
    add(recorder, edge)
    with in_thread(recorder.loop):
        with pytest.raises(ssl.SSLError, match=r"(?i)alert internal error"):
            hand_shaken(trusting(), edge)
        eventually(lambda: recorder.reports)
    assert [str(fault) for fault in recorder.faults] == ["a.example"]
    assert recorder.outcomes() == [(Outcome.REFUSED, 0)]
    assert recorder.insecurities == []


def _expired():
    return AUTHORITY.issue(common_name="old", days=-1)


@pytest.mark.parametrize(
    ("server", "offers", "alert", "said"),
    [
        ({"find": lambda name: None}, {}, "unrecognized name", "unrecognized name"),
        ({"alpn": ("h2",)}, {"alpn": ["smtp"]}, "alert no application protocol", "no application protocol"),
        ({"versions": ("1.3", "1.3")}, {"maximum": "TLSv1_2"}, "alert protocol version", "unsupported protocol"),
        ({"versions": ("1.2", "1.2")}, {"minimum": "TLSv1_3"}, "alert protocol version", "unsupported protocol"),
        ({}, {"ciphers": "AES128-SHA"}, "alert handshake failure", "no shared cipher"),
        ({"client": True}, {}, "alert certificate required", "peer did not return a certificate"),
        ({"client": True}, {"maximum": "TLSv1_2"}, "alert handshake failure", "peer did not return a certificate"),
        ({"client": True}, {"shown": STRANGER}, "alert unknown ca", "unable to get local issuer certificate"),
        ({"client": True}, {"shown": _expired()}, "alert certificate expired", "certificate has expired"),
    ],
)
def test_the_alert_says_what_is_wrong(tickets, edge, origin, server, offers, alert, said):
    """RFC 8446 section 6.2, RFC 5246 section 7.2.2, RFC 6066 section 3, RFC 7301 section 3.2."""
    options = {name: value for name, value in server.items() if name != "client"}
    if "client" in server:
        options["client_authorities"] = AUTHORITY.pem
    context = trusting()
    if "alpn" in offers:
        context.set_alpn_protocols(offers["alpn"])
    if "ciphers" in offers:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(offers["ciphers"])
    if "maximum" in offers:
        context.maximum_version = ssl.TLSVersion[offers["maximum"]]
    if "minimum" in offers:
        context.minimum_version = ssl.TLSVersion[offers["minimum"]]
    if "shown" in offers:
        _load(context, offers["shown"])
    with running(Securing([target(origin)], server_of(tickets, **options)), edge) as recorder:
        with pytest.raises(ssl.SSLError, match=f"(?i){alert}"), hand_shaken(context, edge) as c:
            c.recv(1)  # a client of TLS 1.3 learns of it after its own part
        eventually(lambda: recorder.reports)
    assert recorder.insecurities == [(0, said)]
    assert recorder.outcomes() == [(Outcome.HANDSHAKE_FAILED, 0)]


def test_a_name_that_is_refused_is_not_resumed_either(tickets, edge, origin):
    known = {"a.example": (certificate(EC),)}
    with running(Securing([target(origin)], server_of(tickets, find=known.get)), edge) as recorder:
        context = trusting(check_hostname=False)
        with hand_shaken(context, edge) as c, origin.accept()[0] as o:
            o.sendall(b"x")
            assert c.recv(1) == b"x"
            session = c.session
        with hand_shaken(context, edge, session=session) as c:
            assert c.session_reused
        with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized name"):
            hand_shaken(context, edge, "b.example", session=session)
        eventually(lambda: len(recorder.reports) == 3)


@pytest.mark.parametrize("finds", [True, False])
def test_of_two_kinds_of_keys_the_client_gets_one_that_it_can_use(tickets, edge, origin, finds):
    both = (certificate(EC), certificate(RSA))
    context = server_of(tickets, OTHER, find=lambda name: both) if finds else server_of(tickets, EC, RSA)
    picky = trusting(maximum_version=ssl.TLSVersion.TLSv1_2)
    picky.set_ciphers("ECDHE+aRSA")
    with running(Securing([target(origin)], context), edge) as recorder:
        for options in (trusting(), picky):
            with hand_shaken(options, edge):
                origin.accept()[0].close()
        eventually(lambda: len(recorder.reports) == 2)
    assert [facts[7] for facts in recorder.secure] == [b"EC256", b"RSA2048"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_authorities_are_answered_and_asked_for_nothing(tickets, edge, version):
    """RFC 8737: who offers acme-tls/1 alone gets the certificate for the name, whatever the app asks of its clients."""
    answers = ChallengeContext()
    answers.set_answers({"Q.example": certificate(OTHER)})
    context = server_of(
        tickets, alpn=("h2",), client_authorities=AUTHORITY.pem, find=lambda name: None, challenges=answers
    )
    offers = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    offers.check_hostname, offers.verify_mode, offers.maximum_version = False, ssl.CERT_NONE, version
    offers.set_alpn_protocols(["acme-tls/1"])
    with running(Securing([], context), edge) as recorder:
        for _ in range(2):  # nothing is resumed
            with hand_shaken(offers, edge, "q.example") as c:
                assert c.selected_alpn_protocol() == "acme-tls/1"
                assert c.getpeercert(True) == ssl.PEM_cert_to_DER_cert(OTHER.chain.decode())
        eventually(lambda: len(recorder.secure) == 2)
        assert [facts[2:5] for facts in recorder.secure] == [(b"acme-tls/1", b"q.example", False)] * 2
        for name in ("other.example", None):
            with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
                hand_shaken(offers, edge, name)
        answers.set_answers({})
        with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name|no application protocol"):
            hand_shaken(offers, edge, "q.example")


@pytest.mark.parametrize(
    ("offers", "agreed"), [(["http/1.1", "h2"], "h2"), (["http/1.1"], "http/1.1"), ([], None), (["smtp"], ssl.SSLError)]
)
def test_alpn(tickets, edge, origin, offers, agreed):
    context = trusting()
    if offers:
        context.set_alpn_protocols(offers)
    with running(Securing([target(origin)], server_of(tickets, alpn=("h2", "http/1.1"))), edge) as recorder:
        if agreed is ssl.SSLError:
            with pytest.raises(ssl.SSLError, match=r"(?i)no application protocol"):
                hand_shaken(context, edge)
        else:
            with hand_shaken(context, edge) as c:
                assert c.selected_alpn_protocol() == agreed
        eventually(lambda: recorder.reports)
    if agreed is not ssl.SSLError:
        assert recorder.secure[0][2] == (agreed or "").encode()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_any_worker_resumes_a_session_while_it_has_the_key(edge, origin, version):
    """Three relays, as workers are: the second has the same keys, the third has others, as after many rotations."""
    keys = [secrets.token_bytes(KEY_BYTES) for _ in range(3)]
    relays = []
    for known in ([keys[0]], [keys[1], keys[0]], [keys[2]]):
        held = TicketKeys()
        held.set_keys(known)
        relays.append(Securing([target(origin)], server_of(held)))
    context, session, resumed = trusting(maximum_version=version), None, []
    for recorder in relays:
        add(recorder, edge)
        with in_thread(recorder.loop):
            with hand_shaken(context, edge, session=session) as c:
                o, _ = origin.accept()
                with o:
                    o.sendall(b"x")
                    c.recv(1)  # brings the tickets of TLS 1.3
                resumed.append(c.session_reused)
                session = c.session
            eventually(lambda recorder=recorder: recorder.reports)
        recorder.relay.remove_listener(0, False)
    assert resumed == [False, True, False]
    assert [recorder.secure[0][4] for recorder in relays] == resumed


def test_a_session_of_another_context_is_not_resumed(tickets, edge, origin):
    """Else a session begun without a certificate would be taken where one is asked for."""
    context, session = trusting(), None
    for name in (b"one", b"other"):
        recorder = Securing([target(origin)], ServerContext(name, (certificate(EC),), tickets))
        add(recorder, edge)
        with in_thread(recorder.loop):
            with hand_shaken(context, edge, session=session) as c:
                o, _ = origin.accept()
                with o:
                    o.sendall(b"x")
                    c.recv(1)
                assert not c.session_reused
                session = c.session
            eventually(lambda recorder=recorder: recorder.reports)
        recorder.relay.remove_listener(0, False)


@pytest.mark.parametrize(
    ("shown", "must", "gets_in"),
    [(CLIENT, True, True), (None, True, False), (None, False, True), (STRANGER, False, False)],
    ids=["verified", "none, required", "none, optional", "of another authority"],
)
def test_certificates_of_clients(tickets, edge, origin, shown, must, gets_in):
    context = trusting(maximum_version=ssl.TLSVersion.TLSv1_2)  # a 1.3 client learns of it after its handshake
    if shown:
        _load(context, shown)
    server = server_of(tickets, client_authorities=AUTHORITY.pem, client_must=must)
    with running(Securing([target(origin)], server), edge) as recorder:
        if gets_in:
            with hand_shaken(context, edge):
                origin.accept()[0].close()
        else:
            with pytest.raises(ssl.SSLError):
                hand_shaken(context, edge)
        eventually(lambda: recorder.reports)
    if gets_in:
        assert recorder.secure[0][5] == (b"alice" if shown else None)
    else:
        assert recorder.insecurities[0][1] in ("peer did not return a certificate", _DISTRUST)


_DISTRUST = "unable to get local issuer certificate"


def test_staples_are_sent_on_request(tickets, edge, require):
    require("openssl")
    with listening() as origin, running(Securing([target(origin)], server_of(tickets)), edge):
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{edge.getsockname()[1]}", "-status"]
        shown = subprocess.run(command, input=b"", capture_output=True, timeout=20).stdout.decode()
    assert "OCSP Response Status: successful" in shown
    assert "Cert Status: good" in shown


# --- origins ----------------------------------------------------------------------------------------------------------


class Origin:
    """A TLS server that echoes, and counts resumed sessions."""

    def __init__(self, issued, **options):
        self.context = serving(issued, **options)
        self.sock = listening()
        self.firsts = []
        self.resumed = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.sock.accept()
                with contextlib.suppress(OSError, ssl.SSLError):
                    sock.settimeout(5)
                    self.firsts.append(sock.recv(5))  # the header, before TLS
                    with self.context.wrap_socket(sock, server_side=True) as tls:
                        self.resumed.append((tls.session_reused, tls.selected_alpn_protocol(), tls.getpeercert()))
                        tls.sendall(b"hello ")
                        while data := tls.recv(65536):
                            tls.sendall(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self.thread.join()


def origin_tls(verifies=True, name="a.example", is_address=False, **options):
    if verifies:
        options.setdefault("authorities", AUTHORITY.pem)
    return TlsPeer(ClientContext(verifies, **options), name, is_address)


def asked(recorder, edge, question, context=None):
    """What the origin says; the header goes before its TLS."""
    with hand_shaken(context or trusting(), edge) as c, contextlib.suppress(ConnectionResetError, ssl.SSLError):
        c.sendall(question)
        got = b""
        while len(got) < len(question) + 6:
            data = c.recv(65536)
            if not data:
                return None
            got += data
        return got
    return None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_to_the_origin_behind_the_header_and_resumed(tickets, edge, version):
    with Origin(EC, maximum_version=version) as origin:
        way = target(origin.sock, tls=origin_tls())
        with running(Securing([way], server_of(tickets), header=b"HEAD "), edge) as recorder:
            for _ in range(3):
                assert asked(recorder, edge, b"question") == b"hello question"
            eventually(lambda: len(recorder.reports) == 3)
    assert origin.firsts == [b"HEAD "] * 3
    assert [resumed for resumed, _, _ in origin.resumed] == [False, True, True]
    assert recorder.origins[0][0] == (b"TLSv1.3" if version == ssl.TLSVersion.TLSv1_3 else b"TLSv1.2")
    assert all(outcome == Outcome.EOF_CLIENT for outcome, _ in recorder.outcomes())
    assert way.take_connected() == 3


@pytest.mark.parametrize(
    ("tls", "issued", "reason"),
    [
        (origin_tls(), EC, None),
        (origin_tls(name="127.0.0.1", is_address=True), EC, None),
        (origin_tls(), STRANGER, _DISTRUST),
        (origin_tls(False), STRANGER, None),
        (origin_tls(name="c.example"), EC, "hostname mismatch"),
        (origin_tls(name="127.0.0.9", is_address=True), EC, "IP address mismatch"),
        (origin_tls(versions=("1.3", "1.3")), EC, "tlsv1 alert protocol version"),
    ],
    ids=["name", "address", "stranger", "stranger, unverified", "other name", "other address", "version"],
)
def test_certificates_of_origins(tickets, edge, tls, issued, reason):
    version = ssl.TLSVersion.TLSv1_2 if reason and "version" in reason else ssl.TLSVersion.TLSv1_3
    with Origin(issued, maximum_version=version) as origin:
        way = target(origin.sock, tls=tls)
        with running(Securing([way], server_of(tickets), header=b"HEAD "), edge) as recorder:
            assert asked(recorder, edge, b"question") == (b"hello question" if reason is None else None)
            eventually(lambda: recorder.reports)
    if reason is not None:
        code = errno.EPROTO if "version" in reason else errno.EKEYREJECTED
        assert recorder.outcomes() == [(Outcome.CONNECT_FAILED, code)]
        assert recorder.failures == [(way.port, code)]
        assert recorder.insecurities == [(1, reason)]
        assert (recorder.reports[0][5], recorder.reports[0][7]) == (way, 0)
        assert way.take_connected() == 0


@pytest.mark.parametrize("leave", [reset, socket.socket.close], ids=["reset", "close"])
def test_an_origin_that_leaves_during_its_handshake(tickets, edge, origin, leave):
    way = target(origin, tls=origin_tls())

    def answer():
        sock, _ = origin.accept()
        assert sock.recv(1) == b"\x16"
        sock.recv(65536)  # unread bytes would make a reset of the close
        leave(sock)

    thread = threading.Thread(target=answer)
    thread.start()
    with running(Securing([way], server_of(tickets)), edge) as recorder:
        assert asked(recorder, edge, b"question") is None
        eventually(lambda: recorder.reports)
    thread.join()
    assert recorder.outcomes() == [(Outcome.CONNECT_FAILED, errno.EPROTO)]
    assert recorder.failures == [(way.port, errno.EPROTO)]
    assert recorder.insecurities == [(1, "the origin left")]
    assert recorder.reports[0][5] is way


def test_an_origin_without_a_handshake_is_followed_by_the_next_one(tickets, edge):
    """One that speaks in clear, one that says nothing, then one that does."""
    with Origin(EC) as good, listening() as mute, listening() as clear:

        def answer():
            sock, _ = clear.accept()
            with sock:
                sock.recv(1000)
                sock.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        ways = [target(sock, tls=origin_tls()) for sock in (clear, mute, good.sock)]
        options = {"header": b"HEAD ", "connect_timeout_ms": 900}
        with running(Securing(ways, server_of(tickets), **options), edge) as recorder:
            assert asked(recorder, edge, b"question") == b"hello question"
            eventually(lambda: recorder.reports)
        thread.join()
    assert [error for _, error in recorder.failures] == [errno.EPROTO, errno.ETIMEDOUT]
    assert [way.take_connected() for way in ways] == [0, 0, 1]


def test_the_origin_is_offered_what_the_client_agreed_on_and_shown_a_certificate(tickets, edge):
    context = trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with Origin(EC, verify_mode=ssl.CERT_REQUIRED) as origin:
        origin.context.load_verify_locations(cadata=AUTHORITY.pem.decode())
        origin.context.set_alpn_protocols(["http/1.1", "h2"])
        way = target(origin.sock, tls=origin_tls(certificate=certificate(CLIENT), alpn=("http/1.1",)))
        server = server_of(tickets, alpn=("h2",))
        with running(Securing([way], server, header=b"HEAD "), edge) as recorder:
            assert asked(recorder, edge, b"question", context) == b"hello question"
            assert asked(recorder, edge, b"question") == b"hello question"  # this one agreed on nothing
            eventually(lambda: len(recorder.reports) == 2)
    assert [protocol for _, protocol, _ in origin.resumed] == ["h2", "http/1.1"]
    assert origin.resumed[0][2]["subject"] == ((("commonName", "alice"),),)


def test_closing_an_engine_amid_handshakes_leaves_nothing(tickets, edge):
    with listening() as mute:
        recorder = Securing([target(mute, tls=origin_tls())], server_of(tickets))
        add(recorder, edge)
        with recorder.running():
            half = client(edge)
            half.sendall(b"\x16\x03\x01\x02\x00")
            whole = hand_shaken(trusting(), edge)
            accepted, _ = mute.accept()
            eventually(lambda: recorder.relay.active == 2)
        recorder.relay.close_sessions(7)
        assert recorder.outcomes() == [(Outcome.CLOSED, 7)] * 2
        for sock in (half, whole, accepted):
            sock.close()


def test_a_handshake_is_not_begun_for_a_client_that_is_gone(tickets, edge, origin):
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        trusting().wrap_bio(into, out, server_hostname="a.example").do_handshake()
    recorder = Securing([target(origin)], server_of(tickets))
    add(recorder, edge)
    with client(edge) as c:
        recorder.loop.process()
        c.sendall(out.read())
        reset(c)
        recorder.loop.process()
    assert recorder.outcomes() == [(Outcome.HANDSHAKE_FAILED, 0)]
    assert recorder.insecurities == [(0, "the client left")]


def test_a_handshake_with_an_origin_ends_with_the_client(edge, origin):
    recorder = Recorder([target(origin, tls=TlsPeer(ClientContext(False), "a.example", False))])
    with running(recorder, edge), client(edge) as c, origin.accept()[0] as o:
        assert o.recv(1) == b"\x16"  # a ClientHello, which stays without an answer
        reset(c)
        eventually(lambda: recorder.reports)
    assert recorder.outcomes() == [(Outcome.ERROR_CLIENT, errno.ECONNRESET)]
    assert recorder.failures == []


def test_a_handshake_with_an_origin_is_not_delayed(edge, origin):
    recorder = Recorder([target(origin, tls=TlsPeer(ClientContext(False), "a.example", False))])
    with running(recorder, edge), client(edge) as c:
        o, address = origin.accept()
        with o, engine_socket(address) as leg:
            assert o.recv(1) == b"\x16"
            assert leg.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            reset(c)
            eventually(lambda: recorder.reports)


def test_handshakes_alone_may_hold_what_is_too_much(tickets, edge, origin):
    """The server's flight is longer than the kernel takes, and nothing is relayed yet."""
    issued = AUTHORITY.issue("a.example")
    issued.chain *= 200
    edge.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    recorder = Securing([target(origin)], server_of(tickets, issued), max_held_bytes=1000)
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        trusting().wrap_bio(into, out, server_hostname="a.example").do_handshake()
    with running(recorder, edge), narrow_client(edge) as c:
        c.sendall(out.read())
        eventually(lambda: recorder.reports)
    assert recorder.outcomes() == [(Outcome.NO_MEMORY, 0)]
    assert recorder.relay.held_bytes == 0
