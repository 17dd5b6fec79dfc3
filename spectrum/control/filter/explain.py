"""The filter's part of `spectrum explain`, from the lists on disk."""

from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path

from spectrum.core.access.prefix_table import PrefixTable, PrefixTableBuilder
from spectrum.core.address import parse_address
from spectrum.core.filter import BlockList, Filter
from spectrum.core.filter_verdict import FilterVerdict, ListMatch, judge_packets
from spectrum.core.snapshot import AppSettings


def explain_filter(settings: Filter, app: AppSettings, client: str) -> FilterVerdict:
    """Return what the filter does with the packets of a client of an app.

    It reads the lists' files, which takes half a second for a million lines: call it in a thread.

    Raises:
        ValueError: If the client is not an address.
    """
    address = parse_address(client)
    listed = list(_listed(settings.lists, address.packed)) if settings.lists else []
    return judge_packets(settings, listed, address, app.transport, (app.first_port, app.last_port))


def _listed(lists: dict[str, BlockList], client: bytes) -> Iterator[ListMatch]:
    builder = PrefixTableBuilder()
    for number, one in enumerate(lists.values(), 1):
        for prefix in one.prefixes:
            builder.add(prefix.network_address.packed, prefix.prefixlen, number)
        if one.file is not None:
            with suppress(OSError):  # The kernel has the lists that were read before.
                builder.add_lines(Path(one.file).read_bytes(), number)
    table = PrefixTable(builder.build())
    for number, (name, one) in enumerate(lists.items(), 1):
        if (found := table.given(client, number)) is not None:
            prefix = ip_network((client, found[0]), strict=False)
            yield ListMatch(name, str(prefix), f"{one.file}:{found[1]}" if one.file and found[1] else "")
