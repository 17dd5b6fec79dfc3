import msgspec

from spectrum.link.channel import MAX_PACKET_BYTES
from spectrum.link.takeover import Names


def test_names_fit_packets():
    many = {f"ANY {'x' * 60}{i} tcp 1-1": tuple(f"2001:db8::{n:x}" for n in range(i % 90)) for i in range(1000)}
    packets = list(Names.packets(many))
    assert len(packets) > 1
    assert {name: known for packet in packets for name, known in packet.addresses.items()} == many
    assert max(len(msgspec.msgpack.encode(packet)) for packet in packets) < MAX_PACKET_BYTES
    # One name with all that an answer over TCP holds.
    (packet,) = Names.packets({"ANY x tcp 1-1": tuple(f"192.0.{n >> 8}.{n & 255}" for n in range(4090))})
    assert len(msgspec.msgpack.encode(packet)) < MAX_PACKET_BYTES
    assert list(Names.packets({})) == []
