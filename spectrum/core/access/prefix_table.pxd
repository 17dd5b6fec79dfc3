"""The C layout of `PrefixTable`, for the engine, which asks it without Python objects."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef struct Header:
    uint64_t magic
    uint64_t count4
    uint64_t count6
    uint64_t marks6
    uint64_t given4
    uint64_t given6

cdef struct Wide:
    uint64_t high
    uint64_t low

cdef class PrefixTable:
    cdef Py_buffer _view
    cdef bint _held
    cdef Header _header
    cdef Wide *_marks
    cdef Wide *_starts6
    cdef uint32_t *_index
    cdef uint32_t *_starts4
    cdef uint32_t *_values4
    cdef uint32_t *_values6
    # The prefixes as given; the types are those of prefix_table.pyx.
    cdef void *_given4
    cdef void *_given6
    cdef uint32_t list_of(self, const uint8_t *b, Py_ssize_t length) noexcept nogil
    cdef uint32_t _find4(self, uint32_t address) noexcept nogil
    cdef uint32_t _find6(self, uint64_t high_word, uint64_t low_word) noexcept nogil
