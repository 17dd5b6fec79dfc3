import asyncio
import socket

from spectrum.simulation.echo import serve
from tests.engine.harness import closed_port


async def test_what_comes_goes_back():
    port = closed_port()
    serving = asyncio.get_running_loop().create_task(serve([f"tcp/{port}", f"udp/{port}"]))
    await asyncio.sleep(0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    writer.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(("127.0.0.1", port))
        sock.send(b"hello")
        assert await asyncio.get_running_loop().sock_recv(sock, 10) == b"hello"
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
