import fcntl
import os
from ipaddress import ip_network

import pytest

from spectrum.kernel import offload
from spectrum.kernel.libbpf import BpfError
from spectrum.kernel.pins import (
    LAYOUT,
    PinError,
    Pinned,
    explained,
    folder_of,
    load,
    mount,
    possible_processors,
    prefix_key,
    prefix_of,
    prepare,
    unload,
)
from tests.kernel.isolation import isolated


@pytest.mark.parametrize("text", ["0.0.0.0/0", "192.0.2.0/24", "192.0.2.1/32", "::/0", "2001:db8::/32", "::1/128"])
def test_prefixes_come_back_as_they_went(text):
    prefix = ip_network(text)
    bits, address = prefix_key(prefix)
    assert len(address) == 16
    assert bits == prefix.prefixlen + (96 if prefix.version == 4 else 0)
    assert prefix_of(bits, address) == prefix


def test_every_network_namespace_and_layout_has_its_folder(tmp_path):
    folder = folder_of(tmp_path)
    assert folder.parent == tmp_path
    assert folder.name.startswith("spectrum-") and folder.name.endswith(f"-{LAYOUT}")


def test_what_is_pinned_goes_links_first(tmp_path):
    folder = tmp_path / "spectrum-1-v1"
    assert unload(folder) is False
    folder.mkdir()
    for name in ("filter_blocked", "filter_link_eth0", "bindings_link", "bindings_sockets"):
        (folder / name).touch()
    assert unload(folder, "filter")
    assert sorted(path.name for path in folder.iterdir()) == ["bindings_link", "bindings_sockets"]
    assert unload(folder, "filter") is False
    assert unload(folder, "bindings") and not folder.exists()


def test_refusals_are_explained(tmp_path):
    assert explained(BpfError("x", 1)).endswith("it needs root, or CAP_BPF and CAP_NET_ADMIN")
    assert explained(BpfError("x", 22)).endswith("it needs Linux 5.10")
    assert explained(BpfError("x", 28)) == "x: no space left on device"
    with pytest.raises(PinError, match="the program is not loaded"):
        Pinned("filter", {"blocked": (20, 4)}, tmp_path)
    with pytest.raises(PinError, match="no BPF file system can be mounted on /nowhere"):
        mount(tmp_path.__class__("/nowhere"))


def test_a_folder_is_made_once(filesystem):
    assert prepare(filesystem) == prepare(filesystem) == folder_of(filesystem)
    assert folder_of(filesystem).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("said", "count"), [("0\n", 1), ("0-1\n", 2), ("0-3,8-11\n", 8)])
def test_possible_processors(tmp_path, said, count):
    file = tmp_path / "possible"
    file.write_text(said)
    assert possible_processors(file) == count
    assert possible_processors(tmp_path / "nothing") == os.sysconf("SC_NPROCESSORS_CONF")


def test_a_lock_that_is_held_is_waited_for_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr("spectrum.kernel.pins.LOCK_TIMEOUT_S", 0.1)
    pinned = object.__new__(Pinned)
    pinned.folder = tmp_path
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(PinError, match=r"another process has held the lock of .* for 0\.1 s"), pinned.locked():
        pytest.fail("it is held")
    os.close(descriptor)
    with pinned.locked():
        pass


# By links, and by filters of tc where there are none (None: the kernel has no such links).
ATTACHED = """
import subprocess, sys
from functools import partial
from pathlib import Path
from spectrum.kernel import offload
from spectrum.kernel.libbpf import BpfError
from spectrum.kernel.pins import PinError, Pinned, attach_to_interfaces, linked_interfaces, load, prepare, probe, unload

def links(*arguments):
    subprocess.run(["ip", "link", *arguments], check=True)

folder = prepare(Path(sys.argv[1]))
probe("offload").close()
program = load("offload", folder, offload.MAPS, {"flows": 8, "tallies": 8})
by_link, by_filter = partial(program.attach_to_ingress, "offload"), partial(program.attach_as_filter, "offload")

def refused(index, pin):
    raise BpfError("no such links", 22)

def attach(names, *how):
    attach_to_interfaces(folder, "offload", names, program.program("offload"), *how)
    return linked_interfaces(folder, "offload")

links("add", "v0.1", "type", "veth", "peer", "v1")
assert attach(["lo", "v0.1"], by_link, by_filter) == ["lo", "v0.1"]
assert attach(["lo", "v1"], by_link, by_filter) == ["lo", "v1"]
links("delete", "v1")
links("add", "v1", "type", "veth", "peer", "v2")
assert attach(["v1"], by_link, by_filter) == ["v1"]
assert attach([], by_link) == []
three = ["lo", "v1", "v2"]
assert attach(three, refused, by_filter) == attach(three, None, by_filter) == three
assert attach(["v1"], None, by_filter) == ["v1"]
links("delete", "v1")
assert attach(["lo"], None, by_filter) == ["lo"]
for name, how, says in (("nowhere", by_link, "there is no interface nowhere"), ("lo", refused, "Linux 5.10")):
    unload(folder, "offload")
    try:
        attach([name], how)
        raise SystemExit(f"{name} can have it")
    except PinError as exc:
        assert says in str(exc), exc
program.close()

program = load("filter", prepare(Path(sys.argv[1])), {"blocked": (20, 4)})
with Pinned("filter", {"blocked": (20, 4)}, Path(sys.argv[1])) as one:
    keys = [bytes([n, 0, 0, 0]) + bytes(16) for n in (1, 2)]
    one.set("blocked", keys[0], bytes(4))
    one.set_many("blocked", dict.fromkeys(keys, b"abcd"))
    assert dict(one.maps["blocked"].items()) == dict.fromkeys(keys, b"abcd")
    for change in (lambda: one.set("blocked", b"\\xff" * 20, bytes(4)),
                   lambda: one.set_many("blocked", {b"\\xff" * 20: bytes(4)})):
        try:
            change()
            raise SystemExit("a prefix of so many bits is taken")
        except PinError:
            pass
"""


def test_a_program_is_attached_to_exactly_these_interfaces(filesystem):
    isolated(ATTACHED, filesystem)


# Where the namespace of the first is gone, the second one usually gets its inode number.
LATER = """
import sys
from pathlib import Path
from spectrum.kernel import bindings
from spectrum.kernel.pins import folder_of

bindings.load(Path(sys.argv[1]))
print(folder_of(Path(sys.argv[1])).name)
"""


def test_pins_of_a_namespace_that_is_gone_are_not_used(filesystem):
    names = [isolated(LATER, filesystem) for _ in range(8)]
    assert len(set(names)) < len(names), "none had the inode number of another one"


def test_a_folder_has_the_cookie_of_its_namespace(filesystem, monkeypatch, caplog):
    cookies = iter((5, 5, 6, 0, 6))
    monkeypatch.setattr("spectrum.kernel.pins.namespace_cookie", lambda: next(cookies))
    folder = prepare(filesystem)
    load("offload", folder, offload.MAPS, {"flows": 8, "tallies": 8}).close()
    pins = [f"offload_{name}" for name in offload.MAPS]
    assert names_in(prepare(filesystem)) == sorted(["namespace_5", *pins])
    assert not caplog.records
    assert names_in(prepare(filesystem)) == ["namespace_6"]
    assert caplog.messages == [f"{folder}: {len(pins)} pins of a network namespace that is gone are removed"]
    assert names_in(prepare(filesystem)) == ["namespace_6"], "an older kernel has no cookies"
    assert unload(folder)
    assert not folder.exists()
    folder.mkdir(mode=0o700)
    load("offload", folder, offload.MAPS, {"flows": 8, "tallies": 8}).close()
    assert names_in(prepare(filesystem)) == sorted(["namespace_6", *pins]), "an older version made no mark"


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())
