"""The helper's process: `python -m spectrum.helper DESCRIPTOR FILESYSTEM`, started by the supervisor as root."""

import logging
import os
import resource
import socket
import sys
from contextlib import suppress
from pathlib import Path

from spectrum.helper.serving import HelperServer
from spectrum.helper.work import RequestHandler
from spectrum.kernel import bindings, filter, installation, libbpf, offload, seccomp, signals
from spectrum.kernel.filter import flow_programs
from spectrum.kernel.installation import PackageChanged
from spectrum.kernel.landlock import limit_files
from spectrum.kernel.libbpf import BpfError
from spectrum.kernel.pins import PinError, mount, program_code
from spectrum.kernel.privileges import CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, confine
from spectrum.kernel.sockets import raise_descriptor_limit
from spectrum.link.helper import HelperLine

CAPABILITIES = (CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF)
# The calls that are forbidden for workers, without those that this process needs.
FORBIDDEN = tuple(call for call in seccomp.FORBIDDEN if call != "bpf")


# Paths that Python and libbpf read; udp_offload also writes settings of lo.
READABLE = tuple(map(Path, (*installation.readable(), "/sys")))
WRITABLE = (Path("/proc/sys/net"),)


def harden(filesystem: Path) -> None:
    """Drop all rights except to load, attach, pin, and change eBPF programs and maps.

    Args:
        filesystem: The BPF file system.

    Raises:
        OSError: If the kernel refuses.
    """
    confine(CAPABILITIES)
    limit_files(READABLE, WRITABLE, (filesystem,))
    seccomp.forbid(FORBIDDEN)


def main() -> None:
    """Serve the supervisor at the other end of a descriptor, until that end is closed."""
    # It ends when its clients have, not by signals of a terminal or an operator to all processes of a daemon: the
    # filter is removed after the supervisor has drained.
    signals.hold_all()
    logging.basicConfig(format="%(levelname)s helper: %(message)s", level=logging.WARNING)
    try:
        installation.verify()
    except PackageChanged as exc:
        sys.exit(f"the helper does not start: {exc}")
    Path("/proc/self/comm").write_text("spectrum-helper", encoding="ascii")
    line, filesystem = HelperLine(socket.socket(fileno=int(sys.argv[1]))), Path(sys.argv[2])
    with suppress(ValueError, OSError):  # before Linux 5.11 maps count as locked memory
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    raise_descriptor_limit()
    if os.geteuid() == 0:
        with suppress(PinError):  # reported when it is needed
            mount(filesystem)
    os.chdir("/")
    for program in (bindings.PROGRAM, filter.PROGRAM, flow_programs.WRAPPER, offload.PROGRAM):
        program_code(program)
    with suppress(BpfError):  # reported when it is needed
        libbpf.version()  # the library is now loaded
    harden(filesystem)
    HelperServer(line, RequestHandler(filesystem)).run()


if __name__ == "__main__":
    main()
