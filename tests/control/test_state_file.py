import msgspec
import pytest

from spectrum.control.configuration.actor import RolloutError
from spectrum.control.state_file import read_state, since_text, write_state

DECODER = msgspec.json.Decoder(dict[str, int])


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "of" / "state.json"
    assert read_state(path, DECODER, "things are so") == {}
    for state in ({"a": 1}, {"b": 2}):
        write_state(path, state)
        assert read_state(path, DECODER, "things are so") == state
    assert [path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777] == [0o600, 0o700]
    assert [one.name for one in path.parent.iterdir()] == ["state.json"]


@pytest.mark.parametrize("content", ["{", '{"a": "b"}', "[]"])
def test_what_cannot_be_read(tmp_path, content):
    (path := tmp_path / "state.json").write_text(content)
    with pytest.raises(
        RolloutError, match=r"which things are so cannot be read: .*; if none is to be, remove the file"
    ):
        read_state(path, DECODER, "things are so")


def test_times():
    assert since_text(0.0) == "1970-01-01T00:00:00+00:00"
