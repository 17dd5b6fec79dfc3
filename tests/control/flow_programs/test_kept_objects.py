"""Objects in files, and files that are not as they were written."""

import pytest

from spectrum.control.flow_programs.kept_objects import KeptObjectError, KeptObjects


@pytest.fixture
def kept(tmp_path):
    return KeptObjects(tmp_path / "kept")


def test_what_is_kept_is_found(kept):
    assert kept.find("a") is None
    kept.keep({"a": b"first", "b": b"second"})
    assert kept.find("a") == b"first" and kept.find("b") == b"second"
    assert [kept.folder.stat().st_mode & 0o777, (kept.folder / "a.o").stat().st_mode & 0o777] == [0o700, 0o600]
    written = (kept.folder / "a.o").stat().st_ino
    kept.keep({"a": b"first"})
    assert (kept.folder / "a.o").stat().st_ino == written, "it is not written again"
    assert kept.find("b") is None and [one.name for one in kept.folder.iterdir()] == ["a.o"]


def test_nothing_is_made_for_nothing(kept):
    kept.keep({})
    assert not kept.folder.exists()


def said(kept):
    with pytest.raises(KeptObjectError) as caught:
        kept.find("a")
    return str(caught.value)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b"", lambda data: b"x"]
)
def test_a_damaged_one(kept, damage):
    kept.keep({"a": b"first"})
    path = kept.folder / "a.o"
    path.write_bytes(damage(path.read_bytes()))
    assert said(kept) == f"{path}: it is damaged"
    kept.keep({"a": b"first"})
    assert kept.find("a") == b"first"


def test_what_others_could_write(kept, tmp_path):
    kept.keep({"a": b"first"})
    path = kept.folder / "a.o"
    path.chmod(0o620)
    assert said(kept) == f"{path}: other users could have written it (mode 0620)"
    path.rename(tmp_path / "there")
    path.symlink_to(tmp_path / "there")
    assert "symbolic links" in said(kept)


def test_where_nothing_can_be_kept(kept, caplog):
    kept.folder.write_text("no folder")
    kept.keep({"a": b"first"})
    assert "the next start needs clang" in caplog.text and kept.find("a") is None
