"""What libbpf and the kernel refuse, and what is said of it; the rest is in test_bindings.py."""

import os
from pathlib import Path

import pytest

from spectrum.kernel import libbpf
from spectrum.kernel.libbpf import BpfError, Map, Object, replace_program, version

CODE = Path(libbpf.__file__).with_name("bpf").joinpath("bindings.bpf.o").read_bytes()


def test_what_cannot_be_read_is_told():
    assert int(version().split(".")[0]) >= 1
    with pytest.raises(BpfError, match="a BPF object that cannot be read"):
        Object(b"none", {})
    with pytest.raises(BpfError, match="the object has no map nowhere"):
        Object(CODE, {"nowhere": Path("/x")})
    with pytest.raises(BpfError, match="/nowhere: no such file or directory") as caught:
        Map.pinned(Path("/nowhere"), 4, 8)
    assert caught.value.number == 2
    with pytest.raises(BpfError, match="/nowhere"):
        replace_program(Path("/nowhere"), 0)


def test_a_map_is_read_and_written():
    if os.geteuid() != 0:
        pytest.skip("BPF needs root")
    loaded = Object(CODE, {})
    with pytest.raises(BpfError, match="the object has no program other"):
        loaded.program("other")
    assert loaded.program("steer") > 0
    found = Map(os.dup(libbpf._library().bpf_map__fd(loaded._map("services"))), 64, 8)
    keys, values = [bytes([n]) * 64 for n in range(10)], [bytes([n]) * 8 for n in range(10)]
    found.set_many(keys, values)
    found.set_many([], [])
    found.set(keys[0], values[9])
    assert sorted(found.items()) == sorted(zip(keys, [values[9], *values[1:]], strict=True))
    assert [found.get(key) for key in keys] == [values[9], *values[1:]]
    assert found.delete(keys[3]) and not found.delete(keys[3])
    assert found.get(keys[3]) is None
    with pytest.raises(BpfError, match="a map's value"):
        Map(os.dup(libbpf._library().bpf_map__fd(loaded._map("counts"))), 4, 8).set(b"\xff" * 4, bytes(8 * 64))
    found.close()
    loaded.close()
