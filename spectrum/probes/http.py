"""The http and https monitors: expected status code and body, over a connection to the origin's own address.

h11 parses the answer; a client library that connects by itself could not send a PROXY header before HTTP and TLS. The
probe ends as soon as the result is certain: by the status line and headers, or by the first part of the body that
contains the expected text.
"""

import asyncio
import codecs
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from urllib.parse import quote, urljoin, urlsplit

import h11

from spectrum import __version__
from spectrum.core.balancing.health import ProbeResult
from spectrum.probes.target import ProbeFailure, ProbeTarget, connect

# The part of a body that is searched. Cloudflare's documentation has both 10 KB and 100 MB; a health page is short.
MAX_BODY_BYTES = 102_400
# The limit of bytes that are read, whatever the encoding (chunks of one byte with extensions are 100 times the body).
MAX_READ_BYTES = 262_144
MAX_REDIRECTS = 5
# 100 and 103 before the answer (RFC 9110, section 15.2). curl accepts any number; servers send few.
MAX_INTERIM_ANSWERS = 20
# h11 takes 5 us per event: this many bytes in chunks of one byte block the loop for about 5 ms.
READ_BYTES = 4096
# RFC 3986, section 2.2, and the percent sign of quoted characters.
_URL_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"


async def probe(target: ProbeTarget) -> ProbeResult:
    """Probe once. The round trip is from the first packet to the verdict.

    Raises:
        OSError: If it cannot connect.
        ProbeFailure: If the answer is not as expected.
    """
    began, path = time.monotonic(), target.monitor.path
    for _ in range(MAX_REDIRECTS + 1):
        async with _connection(target) as (reader, writer):
            expires = _expiry(writer)
            answer = _Answer(target, reader)
            writer.write(answer.request(path))
            code = await answer.code()
            if not (target.monitor.follow_redirects and code in (301, 302, 303, 307, 308)):
                if not any(low <= code <= high for low, high in target.monitor.expected_codes):
                    raise ProbeFailure(f"status {code}", code)
                if target.monitor.expected_body:
                    await answer.find(target.monitor.expected_body)
                return ProbeResult(True, rtt_s=time.monotonic() - began, code=code, certificate_expires=expires)
            path = _redirected(target, path, answer.location)
    raise ProbeFailure(f"more than {MAX_REDIRECTS} redirects", code)


def _host(target: ProbeTarget) -> str:
    """Return the Host header: the origin's own, the monitor's, or the address."""
    given = next((value for name, value in target.monitor.header if name.lower() == "host"), "")
    if host := target.host or given:
        return host
    address = target.name or (f"[{target.address}]" if ":" in target.address else target.address)
    usual = 443 if target.monitor.type == "https" else 80
    return address if target.port == usual else f"{address}:{target.port}"


def _redirected(target: ProbeTarget, path: str, location: str) -> str:
    """Return the path of a redirect. Only the same host and scheme are followed: the probe is of this origin."""
    here = f"{target.monitor.type}://{_host(target)}{path}"
    try:
        there = urlsplit(urljoin(here, location))
    except ValueError as exc:
        raise ProbeFailure(f"redirected to {location[:60]!r}, which is no URL") from exc
    if (there.scheme, there.netloc) != (target.monitor.type, _host(target)):
        raise ProbeFailure(f"redirected elsewhere, to {there.scheme}://{there.netloc}")
    asked = (there.path or "/") + (f"?{there.query}" if there.query else "")
    return quote(asked.encode("latin-1", "replace"), safe=_URL_CHARACTERS)


@asynccontextmanager
async def _connection(target: ProbeTarget) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Return a context with a connection for HTTP; it is aborted at the end."""
    sock, _ = await connect(target)
    try:
        if target.monitor.type == "https":
            context = _context(target.monitor.allow_insecure)
            server = target.monitor.sni or urlsplit(f"//{_host(target)}").hostname or target.address
            reader, writer = await asyncio.open_connection(
                sock=sock, ssl=context, server_hostname=server, limit=READ_BYTES
            )
        else:
            reader, writer = await asyncio.open_connection(sock=sock, limit=READ_BYTES)
    except ssl.SSLError as exc:
        why = getattr(exc, "verify_message", "") or (exc.reason or str(exc)).lower().replace("_", " ")
        raise ProbeFailure(f"tls: {why}") from exc
    except BaseException:
        sock.close()
        raise
    try:
        yield reader, writer
    except h11.RemoteProtocolError as exc:
        raise ProbeFailure(f"no HTTP: {exc}") from exc
    except h11.LocalProtocolError as exc:
        raise ProbeFailure(f"the monitor's request is not valid HTTP: {exc}") from exc
    finally:
        # Not `close`, which would wait for the other end of TLS.
        writer.transport.abort()


class _Answer:
    """A request and its answer, which is read only as far as needed."""

    def __init__(self, target: ProbeTarget, reader: asyncio.StreamReader) -> None:
        self._target = target
        self._reader = reader
        self._connection = h11.Connection(h11.CLIENT)
        self._read_bytes = 0
        self._code = 0
        self.location = ""

    def request(self, path: str) -> bytes:
        """Return the bytes of the request."""
        monitor = self._target.monitor
        own = {name.lower() for name, _ in monitor.header}
        headers = [("Host", _host(self._target))]
        headers += [(name, value) for name, value in monitor.header if name.lower() != "host"]
        if "user-agent" not in own:
            headers.append(("User-Agent", f"spectrum-monitor/{__version__}"))
        if "connection" not in own:  # a monitor of a WebSocket has one
            headers.append(("Connection", "close"))
        request = h11.Request(method=monitor.method or "GET", target=path, headers=headers)
        sent = self._connection.send(request), self._connection.send(h11.EndOfMessage())
        return b"".join(part or b"" for part in sent)

    async def _next(self) -> object:
        """Return the next event; after each read other tasks run, however fast the origin sends."""
        while (event := self._connection.next_event()) is h11.NEED_DATA:
            if self._read_bytes >= MAX_READ_BYTES:
                raise ProbeFailure(f"no end within {MAX_READ_BYTES} bytes", self._code)
            data = await self._reader.read(READ_BYTES)
            await asyncio.sleep(0)
            self._read_bytes += len(data)
            self._connection.receive_data(data)
        return event

    async def code(self) -> int:
        """Return the status code, after the headers of the final answer; 101 is final."""
        for _ in range(MAX_INTERIM_ANSWERS + 1):
            event = await self._next()
            if not isinstance(event, h11.Response | h11.InformationalResponse):
                raise ProbeFailure("closed before it answered")
            if event.status_code == 101 or isinstance(event, h11.Response):
                self._code = event.status_code
                self.location = next((v.decode("latin-1") for name, v in event.headers if name == b"location"), "")
                return self._code
        raise ProbeFailure(f"more than {MAX_INTERIM_ANSWERS} interim answers")

    async def find(self, wanted: str) -> None:
        """Read the body until it contains a text, ignoring case.

        Raises:
            ProbeFailure: If the body ends, or exceeds the limit, without it.
        """
        text, left = _Text(wanted), MAX_BODY_BYTES
        try:
            while left > 0 and isinstance(event := await self._next(), h11.Data):
                if text.is_in(bytes(event.data[:left])):
                    return
                left -= len(event.data)
        except h11.RemoteProtocolError as exc:
            raise ProbeFailure(f"the body is cut short or malformed: {exc}", self._code) from exc
        raise ProbeFailure("the body is not as expected", self._code)


class _Text:
    """Finds a text in a stream, ignoring case, without keeping the stream."""

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted.casefold()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._tail = ""

    def is_in(self, data: bytes) -> bool:
        """Return whether the text was found, `data` being the next bytes."""
        heard = self._tail + self._decoder.decode(data).casefold()
        self._tail = heard[max(0, len(heard) - len(self._wanted) + 1) :]
        return self._wanted in heard


@lru_cache(maxsize=2)
def _context(insecure: bool) -> ssl.SSLContext:
    """Return a context that trusts the machine's authorities; with `insecure` it verifies nothing."""
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _expiry(writer: asyncio.StreamWriter) -> float:
    tls = writer.get_extra_info("ssl_object")
    certificate = tls.getpeercert(binary_form=True) if tls else None
    return _expires(certificate) if certificate else 0.0


@lru_cache(maxsize=4096)
def _expires(certificate: bytes) -> float:
    # 40 ms to import, and only https monitors need it.
    from cryptography.x509 import load_der_x509_certificate

    return load_der_x509_certificate(certificate).not_valid_after_utc.timestamp()
