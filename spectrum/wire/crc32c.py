"""CRC32C (Castagnoli), the checksum of PROXY protocol v2's PP2_TYPE_CRC32C (RFC 3720, appendix B.4).

Table-driven Python: a header is about 50 bytes, and only senders that request a checksum cause the work.
"""

_POLYNOMIAL_REFLECTED = 0x82F63B78


def _table_entry(index: int) -> int:
    for _ in range(8):
        index = (index >> 1) ^ (_POLYNOMIAL_REFLECTED if index & 1 else 0)
    return index


_TABLE = tuple(_table_entry(index) for index in range(256))


def crc32c(data: bytes) -> int:
    """Return the CRC32C of `data` as an unsigned 32-bit integer."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
