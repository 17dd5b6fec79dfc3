"""Columns in the memory layout of Apache Arrow, to which rows are appended without the interpreter."""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

cdef enum:
    NONE = 0xFFFFFFFF

ctypedef struct column_t:
    int kind  # index into FORMATS
    char *values  # numbers; indices of a category; offsets into `heap` of a text
    uint8_t *valid  # bits; only of optional numbers
    # Text: of all rows, or the distinct values of a category with their offsets and a hash table of their indices.
    char *heap
    size_t heap_room
    int32_t *ends
    uint32_t count, ends_room, mask
    uint32_t *places


cdef class ArrowColumns:
    cdef column_t *columns
    cdef readonly int width
    cdef uint64_t rows, room
    cdef tuple _names

    cdef int reserve(self) except -1 nogil
    cdef int put_text(self, column_t *column, const char *text, size_t size) except -1 nogil
    cdef uint32_t index_of(self, column_t *column, const char *text, size_t size) except? NONE nogil


cdef inline void put_number(column_t *column, uint64_t row, uint64_t value) noexcept nogil:
    if column.kind == 0:
        (<uint8_t *>column.values)[row] = <uint8_t>value
    elif column.kind == 1:
        (<unsigned short *>column.values)[row] = <unsigned short>value
    elif column.kind == 2 or column.kind == 7:
        (<uint32_t *>column.values)[row] = <uint32_t>value
    else:
        (<uint64_t *>column.values)[row] = value


cdef inline void put_valid(column_t *column, uint64_t row, bint is_valid) noexcept nogil:
    cdef uint8_t bit = <uint8_t>(1 << (row & 7))
    if is_valid:
        column.valid[row >> 3] |= bit
    else:
        column.valid[row >> 3] &= <uint8_t>~bit
