"""The http and https monitors: status code and body as expected, over a connection to the origin's own address."""

import asyncio
import ssl
import time
from functools import lru_cache
from urllib.parse import urljoin, urlsplit

import h11

from spectrum import __version__
from spectrum.core.balancing.health import ProbeResult
from spectrum.plane.probes.target import ProbeFailure, ProbeTarget, connect

# What is looked at of a body. Cloudflare's documentation names both 10 KB and 100 MB; a health page is short.
MAX_BODY_BYTES = 102_400
MAX_REDIRECTS = 5
READ_BYTES = 16_384


async def probe(target: ProbeTarget) -> ProbeResult:
    """Probe once. The round trip is from the first packet to the end of the answer.

    Raises:
        OSError: If it can not be connected.
        ProbeFailure: If the answer is not as expected.
    """
    began, path, expires = time.monotonic(), target.monitor.path, 0.0
    for _ in range(MAX_REDIRECTS + 1):
        code, headers, body, expires = await _fetch(target, path)
        if not (target.monitor.follow_redirects and code in (301, 302, 303, 307, 308)):
            break
        path = _redirected(target, path, headers)
    else:
        raise ProbeFailure(f"more than {MAX_REDIRECTS} redirects", code)
    if not any(low <= code <= high for low, high in target.monitor.expected_codes):
        raise ProbeFailure(f"status {code}", code)
    if target.monitor.expected_body.lower() not in body.decode("utf-8", "replace").lower():
        raise ProbeFailure("the body is not as expected", code)
    return ProbeResult(True, rtt_s=time.monotonic() - began, code=code, certificate_expires=expires)


def _host(target: ProbeTarget) -> str:
    """The Host header: the origin's own, the monitor's, or the address."""
    given = next((value for name, value in target.monitor.header if name.lower() == "host"), "")
    if host := target.host or given:
        return host
    address = target.name or (f"[{target.address}]" if ":" in target.address else target.address)
    usual = 443 if target.monitor.type == "https" else 80
    return address if target.port == usual else f"{address}:{target.port}"


def _redirected(target: ProbeTarget, path: str, headers: dict[str, str]) -> str:
    """The path of a redirect. Only the same host and scheme are followed: it is this origin that is probed."""
    here = f"{target.monitor.type}://{_host(target)}{path}"
    there = urlsplit(urljoin(here, headers.get("location", "")))
    if (there.scheme, there.netloc) != (target.monitor.type, _host(target)):
        raise ProbeFailure(f"redirected elsewhere, to {there.scheme}://{there.netloc}")
    return (there.path or "/") + (f"?{there.query}" if there.query else "")


async def _fetch(target: ProbeTarget, path: str) -> tuple[int, dict[str, str], bytes, float]:
    """Return status, headers, the beginning of the body, and when the certificate expires."""
    sock, _ = await connect(target)
    try:
        if target.monitor.type == "https":
            context = _context(target.monitor.allow_insecure)
            server = target.monitor.sni or urlsplit(f"//{_host(target)}").hostname or target.address
            reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=server)
        else:
            reader, writer = await asyncio.open_connection(sock=sock)
    except ssl.SSLError as exc:
        why = getattr(exc, "verify_message", "") or (exc.reason or str(exc)).lower().replace("_", " ")
        raise ProbeFailure(f"tls: {why}") from exc
    except BaseException:
        sock.close()
        raise
    try:
        return *await _exchange(target, path, reader, writer), _expiry(writer)
    except h11.ProtocolError as exc:
        raise ProbeFailure(f"no HTTP: {exc}") from exc
    finally:
        # Not `close`, which would wait for the other end of TLS.
        writer.transport.abort()


async def _exchange(
    target: ProbeTarget, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[int, dict[str, str], bytes]:
    connection = h11.Connection(h11.CLIENT)
    own = {name.lower() for name, _ in target.monitor.header}
    headers = [("Host", _host(target))]
    headers += [(name, value) for name, value in target.monitor.header if name.lower() != "host"]
    if "user-agent" not in own:
        headers.append(("User-Agent", f"spectrum-monitor/{__version__}"))
    headers.append(("Connection", "close"))
    request = h11.Request(method=target.monitor.method or "GET", target=path, headers=headers)
    writer.write((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
    code, answered, body = 0, {}, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(READ_BYTES))
        elif isinstance(event, h11.Response):
            code = event.status_code
            answered = {name.decode().lower(): value.decode("latin-1") for name, value in event.headers}
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
            if len(body) >= MAX_BODY_BYTES:
                break
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            break
    if not code:
        raise ProbeFailure("closed before it answered")
    return code, answered, body


@lru_cache(maxsize=2)
def _context(insecure: bool) -> ssl.SSLContext:
    """Trust what the machine trusts; with `insecure` anybody."""
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
