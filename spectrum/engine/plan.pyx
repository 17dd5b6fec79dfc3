# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The decision on the sessions of a listener, as data that the engine follows without calling the handler.

For listeners whose sessions are all decided alike: connect to the next origin, with a header that has the client's
address. Sessions that a plan does not cover are left to the handler, one by one.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from spectrum.core.access.prefix_table cimport PrefixTable
from spectrum.engine.census cimport Census, Rates
from spectrum.engine.headers cimport PROXY_SIGNATURE
from spectrum.engine.linux cimport htons
from spectrum.engine.slab cimport Session
from spectrum.engine.sockets cimport clock_ns
from spectrum.engine.text cimport write_ip, write_number

cdef enum HeaderVersion:
    NO_HEADER
    VERSION_1
    VERSION_2

cdef enum Scope:
    ALL
    CLIENT
    PREFIX

cdef uint64_t NS_PER_S = 1000000000
_HEADERS = {"off": NO_HEADER, "v1": VERSION_1, "v2": VERSION_2}
_SCOPES = {"all": ALL, "client": CLIENT, "prefix": PREFIX}


cdef class SessionPlan:
    """The decision on the sessions of a listener.

    Args:
        orders: Orders of origins to try; sessions use them in turn.
        proxy_protocol: The header to origins: "off", "v1" or "v2".
        connect_timeout_ms: See `Relay.connect`.
        idle_timeout_ms: Likewise.
        form: The form of its sessions' records.
        judge: Called with each client's address; unless it returns None the session is left to the handler.
        prefixes: A superset of the addresses that the judge answers; it is not called for others.
        limits: (group of the census, "all", "client" or "prefix", whether it is a rate, the limit, the reason of a
            refusal, whether a session may wait). All are checked before any is charged. A session that would have to
            wait is left to the handler.
    """

    def __init__(self, tuple orders, str proxy_protocol, uint32_t connect_timeout_ms, uint32_t idle_timeout_ms,
                 RecordForm form, judge=None, limits=(), PrefixTable prefixes=None):
        cdef Limit *limit
        if not orders:
            raise ValueError("a plan leads to one origin at least")
        self._orders = orders
        self._header = _HEADERS[proxy_protocol]
        self.connect_timeout_ms = connect_timeout_ms
        self.idle_timeout_ms = idle_timeout_ms
        self.form = form
        self._judge = judge
        self._prefixes = prefixes
        self._limits = <Limit *>calloc(max(len(limits), 1), sizeof(Limit))
        if self._limits == NULL:
            raise MemoryError()
        for group, scope, is_rate, most, reason, delays in limits:
            limit = &self._limits[self._limit_count]
            limit.group = group
            limit.scope = _SCOPES[scope]
            limit.is_rate = is_rate
            limit.most = most
            limit.reason = reason
            limit.delays = delays
            self._limit_count += 1

    def __dealloc__(self):
        free(self._limits)

    cdef tuple next_targets(self):
        """Return the origins of a new session, in the order in which they are tried."""
        self._turn += 1
        if self._turn >= PyTuple_GET_SIZE(self._orders):
            self._turn = 0
        return <tuple>PyTuple_GET_ITEM(self._orders, self._turn)

    cdef bytes header_of(self, Session *session):
        """Return the PROXY header of a session (proxy-protocol.txt, sections 2.1 and 2.2).

        `spectrum.wire` has the same in Python; tests compare the two.
        """
        cdef int size = session.address_bytes
        cdef char header[128]
        cdef char *end
        cdef uint16_t port
        if self._header == NO_HEADER:
            return b""
        if self._header == VERSION_1:
            memcpy(header, b"PROXY TCP4 " if size == 4 else b"PROXY TCP6 ", 11)
            end = write_ip(header + 11, session.client_address, size)
            end[0] = b' '
            end = write_ip(end + 1, session.edge_address, size)
            end[0] = b' '
            end = write_number(end + 1, session.client_port)
            end[0] = b' '
            end = write_number(end + 1, session.edge_port)
            memcpy(end, b"\r\n", 2)
            return PyBytes_FromStringAndSize(header, end + 2 - header)
        memcpy(header, PROXY_SIGNATURE, 12)
        header[12] = 0x21
        header[13] = 0x11 if size == 4 else 0x21
        port = htons(<uint16_t>(2 * size + 4))
        memcpy(header + 14, &port, 2)
        memcpy(header + 16, session.client_address, size)
        memcpy(header + 16 + size, session.edge_address, size)
        port = htons(session.client_port)
        memcpy(header + 16 + 2 * size, &port, 2)
        port = htons(session.edge_port)
        memcpy(header + 18 + 2 * size, &port, 2)
        return PyBytes_FromStringAndSize(header, 20 + 2 * size)

    cdef uint64_t _key(self, Limit *limit, Session *session, Census census) noexcept nogil:
        if limit.scope == ALL:
            return limit.group
        if limit.scope == CLIENT:
            return census.client_key(limit.group, session.client_address, session.address_bytes)
        return census.prefix_key(limit.group, session.client_address, session.address_bytes)

    cdef bint _is_named(self, Session *session) except -1:
        """Ask the judge, if it may answer this client."""
        if self._prefixes is not None and not self._prefixes.list_of(session.client_address, session.address_bytes):
            return False
        return self._judge(
            PyBytes_FromStringAndSize(<char *>session.client_address, session.address_bytes)) is not None

    cdef int admit(self, Session *session, Census census, Rates rates) except -2:
        """Return ADMITTED, the reason of a refusal, or LEFT_TO_HANDLER."""
        cdef uint64_t now_ns
        cdef Limit *limit
        cdef int place
        if self._judge is not None and self._is_named(session):
            return LEFT_TO_HANDLER
        if self._limit_count == 0:
            return ADMITTED
        now_ns = clock_ns()
        for place in range(self._limit_count):
            limit = &self._limits[place]
            if limit.is_rate:
                if not rates.afford(self._key(limit, session, census), NS_PER_S // limit.most, now_ns):
                    return LEFT_TO_HANDLER if limit.delays else limit.reason
            elif census._count_key(self._key(limit, session, census)) >= limit.most:
                return limit.reason
        for place in range(self._limit_count):
            limit = &self._limits[place]
            if limit.is_rate:
                rates.pay(self._key(limit, session, census), NS_PER_S // limit.most, now_ns)
        return ADMITTED
