import msgspec

from spectrum.core.tcp_options import TcpOptions


def test_workers_get_what_was_compiled():
    options = TcpOptions("bbr", 4096, True)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(options), type=TcpOptions) == options
