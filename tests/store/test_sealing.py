import os
import stat

import pytest

from spectrum.store.sealing import PREFIX, SealingError, have_sealing_key, read_sealing_key, seal, unseal

KEY, OWNER = b"-----BEGIN PRIVATE KEY-----", b"a public key"


@pytest.fixture
def sealing(tmp_path):
    return have_sealing_key(tmp_path / "state/sealing.key")


def sealed(sealing):
    return seal(KEY, OWNER, sealing.public_key().public_bytes_raw())


def test_what_is_sealed_is_opened_by_its_key_alone(sealing, tmp_path):
    one, two = sealed(sealing), sealed(sealing)
    assert one != two, "nobody can tell that it is the same"
    assert KEY.decode() not in one
    assert unseal(one, OWNER, sealing) == unseal(two, OWNER, sealing) == KEY
    with pytest.raises(SealingError, match="not sealed by this installation"):
        unseal(one, OWNER, have_sealing_key(tmp_path / "other"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.removeprefix(PREFIX), "does not begin with"),
        (lambda text: text[:-8] + "AAAAAAA=", "not sealed by"),
        (lambda text: PREFIX + "%", "not sealed by"),
        (lambda text: PREFIX, "not sealed by"),
    ],
)
def test_what_is_damaged(sealing, change, says):
    with pytest.raises(SealingError, match=says):
        unseal(change(sealed(sealing)), OWNER, sealing)
    with pytest.raises(SealingError, match="not sealed by"):
        unseal(sealed(sealing), b"another one", sealing)


def test_its_key_is_made_once_and_for_its_owner_alone(sealing, tmp_path):
    path = tmp_path / "state/sealing.key"
    assert have_sealing_key(path).private_bytes_raw() == read_sealing_key(path).private_bytes_raw()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["sealing.key"]


def test_a_key_that_cannot_be_had(tmp_path):
    with pytest.raises(SealingError, match="is not there; send the key again"):
        read_sealing_key(tmp_path / "none")
    (tmp_path / "short").write_bytes(b"x")
    with pytest.raises(SealingError, match="is damaged"):
        have_sealing_key(tmp_path / "short")
    with pytest.raises(SealingError, match="file exists"):
        have_sealing_key(tmp_path / "short/key")
    with pytest.raises(SealingError, match="is a directory"):
        read_sealing_key(tmp_path)
