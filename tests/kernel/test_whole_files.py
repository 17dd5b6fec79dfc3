"""Files that are replaced."""

import pytest

from spectrum.kernel.whole_files import replace_file


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / "state"
    for data in (b"first, and longer", b"second"):
        replace_file(path, data)
        assert path.read_bytes() == data
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["state"]


def test_a_link_beside_it_leads_nowhere(tmp_path):
    (tmp_path / "other").write_text("of another")
    (tmp_path / ".state").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic links"):
        replace_file(tmp_path / "state", b"x")
    assert (tmp_path / "other").read_text() == "of another" and not (tmp_path / "state").exists()
