"""Checks of flow programs against apps, and against detection, which knows the flows in use."""

from collections.abc import Iterator
from operator import attrgetter

from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault, nearest
from spectrum.core.configuration.feature import CheckContext, Feature, Named, Section
from spectrum.core.flow_programs.objects import FlowProgram

# As in kernel/bpf/counts.h.
MAX_PROGRAMS = 16


def check_flow_programs(config: Config, surroundings: CheckContext) -> Iterator[Fault]:
    """Yield conflicts.

    Args:
        config: The objects that are checked.
        surroundings: The others.
    """
    whole = surroundings.whole
    for rank, name in enumerate(whole.flow_programs):
        if name in config.flow_programs and rank >= MAX_PROGRAMS:
            yield Fault(("flow_programs", name), f"there are {MAX_PROGRAMS} flow programs at most")
    missing = _missing(whole)
    for name, one in config.flow_programs.items():
        if missing and one.mode != "disabled":
            yield Fault(("flow_programs", name), missing)
    for name, one in config.flow_programs.items():
        for place, app in enumerate(one.apps):
            if (why := _misfit(name, app, whole, surroundings)) is not None:
                yield Fault(("flow_programs", name, "apps", place), why)


def _missing(whole: Config) -> str:
    """Return what flow programs need and the file lacks; empty if nothing."""
    if whole.filter is None:
        return "flow programs are called by the filter; write filter: {interfaces: [NAME], guard: [PREFIX]}"
    if whole.ddos is None:
        return "flow programs do not judge flows in use, which are known only with attack detection; write ddos: {}"
    return ""


def _misfit(name: str, app: str, whole: Config, surroundings: CheckContext) -> str | None:
    if app not in surroundings.names["apps"]:
        return f'there is no app "{app}"{nearest(app, list(surroundings.names["apps"]))}'
    if app in whole.apps and whole.apps[app].protocol.transport != "udp":
        return f"{app} is served by {whole.apps[app].protocol.transport}: flow programs judge UDP datagrams"
    for other, one in whole.flow_programs.items():
        if other == name:
            return None
        if app in one.apps:
            return f"flow program {other} judges {app} already"
    return None


def _refers_to(one: FlowProgram) -> Iterator[Named]:
    yield from (("apps", name) for name in one.apps)


FLOW_PROGRAMS = Feature(
    "flow_programs",
    sections=(Section("flow_programs", "flow program", FlowProgram, _refers_to, attrgetter("apps")),),
    check=check_flow_programs,
)
