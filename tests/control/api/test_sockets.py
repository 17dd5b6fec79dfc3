import asyncio
import os
import socket
import stat

import pytest

from spectrum.control.api import sockets
from spectrum.control.api.sockets import ApiSockets
from spectrum.core.api import UnixAddress, parse_api_address
from spectrum.kernel.sockets import ListenError


async def test_what_is_wanted_is_open_and_the_rest_closed(tmp_path, free_port):
    own, path = tmp_path / "run" / "api.sock", tmp_path / "other.sock"
    one, unix = parse_api_address(f"127.0.0.1:{free_port()}"), UnixAddress(str(path))
    bank = ApiSockets(own)
    await bank.open([one, unix], may_wait=False)
    bank.use([one, unix])
    assert bank.where() == [f"unix:{own}", str(one), f"unix:{path}"]
    assert [stat.S_IMODE(one.stat().st_mode) for one in (own, path)] == [0o600, 0o660]
    before = bank.descriptors()
    socket.create_connection((str(one.address), one.port)).close()
    other = parse_api_address(f"[::1]:{free_port('::1')}")
    await bank.open([one, other], may_wait=False)
    bank.undo()
    await bank.open([one, other], may_wait=False)
    bank.use([one, other])
    bank.keep()
    assert bank.descriptors()[:2] == before[:2], "what stays is not opened anew"
    assert not path.exists()
    assert list(bank.given()) == bank.where()
    bank.close(are_others=False)
    assert not own.exists()


async def test_a_successor_continues_with_them(tmp_path, free_port):
    own, one = tmp_path / "api.sock", parse_api_address(f"127.0.0.1:{free_port()}")
    before, after = ApiSockets(own), ApiSockets(own)
    await before.open([one], may_wait=False)
    before.use([one])
    after.inherit({where: os.dup(descriptor) for where, descriptor in before.given().items()})
    await after.open([], may_wait=False)
    after.use([])
    after.keep()  # another address than before
    before.close(are_others=True)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(own))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((str(one.address), one.port))
    after.drop()
    after.keep()
    assert not own.exists()
    after.close(are_others=False)


async def test_an_address_that_is_taken(tmp_path, free_port, monkeypatch):
    monkeypatch.setattr(sockets, "RETRY_S", 0.01)
    one = parse_api_address(f"127.0.0.1:{free_port()}")
    bank = ApiSockets(tmp_path / "api.sock")
    with socket.create_server((str(one.address), one.port)) as other:
        with pytest.raises(ListenError, match=f"api: {one}: address already in use"):
            await bank.open([one], may_wait=False)
        bank.undo()
        assert not (tmp_path / "api.sock").exists()
        asyncio.get_running_loop().call_later(0.05, other.close)
        await bank.open([one], may_wait=True)
    bank.undo()
    (tmp_path / "file").touch()
    with pytest.raises(ListenError, match="it exists and is not a socket"):
        await bank.open([UnixAddress(str(tmp_path / "file"))], may_wait=False)
    bank.undo()
