"""libbpf by ctypes: load BPF objects, read and write maps, attach, pin and replace links.

Only the functions in use; for documentation see libbpf.readthedocs.io, for the kernel's side bpf(2).
"""

import ctypes
import errno
import logging
import os
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)

LIBRARY = "libbpf.so.1"
# bpf(2), BPF_MAP_UPDATE_ELEM: create or replace.
ANY = 0
# linux/bpf.h, BPF_TCX_INGRESS and BPF_TCX_EGRESS, of Linux 6.6; libbpf 1.1 has no names for them.
_TCX_INGRESS, _TCX_EGRESS = 46, 47
# Handle and priority of Spectrum's filters at tc, for kernels without links; unique to it ("SP" in ASCII).
_FILTER = 0x5350
_TC_INGRESS, _TC_EGRESS, _TC_REPLACE = 1, 2, 1
# Keys and values per batch call, and of the first call that reads: most maps have few, and buffers of megabytes would
# cost more than the call.
BATCH, FIRST_BATCH = 65536, 256


class BpfError(Exception):
    """The kernel or libbpf refused an operation; the message names it and the reason.

    Attributes:
        number: The errno; 0 if there is none.
    """

    def __init__(self, what: str, number: int = 0) -> None:
        super().__init__(f"{what}: {os.strerror(number).lower()}" if number else what)
        self.number = number


_PRINTER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
# Bytes of the verifier's log that are searched.
_LINE_BYTES = 65536


def _to_log(level: int, form: bytes, arguments: int) -> int:
    """Collect libbpf's messages instead of printing them: for a refused program they contain the verifier's log."""
    line = ctypes.create_string_buffer(_LINE_BYTES)
    ctypes.CDLL(None).vsnprintf(line, ctypes.c_size_t(_LINE_BYTES), form, ctypes.c_void_p(arguments))
    log.debug("%s", line.value.decode("utf-8", "replace").rstrip())
    return 0


_printer = _PRINTER(_to_log)
# Properties of a map, by libbpf's names.
_SHAPE = ("type", "key_size", "value_size", "max_entries", "map_flags")
_POINTERS = (
    "bpf_object__open_mem",
    "bpf_object__find_map_by_name",
    "bpf_object__find_program_by_name",
    "bpf_program__attach_netns",
    "bpf_program__attach_xdp",
    "ring_buffer__new",
)
_TAKES: dict[str, tuple[type, ...]] = {
    "bpf_object__open_mem": (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p),
    "bpf_object__load": (ctypes.c_void_p,),
    "bpf_object__close": (ctypes.c_void_p,),
    "bpf_object__find_map_by_name": (ctypes.c_void_p, ctypes.c_char_p),
    "bpf_object__find_program_by_name": (ctypes.c_void_p, ctypes.c_char_p),
    "bpf_map__fd": (ctypes.c_void_p,),
    "bpf_map__set_pin_path": (ctypes.c_void_p, ctypes.c_char_p),
    "bpf_map__set_max_entries": (ctypes.c_void_p, ctypes.c_uint32),
    **{f"bpf_map__{name}": (ctypes.c_void_p,) for name in _SHAPE},
    "bpf_obj_get_info_by_fd": (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),
    "bpf_map__set_initial_value": (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t),
    "bpf_map_create": (ctypes.c_int, ctypes.c_char_p, *[ctypes.c_uint32] * 3, ctypes.c_void_p),
    "bpf_prog_load": (ctypes.c_int, *[ctypes.c_char_p] * 3, ctypes.c_size_t, ctypes.c_void_p),
    "bpf_prog_test_run_opts": (ctypes.c_int, ctypes.c_void_p),
    "bpf_program__fd": (ctypes.c_void_p,),
    "bpf_program__attach_netns": (ctypes.c_void_p, ctypes.c_int),
    "bpf_program__attach_xdp": (ctypes.c_void_p, ctypes.c_int),
    "bpf_link__pin": (ctypes.c_void_p, ctypes.c_char_p),
    "bpf_link__destroy": (ctypes.c_void_p,),
    "bpf_link_create": (ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p),
    "bpf_tc_hook_create": (ctypes.c_void_p,),
    "bpf_tc_attach": (ctypes.c_void_p, ctypes.c_void_p),
    "bpf_tc_detach": (ctypes.c_void_p, ctypes.c_void_p),
    "bpf_obj_pin": (ctypes.c_int, ctypes.c_char_p),
    "bpf_link_update": (ctypes.c_int, ctypes.c_int, ctypes.c_void_p),
    "bpf_link_detach": (ctypes.c_int,),
    "bpf_obj_get": (ctypes.c_char_p,),
    "ring_buffer__new": (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p),
    "ring_buffer__consume": (ctypes.c_void_p,),
    "ring_buffer__free": (ctypes.c_void_p,),
    "bpf_map_update_elem": (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ulonglong),
    "bpf_map_update_batch": (
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.POINTER(ctypes.c_uint32),
        ctypes.c_void_p,
    ),
    "bpf_map_lookup_elem": (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),
    "bpf_map_delete_elem": (ctypes.c_int, ctypes.c_void_p),
    "bpf_map_lookup_batch": (
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.POINTER(ctypes.c_uint32),
        ctypes.c_void_p,
    ),
}


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY, use_errno=True)
    except OSError as exc:
        raise BpfError("libbpf is not on this machine; on Debian: apt-get install libbpf1") from exc
    for name, takes in _TAKES.items():
        function = getattr(library, name)
        function.argtypes = takes
        function.restype = ctypes.c_void_p if name in _POINTERS else ctypes.c_int
    library.libbpf_set_print(_printer)
    return library


def version() -> str:
    """Return libbpf's version.

    Raises:
        BpfError: If it is not installed.
    """
    library = _library()
    return f"{library.libbpf_major_version()}.{library.libbpf_minor_version()}"


def _checked(what: str, outcome: int) -> int:
    if outcome < 0:
        raise BpfError(what, ctypes.get_errno() or -outcome)
    return outcome


# Values of enum bpf_map_type of linux/bpf.h.
_PER_CPU = (5, 6, 10, 21)


class Shape(NamedTuple):
    """The shape of a map: type (enum bpf_map_type), bytes of a key and of a value, number of entries, flags."""

    kind: int
    key_bytes: int
    value_bytes: int
    entries: int
    flags: int

    @property
    def is_per_cpu(self) -> bool:
        """Whether each CPU has its own value."""
        return self.kind in _PER_CPU


# The begin of struct bpf_map_info of linux/bpf.h: the type, an id, and the rest of the shape.
_INFO = struct.Struct("=6I")


class Map:
    """A map.

    Args:
        descriptor: Its descriptor; owned by this object.
        key_bytes: The length of a key.
        value_bytes: The length of a value; for a per-CPU map of the values of all CPUs, each rounded up to eight.
    """

    def __init__(self, descriptor: int, key_bytes: int, value_bytes: int) -> None:
        self.descriptor = descriptor
        self._key_bytes = key_bytes
        self._value_bytes = value_bytes

    @classmethod
    def pinned(cls, path: Path, key_bytes: int, value_bytes: int) -> "Map":
        """Return the map that is pinned at a path.

        Raises:
            BpfError: If there is none, or it cannot be opened.
        """
        return cls(_checked(str(path), _library().bpf_obj_get(bytes(path))), key_bytes, value_bytes)

    def shape(self) -> Shape:
        """Return its shape.

        Raises:
            BpfError: If the kernel refuses.
        """
        info, size = ctypes.create_string_buffer(_INFO.size), ctypes.c_uint32(_INFO.size)
        outcome = _library().bpf_obj_get_info_by_fd(self.descriptor, info, ctypes.byref(size))
        _checked("a map's shape", outcome)
        kind, _, *rest = _INFO.unpack(info.raw)
        return Shape(kind, *rest)

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key; None if there is none."""
        value = ctypes.create_string_buffer(self._value_bytes)
        if _library().bpf_map_lookup_elem(self.descriptor, key, value) < 0:
            return None
        return value.raw

    def set(self, key: bytes, value: bytes) -> None:
        """Add or replace a value.

        Raises:
            BpfError: If the map is full, or the kernel refuses.
        """
        _checked("a map's value", _library().bpf_map_update_elem(self.descriptor, key, value, ANY))

    def set_many(self, keys: list[bytes], values: list[bytes]) -> None:
        """Add or replace many values; like `set`, in few calls."""
        for start in range(0, len(keys), BATCH):
            part = keys[start : start + BATCH]
            count = ctypes.c_uint32(len(part))
            joined = b"".join(part), b"".join(values[start : start + BATCH])
            _checked(
                "a map's values",
                _library().bpf_map_update_batch(self.descriptor, *joined, ctypes.byref(count), None),
            )

    def delete(self, key: bytes) -> bool:
        """Remove a key; return whether it was there."""
        return bool(_library().bpf_map_delete_elem(self.descriptor, key) == 0)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield every key with its value; entries that change meanwhile may be missed.

        Raises:
            BpfError: If the kernel refuses.
        """
        key_bytes, value_bytes, size = self._key_bytes, self._value_bytes, FIRST_BATCH
        keys, values = ctypes.create_string_buffer(size * key_bytes), ctypes.create_string_buffer(size * value_bytes)
        # The position of the batch; for a hash an opaque number of the kernel, shorter than any key here.
        before, after = None, ctypes.create_string_buffer(max(key_bytes, 8))
        while True:
            count = ctypes.c_uint32(size)
            outcome = _library().bpf_map_lookup_batch(
                self.descriptor, before, after, keys, values, ctypes.byref(count), None
            )
            number = ctypes.get_errno() if outcome < 0 else 0
            # ENOSPC: a bucket of a hash has more entries than the batch; nothing was read.
            is_too_small = number == errno.ENOSPC and size < BATCH
            if number not in (0, errno.ENOENT) and not is_too_small:
                raise BpfError("a map's values", number)
            if not is_too_small:
                yield from _parts(keys, values, key_bytes, value_bytes, count.value)
                before = ctypes.create_string_buffer(after.raw, len(after.raw))
            if number == errno.ENOENT:  # that was the last batch
                return
            if size < BATCH:
                size = BATCH
                keys, values = (ctypes.create_string_buffer(size * each) for each in (key_bytes, value_bytes))

    def close(self) -> None:
        """Close the descriptor; a pinned map stays."""
        os.close(self.descriptor)


def _parts(
    keys: ctypes.Array[ctypes.c_char], values: ctypes.Array[ctypes.c_char], key_bytes: int, value_bytes: int, count: int
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the first `count` keys and values of a batch."""
    key_data, value_data = ctypes.string_at(keys, count * key_bytes), ctypes.string_at(values, count * value_bytes)
    for n in range(count):
        yield key_data[n * key_bytes : (n + 1) * key_bytes], value_data[n * value_bytes : (n + 1) * value_bytes]


class _Hook(ctypes.Structure):
    """struct bpf_tc_hook of bpf/libbpf.h."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("index", ctypes.c_int),
        ("attach_point", ctypes.c_int),
        ("parent", ctypes.c_uint32),
    )

    @classmethod
    def on_interface(cls, index: int, at_egress: bool) -> "_Hook":
        return cls(ctypes.sizeof(cls), index, _TC_EGRESS if at_egress else _TC_INGRESS, 0)


class _Filter(ctypes.Structure):
    """struct bpf_tc_opts of bpf/libbpf.h."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("program", ctypes.c_int),
        ("flags", ctypes.c_uint32),
        ("program_id", ctypes.c_uint32),
        ("handle", ctypes.c_uint32),
        ("priority", ctypes.c_uint32),
    )

    @classmethod
    def ours(cls, program: int = 0) -> "_Filter":
        return cls(ctypes.sizeof(cls), program, _TC_REPLACE if program else 0, 0, _FILTER, _FILTER)


_SAMPLER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class RingBuffer:
    """Reads a map of type BPF_MAP_TYPE_RINGBUF.

    Args:
        descriptor: The map's descriptor, which must stay open.

    Raises:
        BpfError: If it cannot be mapped.
    """

    def __init__(self, descriptor: int) -> None:
        self._records: list[bytes] = []
        # Referenced here: libbpf calls it as long as the buffer exists.
        self._take = _SAMPLER(self._record)
        self._ring: int | None = _library().ring_buffer__new(descriptor, self._take, None, None)
        if not self._ring:
            raise BpfError("a ring buffer cannot be mapped", ctypes.get_errno())

    def _record(self, _: int | None, at: int, size: int) -> int:
        self._records.append(ctypes.string_at(at, size))
        return 0

    def read(self) -> list[bytes]:
        """Return the records since the last call."""
        _library().ring_buffer__consume(self._ring)
        found, self._records = self._records, []
        return found

    def close(self) -> None:
        """Free the buffer."""
        if self._ring:
            _library().ring_buffer__free(self._ring)
            self._ring = None


class Object:
    """A BPF object file, loaded into the kernel.

    Args:
        code: The content of the file.
        pins: The paths of pinned maps by name: an existing one is used if it has the same shape.
        entries: The number of entries of maps by name, where the file has none.
        constants: Values that replace the file's constants; empty for the file's.

    Raises:
        BpfError: If the kernel refuses it.
    """

    def __init__(
        self, code: bytes, pins: dict[str, Path], entries: Mapping[str, int] | None = None, constants: bytes = b""
    ) -> None:
        library = _library()
        self._open(code)
        try:
            if constants:
                outcome = library.bpf_map__set_initial_value(self._map(".rodata"), constants, len(constants))
                _checked("constants", outcome)
            for name, count in (entries or {}).items():
                _checked(name, library.bpf_map__set_max_entries(self._map(name), count))
            for name, path in pins.items():
                _checked(name, library.bpf_map__set_pin_path(self._map(name), bytes(path)))
            _checked("the kernel does not take the program", library.bpf_object__load(self._object))
        except BpfError:
            self.close()
            raise

    @classmethod
    def shapes(cls, code: bytes, names: Iterable[str]) -> dict[str, Shape]:
        """Return the shapes of maps of an object file without loading it.

        Raises:
            BpfError: If it cannot be read, or has no such map.
        """
        library = _library()
        one = cls.__new__(cls)
        one._open(code)
        try:
            return {
                name: Shape(*(getattr(library, f"bpf_map__{what}")(one._map(name)) for what in _SHAPE))
                for name in names
            }
        finally:
            one.close()

    def _open(self, code: bytes) -> None:
        self._object = _library().bpf_object__open_mem(code, len(code), None)
        if not self._object:
            raise BpfError("a BPF object that cannot be read", ctypes.get_errno())

    def _map(self, name: str) -> int:
        found: int | None = _library().bpf_object__find_map_by_name(self._object, name.encode())
        if not found:
            raise BpfError(f"the object has no map {name}")
        return found

    def table(self, name: str, key_bytes: int, value_bytes: int) -> Map:
        """Return a map. The object owns its descriptor: the caller must not close it.

        Raises:
            BpfError: If there is none of that name.
        """
        return Map(_library().bpf_map__fd(self._map(name)), key_bytes, value_bytes)

    def program(self, name: str) -> int:
        """Return the descriptor of a program; owned by the object."""
        return int(_library().bpf_program__fd(self._program(name)))

    def _program(self, name: str) -> int:
        found: int | None = _library().bpf_object__find_program_by_name(self._object, name.encode())
        if not found:
            raise BpfError(f"the object has no program {name}")
        return found

    def attach_to_network(self, name: str, namespace: int, pin: Path) -> None:
        """Attach a program to a network namespace (a descriptor) by a pinned link, which outlives this process.

        Raises:
            BpfError: If it cannot be attached.
        """
        self._pin(name, _library().bpf_program__attach_netns(self._program(name), namespace), pin)

    def attach_to_interface(self, name: str, index: int, pin: Path) -> None:
        """Attach an XDP program to an interface by a pinned link, in driver mode if supported.

        Raises:
            BpfError: If it cannot be attached.
        """
        self._pin(name, _library().bpf_program__attach_xdp(self._program(name), index), pin)

    def attach_to_ingress(self, name: str, index: int, pin: Path) -> None:
        """Attach a program to the ingress of an interface (tc), by a pinned link.

        Raises:
            BpfError: If it cannot be attached.
        """
        self._attach_to_tc(name, index, pin, _TCX_INGRESS)

    def attach_to_egress(self, name: str, index: int, pin: Path) -> None:
        """Attach a program to the egress of an interface (tc), by a pinned link.

        Raises:
            BpfError: If it cannot be attached.
        """
        self._attach_to_tc(name, index, pin, _TCX_EGRESS)

    def _attach_to_tc(self, name: str, index: int, pin: Path, point: int) -> None:
        library = _library()
        what = f"{name} cannot be attached"
        descriptor = _checked(what, library.bpf_link_create(self.program(name), index, point, None))
        try:
            _checked(str(pin), library.bpf_obj_pin(descriptor, bytes(pin)))
        finally:
            os.close(descriptor)

    def attach_as_filter(self, name: str, index: int, pin: Path, at_egress: bool = False) -> None:
        """Attach a program by a classic filter at tc, for kernels before 6.6; a former filter of Spectrum is replaced.

        The filter outlives this process; the pin of the program only marks that it is attached.

        Raises:
            BpfError: If it cannot be attached.
        """
        library, what = _library(), f"{name} cannot be attached"
        hook, filter_ = _Hook.on_interface(index, at_egress), _Filter.ours(self.program(name))
        created = library.bpf_tc_hook_create(ctypes.byref(hook))
        if created != -errno.EEXIST:  # another program has created the hook already
            _checked(what, created)
        _checked(what, library.bpf_tc_attach(ctypes.byref(hook), ctypes.byref(filter_)))
        pin.unlink(missing_ok=True)
        _checked(str(pin), library.bpf_obj_pin(self.program(name), bytes(pin)))

    def _pin(self, name: str, link: int | None, pin: Path) -> None:
        library = _library()
        if not link:
            raise BpfError(f"{name} cannot be attached", ctypes.get_errno())
        try:
            _checked(str(pin), library.bpf_link__pin(link, bytes(pin)))
        finally:
            library.bpf_link__destroy(link)  # frees this process's handle of it

    def close(self) -> None:
        """Close the object; pinned maps and attached programs stay."""
        _library().bpf_object__close(self._object)


class VerifierRefused(BpfError):
    """The verifier refused a program; the message is its reason.

    Attributes:
        at: The index of the instruction; -1 if unknown.
    """

    def __init__(self, why: str, at: int) -> None:
        super().__init__(why)
        self.at = at


class _LoadOptions(ctypes.Structure):
    """struct bpf_prog_load_opts of bpf/bpf.h."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("attach_type", ctypes.c_int),
        ("numbers", ctypes.c_uint32 * 7),
        ("maps", ctypes.c_void_p),
        ("functions", ctypes.c_void_p),
        ("functions_count", ctypes.c_uint32),
        ("functions_bytes", ctypes.c_uint32),
        ("lines", ctypes.c_void_p),
        ("lines_count", ctypes.c_uint32),
        ("lines_bytes", ctypes.c_uint32),
        ("log_level", ctypes.c_uint32),
        ("log_bytes", ctypes.c_uint32),
        ("log", ctypes.c_void_p),
    )


class _RunOptions(ctypes.Structure):
    """struct bpf_test_run_opts of bpf/bpf.h, as far as it is used."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("given", ctypes.c_void_p),
        ("returned", ctypes.c_void_p),
        ("given_bytes", ctypes.c_uint32),
        ("returned_bytes", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("context_returned", ctypes.c_void_p),
        ("context_bytes", ctypes.c_uint32),
        ("context_returned_bytes", ctypes.c_uint32),
        ("result", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("ns", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch", ctypes.c_uint32),
    )


# linux/bpf.h
_XDP_PROGRAM, _XDP = 6, 37
_LOG_INSTRUCTIONS, _LOG_TOTALS = 1, 4
_LOG_BYTES = 1 << 20
_TOTALS = re.compile(r"processed (\d+) insns")
_INSTRUCTION = re.compile(r"^(\d+): \(", re.MULTILINE)
_NAMED_INSTRUCTION = re.compile(r"\binsn (\d+)")
# Lines of the verifier's log other than the reason.
_NO_REASON = re.compile(
    r"\d+: |processed |func#|verification time|stack depth|from \d+|\s*(?:frame\d+: )?R\d+\w*="
    r"|last_idx|regs=|parent |mark_precise|;|--|$"
)


def create_table(name: str, shape: Shape) -> int:
    """Create a map; return its descriptor, which the caller owns.

    Raises:
        BpfError: If there is no memory for it.
    """
    sizes = shape.key_bytes, shape.value_bytes, shape.entries
    return _checked(name, _library().bpf_map_create(shape.kind, name.encode(), *sizes, None))


def load_xdp(name: str, instructions: bytes, most_steps: int) -> int:
    """Load an XDP program from instructions; return its descriptor, which the caller owns.

    Args:
        name: Its name, 15 bytes at most.
        instructions: In the kernel's form.
        most_steps: The limit of instructions that the verifier may follow, an upper bound of those that one run takes.

    Raises:
        VerifierRefused: If the verifier refuses it, or it exceeds the limit.
        BpfError: If it cannot be loaded.
    """
    log_buffer = ctypes.create_string_buffer(_LOG_BYTES)
    options = _LoadOptions(size=ctypes.sizeof(_LoadOptions), attach_type=_XDP)
    options.log, options.log_bytes = ctypes.addressof(log_buffer), _LOG_BYTES
    count = len(instructions) // 8
    for level in (_LOG_TOTALS, _LOG_INSTRUCTIONS):
        options.log_level = level
        outcome = _library().bpf_prog_load(
            _XDP_PROGRAM, name.encode(), b"Dual BSD/GPL", instructions, count, ctypes.byref(options)
        )
        number = ctypes.get_errno()
        said = log_buffer.value.decode("utf-8", "replace")
        if outcome >= 0:
            steps = int(found[1]) if (found := _TOTALS.search(said)) else 0
            if steps <= most_steps:
                return int(outcome)
            os.close(outcome)
            raise VerifierRefused(f"it may take more than {most_steps:,} steps for a packet: shorten its loops", -1)
        if number == errno.EPERM:
            break
    if number in (errno.EPERM, errno.ENOMEM) or not said:
        raise BpfError("the kernel does not take the program", number)
    places = _INSTRUCTION.findall(said) or _NAMED_INSTRUCTION.findall(said)
    reasons = [line for line in said.splitlines() if not _NO_REASON.match(line)]
    raise VerifierRefused(
        reasons[-1] if reasons else "the verifier does not say why", int(places[-1]) if places else -1
    )


def run_xdp(program: int, frame: bytes, repeat: int = 1) -> tuple[int, int]:
    """Run an XDP program on a frame, without an interface; return its result, and the time of a run in ns.

    Raises:
        BpfError: If the kernel does not run it.
    """
    given, returned = ctypes.create_string_buffer(frame, len(frame)), ctypes.create_string_buffer(len(frame) + 256)
    options = _RunOptions(size=ctypes.sizeof(_RunOptions), repeat=repeat)
    options.given, options.given_bytes = ctypes.addressof(given), len(given)
    options.returned, options.returned_bytes = ctypes.addressof(returned), len(returned)
    _checked("a program cannot be run", _library().bpf_prog_test_run_opts(program, ctypes.byref(options)))
    return int(options.result), int(options.ns)


def replace_program(link: Path, program: int) -> None:
    """Replace the program of a pinned link, atomically.

    Raises:
        BpfError: If the kernel refuses.
    """
    descriptor = _checked(str(link), _library().bpf_obj_get(bytes(link)))
    try:
        _checked(f"{link} does not take another program", _library().bpf_link_update(descriptor, program, None))
    finally:
        os.close(descriptor)


def detach(link: Path) -> None:
    """Detach a pinned link at once, and remove its pin. Without the pin alone it would be detached some time later."""
    descriptor = _library().bpf_obj_get(bytes(link))
    if descriptor >= 0:
        _library().bpf_link_detach(descriptor)
        os.close(descriptor)
    link.unlink()


def detach_filter(index: int, pin: Path, at_egress: bool = False) -> None:
    """Detach Spectrum's classic filter from an interface, which may no longer exist, and remove its pin."""
    hook, filter_ = _Hook.on_interface(index, at_egress), _Filter.ours()
    _library().bpf_tc_detach(ctypes.byref(hook), ctypes.byref(filter_))
    pin.unlink()
