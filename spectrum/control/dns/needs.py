"""What the publication of DNS names needs on this machine: the TSIG key file."""

from pathlib import Path

from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault


def dns_faults(config: Config) -> list[Fault]:
    """Return the faults of the key file."""
    if config.dns is None or config.dns.tsig_key is None:
        return []
    from spectrum.control.dns.update import UpdateError, read_key  # Importing dnspython takes a while.

    try:
        read_key(Path(config.dns.tsig_key))
    except UpdateError as exc:
        return [Fault(("dns", "tsig_key"), str(exc))]
    return []
