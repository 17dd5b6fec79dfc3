import msgspec

from spectrum.core.origin_bounds import OriginBounds, RetrySettings


def test_settings_of_workers():
    bounds = OriginBounds(7, 3, 2.5, RetrySettings(20, 10), 4)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(bounds), type=OriginBounds) == bounds


def test_without_bounds_nothing_is_bounded():
    assert OriginBounds() == OriginBounds(max_sessions=0, queue_size=0, queue_timeout_s=0, retries=None, preconnect=0)
