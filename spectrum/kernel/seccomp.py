"""Forbid system calls irrevocably, by libseccomp (seccomp(2), seccomp_init(3))."""

import ctypes
import errno
from collections.abc import Iterable

# libseccomp's seccomp.h
_ACT_ALLOW = 0x7FFF0000
_ACT_ERRNO = 0x00050000
_LIBRARY = "libseccomp.so.2"
_EQUAL, _GREATER = 4, 6
# linux/bpf.h, enum bpf_cmd: BPF_MAP_LOOKUP_ELEM, _UPDATE_ELEM, _DELETE_ELEM and _LOOKUP_BATCH, on maps whose
# descriptors were passed to a process. A worker fills the kernel's table of UDP flows.
_BPF_ON_ELEMENTS = (1, 2, 3, 24)

# Calls that are useful to an attacker with code execution in a worker, and that workers never use: other programs and
# processes, mounts and namespaces, the kernel itself.
FORBIDDEN = (
    "execve",
    "execveat",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "process_mrelease",
    "pidfd_getfd",
    "pidfd_send_signal",
    "kcmp",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "name_to_handle_at",
    "open_by_handle_at",
    "unshare",
    "setns",
    # io_uring performs other calls, and bypasses this filter.
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "keyctl",
    "add_key",
    "request_key",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "quotactl",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "sethostname",
    "setdomainname",
    "syslog",
    "modify_ldt",
    "uselib",
    "iopl",
    "ioperm",
    "personality",
    "vhangup",
    "setuid",
    "setreuid",
    "setresuid",
    "setgid",
    "setregid",
    "setresgid",
    "setfsuid",
    "setfsgid",
    "setgroups",
)


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp of seccomp.h: the index of an argument, the comparison, and its operands."""

    _fields_ = (
        ("place", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("other", ctypes.c_uint64),
    )


# The first argument of bpf(2), except for these, a rule each.
_BPF_OTHERS = [
    *((_Comparison(0, _EQUAL, n, 0),) for n in range(max(_BPF_ON_ELEMENTS)) if n not in _BPF_ON_ELEMENTS),
    (_Comparison(0, _GREATER, max(_BPF_ON_ELEMENTS), 0),),
]


def is_present() -> bool:
    """Return whether libseccomp is installed."""
    return _library() is not None


def forbid(calls: Iterable[str] = FORBIDDEN) -> bool:
    """Make system calls fail with EPERM from now on, in this thread and its children; False without libseccomp.

    Names that this architecture does not have are skipped. "bpf" forbids all commands except those on elements of maps.

    Raises:
        OSError: If the kernel refuses the filter.
    """
    library = _library()
    if library is None:
        return False
    context = library.seccomp_init(_ACT_ALLOW)
    if not context:
        raise OSError(errno.ENOMEM, "no seccomp filter can be made")
    try:
        for call in calls:
            number = library.seccomp_syscall_resolve_name(call.encode())
            if number < 0:
                continue
            for compared in _BPF_OTHERS if call == "bpf" else [()]:
                arguments = (_Comparison * len(compared))(*compared)
                outcome = library.seccomp_rule_add_array(
                    context, _ACT_ERRNO | errno.EPERM, number, len(compared), arguments
                )
                _check(outcome, call)
        _check(library.seccomp_load(context), "load")
    finally:
        library.seccomp_release(context)
    return True


def _check(outcome: int, what: str) -> None:
    if outcome < 0:
        raise OSError(-outcome, f"seccomp refuses: {what}")


def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Comparison),
    ]
    library.seccomp_load.argtypes = [ctypes.c_void_p]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_release.restype = None
    library.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    return library
