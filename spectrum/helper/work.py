"""The requests of the helper: each is a transaction, applied as a whole or not at all.

Requests contain no paths, and are validated here: they may come from a process of another user.
"""

import os
import re
import socket
import struct
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from spectrum.kernel import bindings as lookups
from spectrum.kernel import filter, offload
from spectrum.kernel.bindings import Binding, Bindings, empty_document, is_loaded
from spectrum.kernel.bindings import load as load_bindings
from spectrum.kernel.filter import attaching, flow_programs
from spectrum.kernel.filter.detection import Detection, PinnedDetection
from spectrum.kernel.filter.drops import Drops
from spectrum.kernel.filter.flow_programs import PinnedFlowPrograms
from spectrum.kernel.filter.names import OWNERS
from spectrum.kernel.filter.pinned import Journal, PinnedFilter
from spectrum.kernel.filter.settings import FilterSettings
from spectrum.kernel.libbpf import BpfError
from spectrum.kernel.offload import PinnedOffload
from spectrum.kernel.pins import PinError
from spectrum.kernel.sockets import RECEIVE_BUFFER_BYTES, SO_RCVBUFFORCE
from spectrum.link.helper import (
    Answer,
    Bound,
    ChangeBinding,
    Counted,
    Detecting,
    Done,
    EnlargeQueues,
    Filtered,
    KeepFilter,
    NotDone,
    Offloaded,
    RemoveFilter,
    RemoveOffload,
    Request,
    SetBindings,
    SetDetection,
    SetDrops,
    SetFilter,
    SetFlowPrograms,
    SetOffload,
    SetTcpProtection,
    ShowBindings,
    ShowCounts,
    UndoFilter,
)

MAX_INTERFACES = 256
# Limit for all workers; a table takes 200 bytes per flow.
MAX_FLOWS = 256 * 2**20
# IFNAMSIZ of linux/if.h, without the zero byte at its end; stricter than dev_valid_name of net/core/dev.c.
_INTERFACE = re.compile(r"(?!\.{1,2}$)[^\s/:]{1,15}", re.ASCII)


class _Former(NamedTuple):
    """The former state of the filter: its interfaces, and settings and drops of the file, if there were any."""

    interfaces: list[str]
    settings: FilterSettings | None
    drops: Drops | None


class RequestHandler:
    """Handles requests.

    Args:
        filesystem: The BPF file system, the only one that this process uses.
    """

    def __init__(self, filesystem: Path) -> None:
        self._filesystem = filesystem
        # The drops by owner. Drops that owners set through a former helper are read from the kernel once.
        self._drops: dict[str, Drops] = {}
        self._has_bound = False
        # The last change of the filter by the file, and the state before it.
        self._undo: ExitStack | None = None
        self._former: _Former | None = None

    def do(self, request: Request, descriptors: Sequence[int]) -> tuple[Answer, list[int]]:
        """Handle a request.

        Args:
            request: The request.
            descriptors: Its descriptors; the caller owns them.

        Returns:
            The answer, and its descriptors, which the caller owns.
        """
        try:
            return self._done(request, descriptors)
        except (PinError, BpfError) as exc:
            return NotDone(str(exc)), []
        except OSError as exc:
            return NotDone((exc.strerror or str(exc)).lower()), []
        except (ValueError, OverflowError, struct.error) as exc:
            return NotDone(f"the request is malformed: {exc}"), []

    def _done(self, request: Request, descriptors: Sequence[int]) -> tuple[Answer, list[int]]:
        match request:
            case SetFilter():
                return self._set_filter(request)
            case SetDrops():
                return self._set_drops(request)
            case UndoFilter():
                return self._undo_filter()
            case KeepFilter():
                self._undo = None
                return Done(), []
            case RemoveFilter():
                return Done(self._remove_filter()), []
            case SetDetection():
                return self._set_detection(request)
            case SetTcpProtection():
                request.policies.check()
                attaching.protect(request.policies, self._filesystem)
                return Done(), []
            case SetFlowPrograms():
                return self._set_flow_programs(request)
            case SetBindings():
                self._set_bindings(request, descriptors)
                return Done(), []
            case ChangeBinding():
                self._change_binding(request)
                return Done(), []
            case ShowBindings():
                if not is_loaded(self._filesystem):
                    return Bound(empty_document()), []
                with Bindings(self._filesystem) as bindings:
                    return Bound(bindings.document()), []
            case ShowCounts():
                return Counted(self._counts(request.program)), []
            case SetOffload():
                return self._set_offload(request)
            case RemoveOffload():
                return Done(offload.remove(self._filesystem)), []
            case EnlargeQueues():
                _enlarge_queues(descriptors)
                return Done(), []
            case _:
                return NotDone("this helper does not do that"), []

    # --- the filter -----------------------------------------------------------------------------------------------

    def _set_filter(self, request: SetFilter) -> tuple[Answer, list[int]]:
        _check_interfaces(request.interfaces)
        request.drops.check(OWNERS[0])
        before = attaching.attached(self._filesystem)
        with ExitStack() as undo:
            undo.callback(self._attach, before)
            attaching.load(request.interfaces, self._filesystem)  # takes over the pinned maps of a previous version
            known = self._known(before)
            former = _Former(before, self._settings() if before else None, known.get(OWNERS[0]))
            drops = known | {OWNERS[0]: request.drops}
            with PinnedFilter(self._filesystem) as one:
                if before:  # otherwise the filter is removed
                    undo.callback(self._put_back, one.journal)
                one.hold(drops, request.settings)
            answer = self._filtered()
            undo.callback(setattr, self, "_drops", known)
            self._drops = drops
            self._former, self._undo = former, undo.pop_all()
            return answer

    def _set_drops(self, request: SetDrops) -> tuple[Answer, list[int]]:
        if request.owner not in OWNERS[1:]:
            raise PinError(f"{request.owner!r} is no owner of rules: {', '.join(OWNERS[1:])}")
        request.drops.check(request.owner)
        interfaces = attaching.attached(self._filesystem)
        if not interfaces:
            raise PinError("the filter is off: `filter` in the file says on which interfaces it is")
        known = self._known(interfaces)
        drops = known | {request.owner: request.drops}
        with ExitStack() as undo, PinnedFilter(self._filesystem) as one:
            undo.callback(self._put_back, one.journal)
            one.hold(drops, held=known)
            answer = self._filtered()
            undo.pop_all()
        self._drops = drops
        # The state that it would restore is older than this change.
        if self._undo is not None and self._former is not None:
            self._undo = ExitStack()
            self._undo.callback(self._return_to, self._former)
        return answer

    def _undo_filter(self) -> tuple[Answer, list[int]]:
        if self._undo is None:
            raise PinError("there is no change of the filter that could be undone")
        undo, self._undo = self._undo, None
        undo.close()
        return self._filtered()

    def _return_to(self, former: "_Former") -> None:
        """Restore the filter of the former file, with the present drops of other owners."""
        drops = {owner: own for owner, own in self._drops.items() if owner != OWNERS[0]}
        if former.drops is not None:
            drops[OWNERS[0]] = former.drops
        self._attach(former.interfaces)
        if former.settings is not None:
            with PinnedFilter(self._filesystem) as one:
                one.hold(drops, former.settings, self._drops)
        self._drops = drops

    def _known(self, interfaces: Sequence[str]) -> dict[str, Drops]:
        if not self._drops and interfaces:
            with PinnedFilter(self._filesystem) as one:
                self._drops = one.held()
        return self._drops

    def _settings(self) -> FilterSettings:
        with PinnedFilter(self._filesystem) as one:
            return one.settings()

    def _filtered(self) -> tuple[Answer, list[int]]:
        if not attaching.attached(self._filesystem):
            return Filtered({}), []
        with PinnedFilter(self._filesystem) as one:
            return Filtered(one.places()), [one.samples()] if one.settings().sample_one_in else []

    def _attach(self, interfaces: list[str]) -> None:
        if interfaces:
            attaching.load(interfaces, self._filesystem)
        else:
            attaching.remove(self._filesystem)

    def _put_back(self, journal: Journal) -> None:
        with PinnedFilter(self._filesystem) as one:
            one.put_back(journal)

    def _remove_filter(self) -> bool:
        self._undo = None
        self._drops = {owner: own for owner, own in self._drops.items() if owner != OWNERS[0]}
        return attaching.remove(self._filesystem)

    def _set_detection(self, request: SetDetection) -> tuple[Answer, list[int]]:
        settings = Detection(request.idle_one_in, request.used_one_in, request.served)
        settings.check()
        if not settings.is_on and not attaching.attached(self._filesystem):
            return Detecting({}), []
        attaching.detect(settings, self._filesystem)
        with PinnedFilter(self._filesystem) as one, PinnedDetection(self._filesystem) as detection:
            return Detecting(one.places()), [detection.looks()] if settings.is_on else []

    def _set_flow_programs(self, request: SetFlowPrograms) -> tuple[Answer, list[int]]:
        request.programs.check()
        if not attaching.attached(self._filesystem):
            if request.programs.programs:
                raise PinError("the filter is off: `filter` in the file says on which interfaces it is")
            return Filtered({}), []
        with PinnedFlowPrograms(self._filesystem) as one:
            one.hold(request.programs)
        with PinnedFilter(self._filesystem) as filtered:
            return Filtered(filtered.places()), []

    # --- bindings -------------------------------------------------------------------------------------------------

    def _set_bindings(self, request: SetBindings, descriptors: Sequence[int]) -> None:
        if len(descriptors) != len(request.sockets):
            raise ValueError(f"{len(request.sockets)} sockets, and {len(descriptors)} descriptors")
        wanted = [Binding.checked(*one) for one in request.bindings]
        if not self._has_bound or not is_loaded(self._filesystem):
            load_bindings(self._filesystem)  # a program that is loaded already is replaced by this version's, once
            self._has_bound = True
        with ExitStack() as opened:
            bindings = opened.enter_context(Bindings(self._filesystem))
            opened.enter_context(bindings.transaction())
            for label, descriptor in zip(request.sockets, descriptors, strict=True):
                bindings.register(label, opened.enter_context(socket.socket(fileno=os.dup(descriptor))))
            bindings.apply(wanted, set(request.services))

    def _change_binding(self, request: ChangeBinding) -> None:
        binding = Binding.checked(*request.binding)
        if request.binds and not is_loaded(self._filesystem):
            load_bindings(self._filesystem)
        with Bindings(self._filesystem) as bindings:
            if request.binds:
                bindings.bind(binding)
            else:
                bindings.unbind(binding)

    # --- counters -------------------------------------------------------------------------------------------------

    def _counts(self, program: str) -> dict[str, tuple[int, int]]:
        match program:
            case filter.PROGRAM if attaching.attached(self._filesystem):
                with PinnedFilter(self._filesystem) as one:
                    return one.counts()
            case lookups.PROGRAM if is_loaded(self._filesystem):
                with Bindings(self._filesystem) as bound:
                    return {name: (count, 0) for name, count in bound.counts().items()}
            case flow_programs.COSTS if attaching.attached(self._filesystem):
                with PinnedFlowPrograms(self._filesystem) as judging:
                    return judging.costs()
            case filter.PROGRAM | lookups.PROGRAM | flow_programs.COSTS:
                return {}
            case _:
                raise PinError(f"{program!r} counts nothing")

    # --- the offload ----------------------------------------------------------------------------------------------

    def _set_offload(self, request: SetOffload) -> tuple[Answer, list[int]]:
        _check_interfaces(request.interfaces)
        if not 0 < request.flows <= MAX_FLOWS:
            raise PinError(f"1 to {MAX_FLOWS} flows, not {request.flows}")
        fresh = not offload.is_loaded(self._filesystem)
        if fresh:  # removed by hand, or never loaded: the tables of workers are no longer in use
            offload.remove(self._filesystem)
        offload.load(request.interfaces, request.flows, self._filesystem)
        with PinnedOffload(self._filesystem) as tables:
            return Offloaded(fresh), [os.dup(descriptor) for descriptor in tables.descriptors()]


def _enlarge_queues(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            if sock.type != socket.SOCK_DGRAM or sock.family not in (socket.AF_INET, socket.AF_INET6):
                raise ValueError("a socket that is no UDP socket")
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)


def _check_interfaces(names: Sequence[str]) -> None:
    if not 0 < len(names) <= MAX_INTERFACES:
        raise PinError(f"1 to {MAX_INTERFACES} interfaces, not {len(names)}")
    for name in names:
        if not _INTERFACE.fullmatch(name):
            raise PinError(f"{name!r} is no name of an interface")
