import socket

import pytest

from spectrum.control.api.keeper import ApiKeeper, ApiPlace
from spectrum.control.api.process import ProcessAnswer
from spectrum.control.processes import keeper as keepers
from spectrum.control.processes import linked
from spectrum.tasks import Tasks
from tests.control.api.parts import STUB


@pytest.fixture
async def kept(tmp_path, monkeypatch):
    """A keeper that runs, the place where its process serves, and how often the store was read."""
    monkeypatch.setattr(linked, "python", lambda module: STUB)
    monkeypatch.setattr(keepers, "FIRST_PAUSE_S", 0.05)
    path, tasks = tmp_path / "api.sock", Tasks()

    async def answer(method, asked, query, body):
        return ProcessAnswer(200, b"1")

    async def restore():
        assert not any(one.lives for one in (kept._process,) if one is not None and one.is_serving)
        kept.restored += 1

    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        kept = ApiKeeper(answer, lambda: {"number": kept.restored}, restore)
        kept.restored, kept.path = 0, path
        kept.place = ApiPlace(tmp_path / "store", "", (sock.fileno(),))
        tasks.start(kept.run(), "keeper")
        yield kept
        await tasks.stop()
        await kept.close()
