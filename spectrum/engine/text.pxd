"""Numbers and addresses as text, faster than the C library's formats, for every session."""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport strlen
from spectrum.engine.linux cimport AF_INET6, inet_ntop

cdef inline char *write_digits(char *at, uint64_t value, int width) noexcept nogil:
    """Write a number with leading zeros; like all of these, return the end of the text."""
    cdef int place
    for place in range(width - 1, -1, -1):
        at[place] = <char>(48 + value % 10)
        value //= 10
    return at + width

cdef inline char *write_number(char *at, uint64_t value) noexcept nogil:
    """Write a number, of at most 20 digits."""
    cdef uint64_t rest = value
    cdef int width = 1
    while rest >= 10:
        rest //= 10
        width += 1
    return write_digits(at, value, width)

cdef inline char *write_hex(char *at, uint64_t value) noexcept nogil:
    """Write a number in hexadecimal, of at most 16 digits."""
    cdef uint64_t rest = value
    cdef int width = 1, place
    while rest >= 16:
        rest >>= 4
        width += 1
    for place in range(width - 1, -1, -1):
        at[place] = b"0123456789abcdef"[value & 15]
        value >>= 4
    return at + width

cdef inline char *write_ip(char *at, const uint8_t *address, int length) noexcept nogil:
    """Write an address of 4 or 16 bytes; there is room for 46 characters (INET6_ADDRSTRLEN)."""
    cdef int place
    if length == 16:
        inet_ntop(AF_INET6, address, at, 46)
        return at + strlen(at)
    for place in range(4):
        at = write_number(at, address[place])
        at[0] = b'.'
        at += 1
    return at - 1
