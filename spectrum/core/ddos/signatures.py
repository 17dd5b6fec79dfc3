"""The signature of TCP options: their kinds and order distinguish systems and tools."""

# FNV-1a of 32 bits (RFC 9923).
_START, _PRIME = 0x811C9DC5, 0x01000193
_END, _NOP, _MSS = 0, 1, 2
_MSS_BYTES = 4
# Limit of options that the filter's program parses (kernel/bpf/facts.h).
MAX_OPTIONS = 16


def option_signature(options: bytes) -> int:
    """Return the signature of TCP options, as the filter's program does (`signature_of` of kernel/bpf/facts.h).

    Args:
        options: The bytes between the 20 bytes of the TCP header and its payload.

    Returns:
        FNV-1a of their kinds in order, of the MSS behind its kind, and of nothing behind the end of the list. 0 for no
        options.
    """
    if not options:
        return 0
    signature, place = _START, 0
    for _ in range(MAX_OPTIONS):
        if place >= len(options):
            break
        kind = options[place]
        signature = _hashed(signature, kind)
        if kind == _END:
            break
        length = 1
        if kind != _NOP:
            if place + 1 >= len(options) or (length := options[place + 1]) < 2:
                break
            if kind == _MSS and length == _MSS_BYTES and place + _MSS_BYTES <= len(options):
                signature = _hashed(_hashed(signature, options[place + 2]), options[place + 3])
        place += length
    return signature


def _hashed(signature: int, byte: int) -> int:
    return (signature ^ byte) * _PRIME & 0xFFFFFFFF
