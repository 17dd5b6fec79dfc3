import os
import socket

import msgspec
import pytest

from spectrum.kernel.descriptors import memory_file
from spectrum.link.api import ApiAsk
from spectrum.link.bodies import MAX_INLINE_BYTES, body_of, send
from spectrum.link.channel import Channel
from spectrum.link.versions import Hello
from tests.control.keepers import until


class Parcel(msgspec.Struct, array_like=True, tag=True):
    body: bytes = b""
    size: int = 0


DECODER = msgspec.msgpack.Decoder(Hello | Parcel)


async def test_bodies_of_any_size_come_and_descriptors_with_them():
    before = len(os.listdir("/proc/self/fd"))
    came = []
    ends = [
        Channel(one, DECODER, lambda *given: came.append(given), lambda: None)
        for one in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ]
    for size in (0, 10, MAX_INLINE_BYTES, MAX_INLINE_BYTES + 1, 3_000_000):
        file = memory_file("given", b"with it")
        assert send(ends[0], Parcel(b"x" * size), [file])
        os.close(file)
        await until(lambda: came)
        message, descriptors = came.pop()
        assert os.pread(descriptors[-1], 100, 0) == b"with it"
        os.close(descriptors.pop())
        assert len(descriptors) == (size > MAX_INLINE_BYTES)
        assert body_of(message, descriptors) == b"x" * size
    for one in ends:
        one.close()
    assert len(os.listdir("/proc/self/fd")) == before


def pipe():
    read, write = os.pipe()
    os.close(write)
    return [read]


@pytest.mark.parametrize(
    ("size", "descriptors"),
    [(70_000, list), (9, pipe), (5, lambda: [memory_file("x", b"four")]), (1 << 40, lambda: [memory_file("x", b"")])],
)
def test_a_body_that_is_not_there(size, descriptors):
    given = descriptors()
    with pytest.raises(ValueError, match=f"a body of {size} bytes"):
        body_of(ApiAsk(1, "GET", "/", {}, b"", size), given)
    for descriptor in given:
        with pytest.raises(OSError):
            os.fstat(descriptor)
