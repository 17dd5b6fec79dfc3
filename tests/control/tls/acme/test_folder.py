import pytest

from spectrum.control.tls.acme.folder import AcmeFolder, InUse
from spectrum.core.tls.renewal import OrderState
from spectrum.kernel.folders import FolderError


@pytest.fixture
def folder(tmp_path):
    one = AcmeFolder(tmp_path / "spectrum" / "acme")
    one.open()
    return one


def test_only_its_user_reads_it(folder):
    assert folder.path.stat().st_mode & 0o777 == 0o700
    folder.write(folder.certificate("a"), b"secret")
    assert folder.certificate("a").stat().st_mode & 0o777 == 0o600
    folder.path.chmod(0o777)
    with pytest.raises(FolderError, match="can be written by other users"):
        folder.open()


def test_standings_are_kept(folder):
    assert folder.standing("a") == OrderState()
    folder.keep_standing("a", OrderState(asked="x", failures=3))
    assert folder.standing("a") == OrderState(asked="x", failures=3)
    (folder.path / "a.json").write_text("{half of")
    assert folder.standing("a") == OrderState()


def test_a_file_is_the_former_one_or_the_new_one(folder, tmp_path):
    path = folder.certificate("a")
    folder.write(path, b"former")
    path.with_name("a.pem.new").mkdir()
    with pytest.raises(OSError):
        folder.write(path, b"new")
    assert path.read_bytes() == b"former"


def test_one_process_orders_at_a_time(folder):
    with folder.held(), pytest.raises(InUse, match="another process"), folder.held():
        pass
    with folder.held():
        pass


def test_each_ca_has_its_account(folder):
    assert folder.account("https://a/d") != folder.account("https://b/d")
    assert folder.pending("a") != folder.certificate("a")


def test_nothing_is_left_of_one_that_is_forgotten(folder):
    folder.keep_standing("a", OrderState(failures=3))
    folder.write(folder.certificate("a"), b"secret")
    folder.write(folder.certificate("b"), b"secret")
    folder.forget("a")
    folder.forget("a")
    assert [path.name for path in folder.path.iterdir()] == ["b.pem"]
