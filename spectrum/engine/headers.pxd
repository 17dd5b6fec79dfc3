"""The headers by which the proxy in front names the client of a datagram, as the UDP engine reads them.

`spectrum.wire` has the same in Python; tests compare the two.
"""

from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memcmp, memcpy
from spectrum.engine.flows cimport Key
from spectrum.engine.sockets cimport MAPPED

cdef extern from *:
    """
    #define PROXY_SIGNATURE "\\r\\n\\r\\n\\0\\r\\nQUIT\\n"
    """
    const char *PROXY_SIGNATURE

cdef enum Dialect:
    NO_HEADER = 0
    SIMPLE_HEADER = 1  # before each datagram, and before each reply
    PROXY_HEADER = 2   # PROXY protocol v2: before the first, before each, or as a datagram of its own

cdef enum:
    SIMPLE_HEADER_BYTES = 38
    PROXY_PREFIX_BYTES = 16
    MALFORMED_HEADER = -1

cdef inline int read_header(const uint8_t *data, size_t size, Key *key, uint8_t *dialect) noexcept nogil:
    """Return the length of a datagram's header: 0 if there is none, MALFORMED_HEADER if it cannot be parsed.

    `key` gets its addresses and ports; it is unchanged if the header has none (LOCAL, UNSPEC).
    """
    cdef size_t length
    cdef uint8_t family
    dialect[0] = NO_HEADER
    if size >= SIMPLE_HEADER_BYTES and data[0] == 0x56 and data[1] == 0xEC:
        memcpy(key, data + 2, SIMPLE_HEADER_BYTES - 2)
        dialect[0] = SIMPLE_HEADER
        return SIMPLE_HEADER_BYTES
    if size < PROXY_PREFIX_BYTES or memcmp(data, PROXY_SIGNATURE, 12) != 0:
        return 0
    length = PROXY_PREFIX_BYTES + (<size_t>data[14] << 8 | data[15])
    if data[12] >> 4 != 2 or (data[12] & 0xF) > 1 or size < length:
        return MALFORMED_HEADER
    dialect[0] = PROXY_HEADER
    family = data[13] >> 4
    if data[12] & 0xF == 0 or family == 0:
        return <int>length
    if family == 1 and length >= PROXY_PREFIX_BYTES + 12:
        memcpy(key.client, MAPPED, 12)
        memcpy(key.client + 12, data + 16, 4)
        memcpy(key.edge, MAPPED, 12)
        memcpy(key.edge + 12, data + 20, 4)
        memcpy(&key.client_port, data + 24, 2)
        memcpy(&key.edge_port, data + 26, 2)
        return <int>length
    if family == 2 and length >= PROXY_PREFIX_BYTES + 36:
        memcpy(key, data + 16, 36)
        return <int>length
    return MALFORMED_HEADER
