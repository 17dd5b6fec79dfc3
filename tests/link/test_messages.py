import msgspec

from spectrum.link.messages import HealthUpdate, TicketKeysUpdate


def test_renamed_messages_keep_their_tags():
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(TicketKeysUpdate([b"key"]))) == ["Tickets", [b"key"]]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(HealthUpdate({}, {"pool": 0.5})))[0] == "Health"
