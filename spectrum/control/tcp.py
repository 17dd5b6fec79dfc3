"""What `tcp` of apps needs of this machine's kernel."""

from collections.abc import Iterator

from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault
from spectrum.kernel.tcp import accepts_fast_open, allowed_congestion_controls, congestion_controls


def tcp_faults(config: Config) -> Iterator[Fault]:
    """Yield congestion control algorithms that this kernel lacks, or does not allow workers, and disabled Fast Open."""
    for name, app in config.apps.items():
        for side, options in (("client", app.tcp.client), ("origin", app.tcp.origin)):
            wrong = _wrong_algorithm(options.congestion_control) if options.congestion_control else None
            if wrong:
                yield Fault(("apps", name, "tcp", side, "congestion_control"), wrong)
        if app.tcp.client.fast_open and not accepts_fast_open():
            yield Fault(
                ("apps", name, "tcp", "client", "fast_open"),
                "this kernel does not accept data in a SYN; `sysctl net.ipv4.tcp_fastopen=3` enables it",
            )


def _wrong_algorithm(name: str) -> str | None:
    available, allowed = congestion_controls(), allowed_congestion_controls()
    if name not in available:
        return f"this kernel has no {name}; it has {', '.join(available)} (`modprobe tcp_{name}` loads a module)"
    if name not in allowed:
        return (
            f"{name} is for root only here, and workers are not; the kernel allows {', '.join(allowed)} "
            f"(`sysctl net.ipv4.tcp_allowed_congestion_control='{' '.join((*allowed, name))}'` adds it)"
        )
    return None
