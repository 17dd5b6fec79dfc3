"""What is told of programs in the kernel, and of none."""

from spectrum.kernel.pins import LAYOUT, folder_of
from tests.cli.harness import spectrum
from tests.kernel.isolation import filesystem, isolated

__all__ = ["filesystem"]

ALL = """
import sys
from pathlib import Path
from spectrum.kernel import bindings, offload
from spectrum.kernel.filter import attaching
from spectrum.kernel.filter.pinned import PinnedFilter
from spectrum.kernel.filter.settings import FilterSettings
from tests.cli.harness import spectrum

where = Path(sys.argv[1])
bindings.load(where)
attaching.load(["lo"], where)
with PinnedFilter(where) as one:
    one.configure(FilterSettings(packets_per_second=100, dry_run=True))
    one.block({"too_long": b""})
offload.load(["lo"], 10, where)
print(spectrum("kernel", "status", "--bpffs", where).output)
print(spectrum("kernel", "detach", "--bpffs", where).output)
"""


def test_what_is_attached_is_reported(filesystem):
    said = isolated(ALL, filesystem)
    for line in (
        f"bindings: on ({LAYOUT}): 0 bindings of 0 services, 0 without a socket; 0 lookups",
        f"filter: on ({LAYOUT}): lo, 100 packets per second of a source, dry run: nothing is dropped",
        "0 lookups, 0 misses, 0 no_socket, 0 bad_socket",
        "filter: passed: 0 packets, 0 bytes",
        "filter: list too_long: 0 packets, 0 bytes",
        "filter: too_many_syns: 0 packets, 0 bytes",
        f"udp offload: on ({LAYOUT}): lo; 0 flows",
        f"removed {folder_of(filesystem).parent}",
    ):
        assert line in said, (line, said)


def test_nothing_is_shown_without_a_bpf_file_system(tmp_path):
    said = spectrum("kernel", "status", "--bpffs", tmp_path).output
    assert f"{tmp_path}: no BPF file system in this mount namespace, so programs that are attached cannot be" in said
    assert "nsenter -t PID -m -n spectrum kernel status" in said
    assert "off" not in said


def test_status_and_detach_without_anything(filesystem):
    tmp_path = filesystem
    other = tmp_path / "spectrum-1-v1"
    other.mkdir()
    (tmp_path / folder_of(tmp_path).name.replace(f"-{LAYOUT}", "-v0")).mkdir()
    said = spectrum("kernel", "status", "--bpffs", tmp_path).output
    assert "libbpf 1." in said
    assert "bindings: off: the program is not loaded" in said
    assert f"{other}: another network namespace, or one that is gone" in said
    assert "-v0: another version" in said
    said = spectrum("kernel", "detach", "--bpffs", tmp_path).output
    assert said == "no program of Spectrum is in the kernel\n"
    said = spectrum("kernel", "detach", "--everywhere", "--bpffs", tmp_path).output
    assert said.count("removed") == 2
