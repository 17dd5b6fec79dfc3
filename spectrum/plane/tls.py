"""TLS of a worker: certificates and contexts from a snapshot, and the TLVs that describe a client's TLS to origins."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from spectrum.core.difference import Difference
from spectrum.core.snapshot import AppSettings, Snapshot
from spectrum.core.tls.names import CertificateNames
from spectrum.core.tls.settings import (
    CertificateSettings,
    EdgeSettings,
    OriginTlsSettings,
    TlsFiles,
    chosen,
    resumption_name,
)
from spectrum.engine.tls import CertificateKeyPair, ChallengeContext, ClientContext, ServerContext, TicketKeys
from spectrum.link.messages import Challenge
from spectrum.plane.loop_yield import paced
from spectrum.wire import Tlv, TlvType
from spectrum.wire.proxy_protocol import SslClient, pack_tlvs, ssl_tlv, unpack_tlvs

if TYPE_CHECKING:
    from spectrum.engine.tls import Facts

# The inputs of a certificate and of a context: those of the former snapshot are reused if they are equal.
_ServerKey = tuple[str, EdgeSettings, tuple[CertificateSettings, ...], bytes]
_ClientKey = tuple[OriginTlsSettings, CertificateSettings | None, bytes]


def _server_key(app: str, edge: EdgeSettings, files: TlsFiles) -> _ServerKey:
    authorities = files.authorities[edge.client_ca] if edge.client_ca else b""
    return app, edge, chosen(files.certificates, edge.certificates), authorities


_TELLS_OF_TLS = frozenset({TlvType.ALPN, TlvType.AUTHORITY, TlvType.SSL})


class Tls:
    """The contexts of a worker's apps; an unchanged context stays the same object."""

    def __init__(self) -> None:
        self.tickets = TicketKeys()
        self._challenges = ChallengeContext()
        self._certificates: dict[CertificateSettings, CertificateKeyPair] = {}
        self._servers: dict[_ServerKey, ServerContext] = {}
        self._clients: dict[_ClientKey, ClientContext] = {}
        self._by_app: dict[str, tuple[ServerContext, ClientContext | None]] = {}

    def take_challenges(self, challenges: Iterable[Challenge]) -> None:
        """Answer tls-alpn-01 of certificate authorities with these certificates, and with no others."""
        self._challenges.set_answers({one.name: CertificateKeyPair(one.chain, one.key) for one in challenges})

    def take(self, snapshot: Snapshot, breathe: Callable[[], None] = lambda: None) -> None:
        """Create the contexts of a snapshot; `breathe` is called between apps."""
        former, self._certificates = self._certificates, {}
        for one in snapshot.tls.certificates:
            self._certificates[one] = former.get(one) or CertificateKeyPair(one.chain, one.key, one.staple)
        servers, clients = self._servers, self._clients
        self._servers, self._clients, self._by_app = {}, {}, {}
        for app in paced(snapshot.apps, breathe):
            if app.tls is not None:
                breathe()
                self._add(app, snapshot.tls, servers, clients)

    def change(self, difference: Difference, files: TlsFiles) -> None:
        """Create the contexts of a difference; files are unchanged. Contexts for origins may be shared by apps: an
        unused one stays until the next snapshot.
        """
        servers: dict[_ServerKey, ServerContext] = {}
        for app in difference.former:
            if app.tls is not None:
                self._by_app.pop(app.name, None)
                key = _server_key(app.name, app.tls.edge, files)
                if (context := self._servers.pop(key, None)) is not None:
                    servers[key] = context
        for app in difference.apps:
            self._add(app, files, servers, {})

    def _add(
        self,
        app: AppSettings,
        files: TlsFiles,
        servers: Mapping[_ServerKey, ServerContext],
        clients: Mapping[_ClientKey, ClientContext],
    ) -> None:
        """Add the contexts of an app, former ones if possible."""
        if app.tls is not None:
            server = self._server(app.name, app.tls.edge, files, servers)
            client = self._client(app.tls.origin, files, clients) if app.tls.origin is not None else None
            self._by_app[app.name] = server, client

    def contexts_of(self, app: AppSettings) -> tuple[ServerContext | None, ClientContext | None]:
        """Return the contexts for an app's clients and for its origins; None without TLS."""
        return self._by_app.get(app.name, (None, None))

    def _server(
        self, app: str, edge: EdgeSettings, files: TlsFiles, former: Mapping[_ServerKey, ServerContext]
    ) -> ServerContext:
        key = _server_key(app, edge, files)
        _, _, certificates, authorities = key
        context = self._servers[key] = former.get(key) or ServerContext(
            resumption_name(app, edge, authorities),
            self._defaults(certificates),
            self.tickets,
            find=self._finder(edge, certificates),
            versions=edge.versions,
            alpn=edge.alpn,
            client_authorities=authorities,
            client_must=edge.client_must,
            challenges=self._challenges,
        )
        return context

    def _defaults(self, certificates: tuple[CertificateSettings, ...]) -> tuple[CertificateKeyPair, ...]:
        """Return the first certificate, and of others for its names the first of each other kind of key."""
        names = CertificateNames((one.names, one.kind, one) for one in certificates)
        first = certificates[0]
        others = names.find(first.names[0]) if first.names else ()
        return tuple(self._certificates[one] for one in (first, *(one for one in others if one.kind != first.kind)))

    def _finder(
        self, edge: EdgeSettings, certificates: tuple[CertificateSettings, ...]
    ) -> Callable[[str], tuple[CertificateKeyPair, ...] | None] | None:
        if len(self._defaults(certificates)) == len(certificates) and not edge.refuses_unknown:
            return None  # There is no choice.
        names = CertificateNames((one.names, one.kind, self._certificates[one]) for one in certificates)
        if edge.refuses_unknown:
            return lambda name: names.find(name) or None
        return names.find

    def _client(
        self, origin: OriginTlsSettings, files: TlsFiles, former: Mapping[_ClientKey, ClientContext]
    ) -> ClientContext:
        authorities = files.authorities[origin.ca] if origin.ca else b""
        certificate = chosen(files.certificates, (origin.certificate,))[0] if origin.certificate else None
        key = (origin, certificate, authorities)
        context = self._clients[key] = (
            self._clients.get(key)
            or former.get(key)
            or ClientContext(
                origin.verifies,
                authorities=authorities,
                certificate=self._certificates[certificate] if certificate else None,
                versions=origin.versions,
                alpn=origin.alpn,
            )
        )
        return context


def told_of(facts: "Facts", tlvs: bytes) -> bytes:
    """Return the TLVs of a PROXY v2 header that describe a client's TLS, after those of the proxy in front.

    What that proxy said about TLS concerns another connection, and is left out.
    """
    version, cipher, protocol, name, resumed, common_name, signature, key = facts
    found = [tlv for tlv in unpack_tlvs(tlvs) if tlv.type not in _TELLS_OF_TLS] if tlvs else []
    if protocol:
        found.append(Tlv(TlvType.ALPN, protocol))
    if name:
        found.append(Tlv(TlvType.AUTHORITY, name))
    client = SslClient.SSL
    if common_name is not None:
        client |= SslClient.CERT_SESS if resumed else SslClient.CERT_SESS | SslClient.CERT_CONN
    found.append(ssl_tlv(client, version, cipher, common_name or b"", signature, key))
    return pack_tlvs(found)
