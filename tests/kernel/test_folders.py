import os

import pytest

from spectrum.kernel.folders import FolderError, check_folder, give_folder

NOBODY = 65534


@pytest.mark.parametrize(
    ("mode", "owner", "why"),
    [
        (0o700, None, None),
        (0o755, None, None),
        (0o1700, None, None),
        (0o770, None, "can be written by other users"),
        (0o707, None, "can be written by other users"),
        (0o1777, None, "can be written by other users"),
        (0o700, NOBODY, "belongs to another user"),
    ],
)
def test_whose_folder_it_is(tmp_path, mode, owner, why):
    (folder := tmp_path / "run").mkdir()
    folder.chmod(mode)
    if owner is not None:
        os.chown(folder, owner, owner)
    if why is None:
        check_folder(folder)
    else:
        with pytest.raises(FolderError, match=why):
            check_folder(folder)
    if owner is not None:
        check_folder(folder, is_ours=False)


@pytest.mark.parametrize(("mode", "fails"), [(0o777, True), (0o1777, False), (0o775, False)])
def test_what_is_above_it(tmp_path, mode, fails):
    (parent := tmp_path / "shared").mkdir()
    parent.chmod(mode)
    (folder := parent / "a" / "b").mkdir(parents=True)
    if fails:
        with pytest.raises(FolderError, match="not sticky"):
            check_folder(folder)
    else:
        check_folder(folder)


def test_no_folder(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for name, why in (("file", "is no folder$"), ("link", "is no folder but a link")):
        with pytest.raises(FolderError, match=why):
            check_folder(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        check_folder(tmp_path / "none")


def test_a_folder_is_given_and_a_link_is_not_followed(tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError):
        give_folder(tmp_path / "link", NOBODY, NOBODY)
    assert (tmp_path / "victim").stat().st_uid == 0
    give_folder(tmp_path / "victim", NOBODY, NOBODY)
    assert (tmp_path / "victim").stat().st_uid == NOBODY
