import msgspec

from spectrum.control.tls.acme.messages import ChallengeAnswer, Failed, Found, Issued, OrderRequest


def test_messages_are_told_apart():
    for message in (ChallengeAnswer("http-01", "t", "c"), Issued(1.0, 2.0), Found(1.0, 2.0), Failed("why")):
        line = msgspec.json.encode(message)
        assert b"\n" not in line
        assert msgspec.json.decode(line, type=ChallengeAnswer | Issued | Found | Failed) == message
    assert not {"key", "secret"} & set(OrderRequest.__struct_fields__), "secrets are files"
