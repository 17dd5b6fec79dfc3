"""Maps that were pinned with another shape than the program's: what is in them is in new ones. Rules are in filter/."""

import pytest

from spectrum.kernel.libbpf import BpfError, Map, Object
from spectrum.kernel.outgrown import load_over
from spectrum.kernel.pins import PinError, prepare, program_code, unload

MAPS = ("settings", "destinations", "counts")


@pytest.fixture
def folder(filesystem):
    """The maps of a program, pinned; a settings map that is shorter, and destinations that are fewer."""
    shapes = Object.shapes(program_code("filter"), MAPS)
    folder = prepare(filesystem)
    settings = shapes["settings"]
    load_over("filter", folder, MAPS).close()
    one = Map.pinned(folder / "filter_settings", 4, settings.value_bytes)
    one.set(bytes(4), bytes(range(settings.value_bytes)))
    one.close()
    yield folder
    unload(folder)


def other_shape(monkeypatch, **changes):
    """Let the program that is pinned have other shapes."""
    shapes = Object.shapes

    def changed(code, names):
        return {name: one._replace(**changes.get(name, {})) for name, one in shapes(code, names).items()}

    monkeypatch.setattr(Object, "shapes", changed)


def test_shapes_are_those_of_the_kernel(folder):
    for name, shape in Object.shapes(program_code("filter"), MAPS).items():
        one = Map.pinned(folder / f"filter_{name}", 0, 0)
        assert one.shape() == shape
        assert shape.is_per_cpu == (name == "counts")
        one.close()
    with pytest.raises(BpfError, match="the object has no map nowhere"):
        Object.shapes(program_code("filter"), ["nowhere"])
    with pytest.raises(BpfError, match="cannot be read"):
        Object.shapes(b"none", MAPS)


def test_maps_of_the_same_shape_stay(folder):
    before = Map.pinned(folder / "filter_settings", 4, 64)
    load_over("filter", folder, MAPS).close()
    before.set(bytes(4), b"\x07" * 64)
    after = Map.pinned(folder / "filter_settings", 4, 64)
    assert after.get(bytes(4)) == b"\x07" * 64, "the same map"
    before.close()
    after.close()


@pytest.mark.parametrize("has_successor", [False, True])
def test_what_was_set_aside_by_one_that_was_killed_is_put_back(folder, has_successor):
    path = folder / "filter_settings"
    path.rename(folder / "filter_settings-former")
    if has_successor:
        load_over("filter", folder, ("destinations", "counts")).close()
        Object(program_code("filter"), {"settings": path}).close()
    load_over("filter", folder, MAPS).close()
    one = Map.pinned(path, 4, 64)
    assert one.get(bytes(4))[:5] == bytes(range(5))
    one.close()
    assert not (folder / "filter_settings-former").exists()


def test_maps_of_another_shape_are_taken_over(folder, monkeypatch):
    other_shape(monkeypatch, settings={"flags": 99}, counts={"entries": 5})
    before = Map.pinned(folder / "filter_settings", 4, 64)
    load_over("filter", folder, MAPS).close()
    after = Map.pinned(folder / "filter_settings", 4, 64)
    assert after.get(bytes(4)) == before.get(bytes(4)) == bytes(range(64))
    before.set(bytes(4), bytes(64))
    assert after.get(bytes(4)) == bytes(range(64)), "another map"
    assert sorted(path.name for path in folder.glob("filter_*")) == sorted(f"filter_{name}" for name in MAPS)
    before.close()
    after.close()


def test_all_stays_where_the_program_does_not_load(folder, monkeypatch):
    other_shape(monkeypatch, settings={"flags": 99})

    def fails(*_):
        raise BpfError("no room", 28)

    monkeypatch.setattr("spectrum.kernel.outgrown._take_over", fails)
    before = Map.pinned(folder / "filter_settings", 4, 64)
    with pytest.raises(PinError, match="maps of a version before: no room: no space left on device"):
        load_over("filter", folder, MAPS)
    before.set(bytes(4), b"\x05" * 64)
    after = Map.pinned(folder / "filter_settings", 4, 64)
    assert after.get(bytes(4)) == b"\x05" * 64
    before.close()
    after.close()
