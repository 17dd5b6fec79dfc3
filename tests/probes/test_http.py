import asyncio
import datetime
import ssl
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from spectrum.core.balancing.objects import Monitor
from spectrum.probes import http
from spectrum.probes.prober import Prober
from spectrum.probes.target import ProbeFailure, ProbeTarget
from tests.probes.servers import http_answer, saying, serving, silent, target


async def fail(probed):
    with pytest.raises(ProbeFailure) as caught:
        await http.probe(probed)
    return str(caught.value), caught.value.code


@pytest.fixture
async def prober():
    made = Prober(lambda *_: None, lambda: 1024)
    yield made
    await made.stop()


def answering(*answers, asked=None):
    """A server that gives one answer per connection, and keeps the requests."""
    left = list(answers)

    async def handle(reader, writer):
        request = await reader.readuntil(b"\r\n\r\n")
        if asked is not None:
            asked.append(request.decode())
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        await writer.drain()

    return handle


@pytest.mark.parametrize(
    ("answer", "monitor", "failure"),
    [
        (http_answer(), {}, None),
        (http_answer("204 No Content", b""), {"expected_codes": "2xx"}, None),
        (http_answer("404 Not Found"), {}, ("status 404", 404)),
        (http_answer("404 Not Found"), {"expected_codes": "200,404"}, None),
        (http_answer(body=b"All is WELL here"), {"expected_body": "all is well"}, None),
        (http_answer(body=b"ill"), {"expected_body": "well"}, ("the body is not as expected", 200)),
        (http_answer("302 Found", headers=[("Location", "/x")]), {}, ("status 302", 302)),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", {"expected_body": "the end"}, None),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwell\r\n0\r\n\r\n",
            {"expected_body": "well"},
            None,
        ),
        (http_answer(body=b"x" * 300_000), {}, None),
    ],
)
async def test_answers(answer, monitor, failure):
    async with serving(answering(answer)) as port:
        probed = target(port, type="http", **monitor)
        if failure:
            assert await fail(probed) == failure
        else:
            result = await http.probe(probed)
            assert result.ok
            assert result.code
            assert result.rtt_s > 0


@pytest.mark.parametrize("words", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 banana\r\n\r\n"])
async def test_no_http(words):
    async with serving(answering(words)) as port:
        assert (await fail(target(port, type="http")))[0].startswith("no HTTP: ")


async def test_closed_without_an_answer():
    async def handle(reader, writer):
        await reader.read(1000)

    async with serving(handle) as port:
        reason, _ = await fail(target(port, type="http"))
        assert "no HTTP" in reason or "closed" in reason


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ({}, "127.0.0.1:{port}"),
        ({"name": "b.example"}, "b.example:{port}"),
        ({"name": "b.example", "header": {"Host": "monitor.example"}}, "monitor.example"),
        ({"host": "origin.example", "header": {"Host": "monitor.example"}}, "origin.example"),
    ],
)
async def test_what_is_asked(given, host):
    asked = []
    own = given.get("header", {})
    options = {key: value for key, value in given.items() if key != "header"}
    async with serving(answering(http_answer(), asked=asked)) as port:
        body = {"type": "http", "method": "HEAD", "path": "/health?x=1", "header": own | {"X-Y": ["1", "2"]}}
        await http.probe(ProbeTarget(Monitor.model_validate(body), "127.0.0.1", port, **options))
    lines = asked[0].split("\r\n")
    assert lines[0] == "HEAD /health?x=1 HTTP/1.1"
    assert f"Host: {host.format(port=port)}" in lines
    assert lines.count("X-Y: 1") == lines.count("X-Y: 2") == 1
    assert any(line.startswith("User-Agent: spectrum-monitor/") for line in lines)


@pytest.mark.parametrize(
    ("locations", "failure"),
    [
        (["/other"], None),
        (["other", "/third?y"], None),
        (["https://elsewhere.example/"], ("redirected elsewhere, to https://elsewhere.example", 0)),
        (["/a"] * 9, ("more than 5 redirects", 302)),
    ],
)
async def test_redirects(locations, failure):
    asked = []
    answers = [http_answer("302 Found", headers=[("Location", where)]) for where in locations]
    async with serving(answering(*answers, http_answer(), asked=asked)) as port:
        probed = target(port, type="http", follow_redirects=True)
        if failure:
            assert await fail(probed) == failure
        else:
            assert (await http.probe(probed)).ok
            assert [request.split()[1] for request in asked][1:] == ["/other", "/third?y"][: len(locations)]


async def test_the_header_of_the_app_comes_before_http():
    asked = []
    async with serving(answering(http_answer(), asked=asked)) as port:
        await http.probe(target(port, type="http", header="v1"))
    assert asked[0].startswith("PROXY TCP4 127.0.0.1 127.0.0.1 ")


async def test_silence_is_bounded_by_the_caller():
    async with serving(silent) as port:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(http.probe(target(port, type="http")), 0.1)


# --- answers of every kind ------------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\n"
FOUND = b"HTTP/1.1 302 Found\r\n"
FOLLOW = {"follow_redirects": True}
ENDLESS = OK + b"Content-Type: text/event-stream\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
WEBSOCKET = {"header": {"Upgrade": ["websocket"], "Connection": ["Upgrade"]}}
GZIPPED = OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"
WELL = {"expected_body": "well"}
SILENCE = "no answer within 0.4 s"
BROKEN = "the body is cut short or malformed"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"

# What is sent first, what then again and again (None: close; b"": silence), how the monitor differs, the failure.
RAW = {
    "no body at all": (OK + b"Content-Length: 10\r\n\r\n", b"", {}, ""),
    "a body that never ends": (ENDLESS, b"data: x\n\n", {}, ""),
    "a body that is cut": (OK + b"Content-Length: 200\r\n\r\nok", None, {}, ""),
    "the text is there, the body goes on": (ENDLESS + b"all we", b"ll", WELL, ""),
    "the text is there, then silence": (OK + b"Content-Length: 99\r\n\r\nWELL", b"", WELL, ""),
    "the text, byte by byte": (CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in b"all well"), b"", WELL, ""),
    "text wanted, silence": (OK + b"Content-Length: 9\r\n\r\nwe", b"", WELL, SILENCE),
    "text wanted, cut": (OK + b"Content-Length: 9\r\n\r\nwe", None, WELL, BROKEN),
    "text wanted, no end": (ENDLESS, b"x" * 4000, WELL, "the body is not as expected"),
    "text wanted, empty chunks": (CHUNKED, b"1\r\nx\r\n" * 600, WELL, "no end within 262144 bytes"),
    "text wanted, chunks of nothing": (CHUNKED + b"0\r\n", b"X: y\r\n" * 500, WELL, BROKEN),
    "text wanted, no chunk": (CHUNKED, b"pear\r\n", WELL, BROKEN),
    "text wanted, gzip": (GZIPPED, b"", WELL, "the body is not as expected"),
    "gzip": (GZIPPED, b"", {}, ""),
    "101": (SWITCH, b"", WEBSOCKET, "status 101"),
    "101 wanted": (SWITCH, b"\x81\x05hello", WEBSOCKET | {"expected_codes": "101"}, ""),
    "101 that nobody asked for": (SWITCH, b"", {}, "no HTTP"),
    "100 first": (INTERIM + OK + b"\r\n", b"", {}, ""),
    "100 only": (b"HTTP/1.1 100 Continue\r\n\r\n", b"", {}, SILENCE),
    "100 for ever": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99, {}, "more than 20 interim answers"),
    "headers for ever": (OK, b"X-Y: 1234567890\r\n" * 99, {}, "no HTTP"),
    "one header for ever": (OK + b"X: ", b"y" * 4000, {}, "no HTTP"),
    "garbage": (b"", bytes(range(256)), {}, "no HTTP"),
    "blank lines": (b"", b"\r\n" * 2000, {}, "no HTTP"),
    "HTTP/0.9": (b"<html>well</html>", None, {}, "no HTTP"),
    "two lengths": (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", b"", {}, "no HTTP"),
    "rubbish behind the answer": (OK + b"Content-Length: 4\r\n\r\nwell" + b"\0" * 99, b"\xff" * 4000, WELL, ""),
    "closed at once": (b"", None, {}, "no HTTP"),
    "silence": (b"", b"", {}, SILENCE),
    "half a status line": (b"HTTP/1.1 20", None, {}, "no HTTP"),
    "no URL": (FOUND + b"Location: http://[\r\n\r\n", b"", FOLLOW, "redirected to"),
    "no location": (FOUND + b"\r\n", b"", FOLLOW, "more than 5 redirects"),
    "a location with spaces": (FOUND + b"Location: /a b\xe4\r\n\r\n", b"", FOLLOW, "more than 5"),
    "a request that is none": (OK, b"", {"header": {"Content-Length": ["5"]}}, "the monitor's request is not valid"),
}  # fmt: skip


async def longest_hold(task):
    """Return the longest processor time in seconds for which nobody else was served while a task ran."""
    longest = 0.0
    while not task.done():
        before = time.thread_time()
        await asyncio.sleep(0)
        longest = max(longest, time.thread_time() - before)
    return longest


@pytest.mark.parametrize("name", RAW)
async def test_each_answer_gets_its_verdict_in_time_and_holds_nobody(name, prober):
    first, again, monitor, failure = RAW[name]

    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(first)
        while again:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(0.0001)
        if again is not None:
            await reader.read()

    async with serving(handle) as port:
        given = {"type": "http", "retries": 0, "timeout": 0.4 if failure == SILENCE else 20, **monitor}
        probed = ProbeTarget(Monitor.model_validate(given), "127.0.0.1", port)
        task = asyncio.get_running_loop().create_task(prober.probe(probed))
        held_s = await longest_hold(task)
        result = task.result()
    assert (result.ok, result.reason.startswith(failure)) == (not failure, True), result
    assert result.reason == "" or failure
    assert held_s < 0.5


@pytest.mark.parametrize(
    ("wanted", "pieces"),
    [
        ("well", [b"w", b"el", b"l"]),
        ("WELL", [b"xxwellxx"]),
        ("straße", [b"STRASSE"]),
        ("grün", [b"gr\xc3", b"\xbcn"]),
        ("x", [b"", b"\xffX"]),
    ],
)
def test_a_text_is_found_in_whatever_pieces_it_comes(wanted, pieces):
    text = http._Text(wanted)
    assert [text.is_in(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]


# --- https ------------------------------------------------------------------------------------------------------------


def certificate(folder, name, days):
    """A self-signed certificate for `name` that ends in so many days; a server's context with it, and its file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=99))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    return context, path


@pytest.fixture
def trusting(monkeypatch):
    """Let probes trust a certificate."""

    def trust(path):
        context = ssl.create_default_context(cafile=path)
        monkeypatch.setattr(http, "_context", lambda insecure: insecure_context() if insecure else context)

    def insecure_context():
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    return trust


async def test_a_trusted_certificate(tmp_path, trusting):
    context, path = certificate(tmp_path, "a.example", 30)
    trusting(path)
    asked = []
    async with serving(answering(http_answer(), asked=asked), ssl=context) as port:
        result = await http.probe(target(port, type="https", host="a.example"))
        assert result.certificate_expires == pytest.approx(time.time() + 30 * 86400, abs=60)
        assert (await http.probe(target(port, type="https", sni="a.example"))).ok
        assert "Host: 127.0.0.1" in asked[1]
        assert "mismatch" in (await fail(target(port, type="https", host="b.example")))[0]


async def test_certificates_that_are_not_trusted(tmp_path):
    context, _ = certificate(tmp_path, "a.example", 30)
    async with serving(answering(http_answer()), ssl=context) as port:
        assert (await fail(target(port, type="https", host="a.example")))[0] == "tls: self-signed certificate"
        result = await http.probe(target(port, type="https", host="a.example", allow_insecure=True))
        assert result.certificate_expires == pytest.approx(time.time() + 30 * 86400, abs=60)


async def test_an_expired_certificate(tmp_path, trusting):
    context, path = certificate(tmp_path, "a.example", -1)
    trusting(path)
    async with serving(answering(http_answer()), ssl=context) as port:
        assert (await fail(target(port, type="https", host="a.example")))[0] == "tls: certificate has expired"
        result = await http.probe(target(port, type="https", host="a.example", allow_insecure=True))
        assert result.certificate_expires < time.time()


async def test_no_tls_at_all():
    async with serving(saying(b"220 no TLS here\r\n")) as port:
        assert (await fail(target(port, type="https")))[0].startswith("tls: ")
