"""Encoding of possibly large messages, in which lack of memory is an error instead of a crash."""

import msgspec


def encode(encoder: msgspec.msgpack.Encoder | msgspec.json.Encoder, value: object) -> bytes:
    """Return a value as bytes.

    `Encoder.encode` of msgspec (0.22) crashes where its buffer cannot grow; `encode_into` does not.

    Raises:
        MemoryError: If there is no memory for it.
    """
    buffer = bytearray()
    encoder.encode_into(value, buffer)
    return bytes(buffer)
