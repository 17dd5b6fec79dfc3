# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The text of a session's record, from a template and the engine's counts, without Python objects.

A template is a record in JSON in which a control character (`Mark`) stands for each value that the engine inserts. JSON
escapes control characters, so they cannot occur otherwise.
"""

import re

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy
from libc.time cimport gmtime_r, time_t, tm
from spectrum.engine.linux cimport CLOCK_REALTIME, clock_gettime, timespec
from spectrum.engine.slab cimport Session
from spectrum.engine.sockets cimport clock_ns
from spectrum.engine.target cimport Target
from spectrum.engine.text cimport write_digits, write_hex, write_ip, write_number

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

# Placeholders for values in a template.
cpdef enum Mark:
    ENDED_AT = 1
    CONNECTED_AT = 2  # null if never
    CLIENT_ADDRESS = 3
    CLIENT_PORT = 4
    CLIENT_BYTES = 5
    CLIENT_RTT = 6  # ns
    ORIGIN_ADDRESS = 7
    ORIGIN_PORT = 8
    ORIGIN_BYTES = 9
    ORIGIN_RTT = 10
    CONNECT_DURATION = 11  # ns
    CLIENT_COUNTRY = 12
    CLIENT_NUMBER = 13  # of its autonomous system
    EDGE_ADDRESS = 14
    EDGE_PORT = 15
    POOL = 16
    ORIGIN_NAME = 17
    SESSION_NAME = 18  # in hexadecimal, within a string
    CLIENT_SINCE = 19  # bytes since the last record of its progress
    ORIGIN_SINCE = 20

cdef enum:
    LAST_MARK = 20
    # Maximum length of all inserted values, and the end of the line: three times, three addresses, eleven numbers, a
    # country, two names of at most 63 characters.
    VALUE_BYTES = 768

cdef int64_t NS_PER_S = 1000000000

_BEFORE_MARK = re.compile(rb"(?=[\x01-\x14])")

cdef void read_wall_clock(WallClock *clock) noexcept nogil:
    """Read the difference between the wall clock and the monotonic clock."""
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    clock.offset_ns = <int64_t>now.tv_sec * NS_PER_S + now.tv_nsec - <int64_t>clock_ns()


cdef char *_write_text(char *at, const char *text, size_t size) noexcept nogil:
    """Write a string that needs no escapes."""
    at[0] = b'"'
    memcpy(at + 1, text, size)
    at[size + 1] = b'"'
    return at + size + 2


cdef char *_write_address(char *at, const uint8_t *address, int length) noexcept nogil:
    at[0] = b'"'
    at = write_ip(at + 1, address, length)
    at[0] = b'"'
    return at + 1


cdef char *_write_time(char *at, uint64_t monotonic_ns, WallClock *clock) noexcept nogil:
    """Write a time in the form of RFC 3339, in UTC with microseconds."""
    cdef int64_t wall_ns = <int64_t>monotonic_ns + clock.offset_ns
    cdef int64_t second = wall_ns // NS_PER_S
    cdef time_t seconds = <time_t>second
    cdef tm parts
    cdef char *end = clock.text
    if second != clock.second:
        clock.second = second
        gmtime_r(&seconds, &parts)
        end = write_digits(end, parts.tm_year + 1900, 4)
        end[0] = b'-'
        end = write_digits(end + 1, parts.tm_mon + 1, 2)
        end[0] = b'-'
        end = write_digits(end + 1, parts.tm_mday, 2)
        end[0] = b'T'
        end = write_digits(end + 1, parts.tm_hour, 2)
        end[0] = b':'
        end = write_digits(end + 1, parts.tm_min, 2)
        end[0] = b':'
        end = write_digits(end + 1, parts.tm_sec, 2)
        end[0] = b'.'
    at[0] = b'"'
    memcpy(at + 1, clock.text, 20)
    at = write_digits(at + 21, <uint64_t>(wall_ns % NS_PER_S // 1000), 6)
    at[0] = b'Z'
    at[1] = b'"'
    return at + 2


cdef class RecordForm:
    """Writes the records of an app's sessions.

    Args:
        template_of: Returns the template for an outcome, its errno, and whether the record has the traffic since the
            session's last record, without the end of the line. Called once for each combination.
    """

    def __init__(self, template_of):
        self._template_of = template_of
        # By outcome, errno and whether there was a record before: the template in pieces, each of which but the first
        # begins with a mark.
        self._pieces = {}

    cdef bint write(self, Text *text, uint64_t name, Session *session, int outcome, int error, const uint64_t *since,
                    WallClock *clock, object where) except -1:
        """Write a record of a session that had an origin, ended or open.

        `name` is the session's, `since` its traffic each way since its last record (NULL without one), `where` the
        country and autonomous system of its client, or None.
        """
        cdef object key = <int64_t>outcome << 33 | <int64_t>(since != NULL) << 32 | <int64_t>error & 0xFFFFFFFF
        cdef tuple pieces
        cdef const char *source
        cdef char *at
        cdef char *grown
        cdef Py_ssize_t place, size, room = text.size + VALUE_BYTES
        found = self._pieces.get(key)
        if found is None:
            found = tuple(_BEFORE_MARK.split(self._template_of(outcome, error, since != NULL)))
            self._pieces[key] = found
        pieces = found
        for place in range(PyTuple_GET_SIZE(pieces)):
            room += PyBytes_GET_SIZE(<bytes>PyTuple_GET_ITEM(pieces, place))
        if room > <Py_ssize_t>text.room:
            grown = <char *>realloc(text.data, room * 2)
            if grown == NULL:
                raise MemoryError()
            text.data = grown
            text.room = room * 2
        at = text.data + text.size
        for place in range(PyTuple_GET_SIZE(pieces)):
            source = PyBytes_AS_STRING(<bytes>PyTuple_GET_ITEM(pieces, place))
            size = PyBytes_GET_SIZE(<bytes>PyTuple_GET_ITEM(pieces, place))
            if 0 < source[0] <= LAST_MARK:
                at = self._write_value(at, source[0], name, session, since, clock, where)
                source += 1
                size -= 1
            memcpy(at, source, size)
            at += size
        at[0] = b'\n'
        text.size = at + 1 - text.data
        return True

    cdef char *_write_value(
            self, char *at, int mark, uint64_t name, Session *session, const uint64_t *since, WallClock *clock,
            object where) except NULL:
        cdef Target target = <Target>session.target
        cdef const char *value
        cdef Py_ssize_t size
        if mark == ENDED_AT:
            return _write_time(at, session.ended_ns, clock)
        if mark == CONNECTED_AT:
            return _write_time(at, session.connected_ns, clock)
        if mark == CLIENT_ADDRESS:
            return _write_address(at, session.client_address, session.address_bytes)
        if mark == CLIENT_PORT:
            return write_number(at, session.client_port)
        if mark == CLIENT_BYTES:
            return write_number(at, session.legs[0].received_bytes)
        if mark == CLIENT_RTT:
            return write_number(at, <uint64_t>session.rtt_us[0] * 1000)
        if mark == ORIGIN_ADDRESS:
            value = PyUnicode_AsUTF8AndSize(target.host, &size)
            return _write_text(at, value, size)
        if mark == ORIGIN_PORT:
            return write_number(at, target.port)
        if mark == ORIGIN_BYTES:
            return write_number(at, session.legs[1].received_bytes)
        if mark == ORIGIN_RTT:
            return write_number(at, <uint64_t>session.rtt_us[1] * 1000)
        if mark == CONNECT_DURATION:
            return write_number(at, session.connected_ns - session.accepted_ns)
        if mark == EDGE_ADDRESS:
            return _write_address(at, session.edge_address, session.edge_bytes)
        if mark == EDGE_PORT:
            return write_number(at, session.edge_port)
        if mark == CLIENT_SINCE or mark == ORIGIN_SINCE:
            return write_number(at, since[mark - CLIENT_SINCE] if since != NULL else 0)
        if mark == SESSION_NAME:
            return write_hex(at, name)
        if mark == POOL or mark == ORIGIN_NAME:
            value = PyUnicode_AsUTF8AndSize(target.pool if mark == POOL else target.origin, &size)
            return _write_text(at, value, size)
        if mark == CLIENT_COUNTRY:
            if where is None:
                return _write_text(at, "", 0)
            value = PyUnicode_AsUTF8AndSize((<tuple>where)[0], &size)
            return _write_text(at, value, min(size, 2))
        return write_number(at, 0 if where is None else <uint64_t>(<tuple>where)[1])
