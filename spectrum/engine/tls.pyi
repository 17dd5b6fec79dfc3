from collections.abc import Callable, Iterable

KEY_BYTES: int
VERSIONS: dict[str, int]

# version, cipher, the protocol of ALPN, the requested server name, whether a session was resumed, the common name of
# the client's certificate (None without one), the signature and the key of the edge's certificate
Facts = tuple[bytes, bytes, bytes, bytes, bool, bytes | None, bytes, bytes]
# version, cipher
OriginFacts = tuple[bytes, bytes]

class TlsError(ValueError): ...

class TicketKeys:
    def set_keys(self, keys: list[bytes]) -> None: ...

class CertificateKeyPair:
    def __init__(self, chain: bytes, key: bytes, staple: bytes = b"") -> None: ...

class ChallengeContext:
    def set_answers(self, answers: dict[str, CertificateKeyPair]) -> None: ...

class ServerContext:
    def __init__(
        self,
        name: bytes,
        certificates: tuple[CertificateKeyPair, ...],
        tickets: TicketKeys,
        *,
        find: Callable[[str], tuple[CertificateKeyPair, ...] | None] | None = None,
        versions: tuple[str, str] = ...,
        alpn: tuple[str, ...] = (),
        client_authorities: bytes = b"",
        client_must: bool = True,
        challenges: ChallengeContext | None = None,
    ) -> None: ...

class ClientContext:
    def __init__(
        self,
        verifies: bool,
        *,
        authorities: bytes = b"",
        certificate: CertificateKeyPair | None = None,
        versions: tuple[str, str] = ...,
        alpn: tuple[str, ...] = (),
    ) -> None: ...

class TlsPeer:
    def __init__(self, context: ClientContext, name: str, is_address: bool) -> None: ...

def wire_protocols(protocols: Iterable[str]) -> bytes: ...
