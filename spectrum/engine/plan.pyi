from collections.abc import Callable, Sequence

from spectrum.core.access.prefix_table import PrefixTable
from spectrum.engine.record_form import RecordForm
from spectrum.engine.target import Target

class SessionPlan:
    def __init__(
        self,
        orders: tuple[tuple[Target, ...], ...],
        proxy_protocol: str,
        connect_timeout_ms: int,
        idle_timeout_ms: int,
        form: RecordForm,
        judge: Callable[[bytes], object] | None = None,
        limits: Sequence[tuple[int, str, bool, int, int, bool]] = ...,
        prefixes: PrefixTable | None = None,
    ) -> None: ...
