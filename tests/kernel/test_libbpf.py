"""What libbpf and the kernel refuse, and what is said of it; the rest is in test_bindings.py."""

import os
import struct
from pathlib import Path

import pytest

from spectrum.kernel import libbpf
from spectrum.kernel.filter.detection import SMALL_TABLES
from spectrum.kernel.filter.tcp_protection import SMALL_TCP_TABLES
from spectrum.kernel.libbpf import (
    BpfError,
    Map,
    Object,
    Shape,
    VerifierRefused,
    create_table,
    load_xdp,
    replace_program,
    run_xdp,
    version,
)

CODE = Path(libbpf.__file__).with_name("bpf").joinpath("bindings.bpf.o").read_bytes()


def test_errors_are_reported():
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


def test_the_library_is_loaded_once(monkeypatch):
    libbpf._library.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(libbpf, "LIBRARY", "nowhere.so.1")
        with pytest.raises(BpfError, match="apt-get install libbpf1"):
            libbpf._library()
    assert libbpf._library() is libbpf._library()


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


@pytest.mark.parametrize("first", [1, 2, 100, 256])
def test_a_map_is_read_in_batches(root, monkeypatch, first):
    """Also one whose first batch is smaller than a bucket of the hash."""
    monkeypatch.setattr(libbpf, "FIRST_BATCH", first)
    loaded = Object(CODE, {})
    found = Map(os.dup(libbpf._library().bpf_map__fd(loaded._map("services"))), 64, 8)
    assert list(found.items()) == []
    size = found.shape().entries
    assert size > 256
    entries = {struct.pack("=Q56x", n): struct.pack("=Q", n * n) for n in range(size)}
    found.set_many(list(entries), list(entries.values()))
    read = list(found.items())
    assert dict(read) == entries and len(read) == size
    found.close()
    loaded.close()


def code(*instructions):
    return b"".join(struct.pack("=BBhi", *one) for one in instructions)


PASSES = code((0xB7, 0, 0, 2), (0x95, 0, 0, 0))
FRAME = bytes(60)


@pytest.fixture
def root():
    if os.geteuid() != 0:
        pytest.skip("BPF needs root")


def test_a_program_of_instructions(root):
    program = load_xdp("passes", PASSES, 100)
    result, ns = run_xdp(program, FRAME, 1000)
    assert result == 2 and ns < 10_000
    with pytest.raises(BpfError, match="a program cannot be run"):
        run_xdp(program, b"")
    os.close(program)


@pytest.mark.parametrize(
    ("instructions", "at", "why"),
    [
        ([(0x79, 0x60, 0, 0), (0x95, 0, 0, 0)], 0, "R6 !read_ok"),
        ([(0xB7, 0, 0, 0), (0x79, 0x00, 0, 0), (0x95, 0, 0, 0)], 1, "R0 invalid mem access"),
        ([(0xB7, 0, 0, 0), (0x05, 0, 5, 0), (0x95, 0, 0, 0)], 1, "jump out of range"),
        ([(0xB7, 0, 0, 0), (0x05, 0, -2, 0), (0x95, 0, 0, 0)], -2, "."),
    ],
)
def test_what_the_verifier_refuses(root, instructions, at, why):
    with pytest.raises(VerifierRefused, match=why) as caught:
        load_xdp("refused", code(*instructions), 100)
    assert at in (-2, caught.value.at) and str(caught.value)


def test_steps(root):
    long = code((0xB7, 0, 0, 0), *[(0x07, 0, 0, 1)] * 50, (0x95, 0, 0, 0))
    os.close(load_xdp("long", long, 52))
    with pytest.raises(VerifierRefused, match="more than 51 steps"):
        load_xdp("long", long, 51)


def test_tables_and_constants(root):
    table = create_table("table", Shape(1, 4, 8, 16, 0))
    assert Map(table, 4, 8).shape() == Shape(1, 4, 8, 16, 0)
    os.close(table)
    with pytest.raises(BpfError, match="table"):
        create_table("table", Shape(1, 0, 8, 16, 0))
    with pytest.raises(BpfError, match=r"has no map \.rodata"):
        Object(CODE, {}, constants=b"1")
    whole = Path(libbpf.__file__).with_name("bpf").joinpath("filter.bpf.o").read_bytes()
    filtering = Object(whole, {}, SMALL_TABLES | SMALL_TCP_TABLES, constants=bytes(4))
    filtering.table("programs", 4, 4)
    with pytest.raises(BpfError, match="has no map nothing"):
        filtering.table("nothing", 4, 4)
    filtering.close()
