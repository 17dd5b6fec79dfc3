import fcntl
import os
from ipaddress import ip_network

import pytest

from spectrum.kernel.libbpf import BpfError
from spectrum.kernel.pins import (
    LAYOUT,
    PinError,
    Pinned,
    explained,
    folder_of,
    mount,
    possible_processors,
    prefix_key,
    prefix_of,
    prepare,
    unload,
)


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
