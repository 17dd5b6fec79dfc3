"""The dashboard: its files, served from the API's own address, and its content security policy.

All files are read once, when the process starts; no other path is looked up. Files below `/static/DIGEST/` never
change, because the digest covers all of them: browsers cache them for a year, and request other paths after an
upgrade. They are public, without a token: they contain no secrets.
"""

import gzip
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

import spectrum
from spectrum.kernel.peers import Peer

FOLDER = Path(spectrum.__file__).parent / "dashboard" / "static"
# Only resources of this origin, no inline scripts, no frames, no form targets (CSP Level 3).
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "font-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
SECURITY = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# In the order of the stylesheet; files of parts and pages follow, by name.
FIRST_STYLES = ("tokens.css", "base.css", "layout.css", "table.css", "form.css")
# The first module of the page where a token is needed.
SIGN_IN = b"<html data-sign-in"
FIRST_MODULE = "js/main.js"
# A line of js/pages.js: path, label, group, module.
PAGE = re.compile(r"""^ *\['(/[^']*)', (?:null|'[^']*'), '[^']*', '([\w-]+)'\]""", re.MULTILINE)
IMPORT = re.compile(
    r"""^(?:import|export)\b[^;'"]*?from\s*['"](\.[^'"]+)['"]|^import\s*['"](\.[^'"]+)['"]""", re.MULTILINE
)
FOR_A_YEAR = "public, max-age=31536000, immutable"
# The browser revalidates.
ASK_AGAIN = "no-cache"
# Smaller files are not compressed.
MIN_GZIP_BYTES = 512


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is served.

    Attributes:
        body: Its bytes.
        packed: Its bytes compressed by gzip; empty where that saves nothing.
        kind: Its media type.
        tag: Its ETag, a strong one.
    """

    body: bytes
    packed: bytes
    kind: str
    tag: str


class Dashboard:
    """Serves the files of a folder.

    Args:
        folder: The folder with index.html, css and js.

    Attributes:
        digest: The digest of all files; part of the paths that index.html names.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        files = {str(path.relative_to(folder)): path.read_bytes() for path in _files(folder)}
        files["style.css"] = _stylesheet(files)
        self.digest = _digest(files)
        index = _index(files, self.digest)
        self._index = _asset("index.html", index)
        self._sign_in = _asset("index.html", index.replace(b"<html", SIGN_IN))
        self._assets = {name: _asset(name, data) for name, data in files.items() if name != "index.html"}

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the page and its files."""
        return [
            Route("/", _Endpoint(self, False), methods=["GET", "HEAD"], include_in_schema=False),
            Route("/static/{path:path}", _Endpoint(self, True), methods=["GET", "HEAD"], include_in_schema=False),
        ]

    def answer(self, path: str | None, headers: Mapping[str, str], is_trusted: bool = False) -> Response:
        """Return the answer to a request.

        Args:
            path: The path below /static/; None for the page itself.
            headers: The headers of the request.
            is_trusted: Whether the caller needs no token. Without trust, the page asks for one first.
        """
        if path is None:
            return _response(self._index if is_trusted else self._sign_in, ASK_AGAIN, headers)
        digest, _, rest = path.partition("/")
        is_fixed = digest == self.digest
        asset = self._assets.get(rest if is_fixed else path)
        if asset is None:
            return Response("There is no such file.\n", 404, SECURITY, "text/plain; charset=utf-8")
        return _response(asset, FOR_A_YEAR if is_fixed else ASK_AGAIN, headers)


class _Endpoint:
    """The handler of a route; a class, because Starlette calls functions with a request."""

    def __init__(self, dashboard: Dashboard, has_path: bool) -> None:
        self._dashboard = dashboard
        self._has_path = has_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path_params"]["path"] if self._has_path else None
        peer: Peer | None = scope.get("state", {}).get("peer")
        is_trusted = peer is not None and peer.is_trusted
        await self._dashboard.answer(path, Headers(scope=scope), is_trusted)(scope, receive, send)


def _files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in TYPES and path.is_file())


def _stylesheet(files: Mapping[str, bytes]) -> bytes:
    """Return all styles as one file: browsers load every stylesheet before they draw."""
    names = [name for name in files if name.endswith(".css")]
    first = [f"css/{name}" for name in FIRST_STYLES]
    ordered = [name for name in first if name in files] + sorted(set(names) - set(first))
    return b"\n".join(files[name] for name in ordered)


def _digest(files: Mapping[str, bytes]) -> str:
    found = hashlib.sha256()
    for name, data in sorted(files.items()):
        found.update(f"{name} {len(data)}\n".encode() + data)
    return found.hexdigest()[:16]


def _imported(files: Mapping[str, bytes], begins: Iterable[str]) -> list[str]:
    """Return modules, with their imports, recursively."""
    found: dict[str, None] = {}
    waiting = [name for name in begins if name in files]
    while waiting:
        name = waiting.pop()
        if name in found or name not in files:
            continue
        found[name] = None
        folder = Path("/", name).parent
        for match in IMPORT.finditer(files[name].decode()):
            waiting.append(os.path.normpath(folder / (match[1] or match[2])).lstrip("/"))
    return sorted(found)


def _pages(files: Mapping[str, bytes], known: frozenset[str]) -> list[tuple[list[str], list[str]]]:
    """Return the paths of each page's module, and the addresses of what it imports beside known modules."""
    paths: dict[str, list[str]] = {}
    for path, module in PAGE.findall(files.get("js/pages.js", b"").decode()):
        paths.setdefault(f"js/pages/{module}.js", []).append(path)
    return [
        (some, [f"/static/{name}" for name in _imported(files, [module]) if name not in known])
        for module, some in paths.items()
    ]


def _index(files: Mapping[str, bytes], digest: str) -> bytes:
    """Return the page. It names all modules of its frame and of each page, so that a browser loads them at once."""
    modules = _imported(files, [FIRST_MODULE])
    links = "\n".join(f'<link rel="modulepreload" href="/static/{name}">' for name in modules)
    # Data, which js/first.js reads: an inline script would be against the policy.
    pages = json.dumps(_pages(files, frozenset(modules)), separators=(",", ":"))
    data = f'<script type="application/json" id="pages">{pages}</script>'
    text = files["index.html"].decode().replace("<!-- modules -->", links).replace("<!-- pages -->", data)
    return text.replace('"/static/', f'"/static/{digest}/').encode()


def _asset(name: str, data: bytes) -> Asset:
    packed = gzip.compress(data, 9, mtime=0) if len(data) >= MIN_GZIP_BYTES else b""
    tag = hashlib.sha256(data).hexdigest()[:32]
    return Asset(data, packed if len(packed) < len(data) else b"", TYPES[Path(name).suffix], tag)


def _response(asset: Asset, caching: str, headers: Mapping[str, str]) -> Response:
    is_packed = bool(asset.packed) and _takes_gzip(headers.get("accept-encoding", ""))
    # Each encoding has its own: a strong ETag identifies the bytes that are sent (RFC 9110, 8.8.3.3).
    tag = f'"{asset.tag}{"-gzip" if is_packed else ""}"'
    told = {**SECURITY, "etag": tag, "cache-control": caching, "vary": "accept-encoding"}
    if _has(headers.get("if-none-match", ""), tag):
        return Response(None, 304, told)
    if is_packed:
        return Response(asset.packed, 200, {**told, "content-encoding": "gzip"}, asset.kind)
    return Response(asset.body, 200, told, asset.kind)


def _takes_gzip(accepted: str) -> bool:
    for one in accepted.lower().split(","):
        name, _, weight = one.partition(";")
        if name.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _has(known: str, tag: str) -> bool:
    """Return whether a browser has a file already; the comparison is weak (RFC 9110, 13.1.2)."""
    tags = [one.strip().removeprefix("W/") for one in known.split(",")]
    return "*" in tags or tag in tags
