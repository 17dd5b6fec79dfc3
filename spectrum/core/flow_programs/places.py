"""Destinations at which flow programs judge datagrams."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from spectrum.core.ddos.served import ANY_PORT, served_places
from spectrum.core.packets import PROTOCOLS
from spectrum.wire.address import IPNetwork

if TYPE_CHECKING:
    from spectrum.core.configuration.config import App
    from spectrum.core.flow_programs.objects import FlowProgram

# Fields of `how`, as in kernel/bpf/programs.h: the program's index plus 1; whether it only counts; whether it also
# judges flows in use.
PROGRAM_BITS, LOG, IN_USE = 0xFF, 0x100, 0x200


class JudgedPlace(NamedTuple):
    """Datagrams to a prefix and port are judged, or excluded from a wider prefix that is.

    Attributes:
        prefix: The destination. port: The destination port; `ANY_PORT` for all of them.
        how: The program and its mode; 0 for none.
    """

    prefix: IPNetwork
    port: int
    how: int


def judged_places(programs: Mapping[str, "FlowProgram"], apps: Mapping[str, "App"]) -> list[JudgedPlace]:
    """Return the destinations of programs that are not disabled, and those of other apps within these.

    Raises:
        ServedError: If apps are served at more places than there may be.
    """
    how_of: dict[str, int] = {}
    for number, one in enumerate((one for one in programs.values() if one.is_on), 1):
        how = number | LOG * (one.mode == "log") | IN_USE * one.in_use
        how_of |= dict.fromkeys(one.apps, how)
    if not how_of:
        return []
    names = list(apps)
    served = [place for place in served_places(apps) if place.protocol == PROTOCOLS["udp"]]
    ports = {place.port for place in served if names[place.app] in how_of}
    return [
        JudgedPlace(place.prefix, place.port, how_of.get(names[place.app], 0))
        for place in served
        if ANY_PORT in ports or place.port in ports or place.port == ANY_PORT
    ]
