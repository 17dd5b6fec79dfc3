from spectrum.engine.retry_budget import RetryBudget
from spectrum.engine.tls import TlsPeer

class Target:
    host: str
    port: int
    name: str
    pool: str
    origin: str
    number: int
    place: int
    retries: RetryBudget | None
    def __init__(
        self,
        address: bytes,
        port: int,
        host: str,
        *,
        staggered: bool = False,
        sources: tuple[bytes, ...] = (),
        keepalive: tuple[int, int, int] = ...,
        user_timeout_ms: int = 0,
        number: int = 0,
        tls: TlsPeer | None = ...,
        transparent: bool = False,
        pool: str = "",
        origin: str = "",
        congestion_control: bytes = b"",
        notsent_lowat: int = 0,
        place: int = 0,
        retries: RetryBudget | None = None,
    ) -> None: ...
    def take_connected(self) -> int: ...
    def take_moved(self) -> tuple[int, int]: ...
    @property
    def has_spares(self) -> bool: ...
    def may_retry(self, now_ms: int) -> bool: ...
    def take_spares(self) -> tuple[int, int, int, int, int]: ...
    def close_spares(self) -> None: ...
