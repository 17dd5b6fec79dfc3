# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Records of workers, as JSON, in the columns of `events`, without the interpreter and without SQL.

A line is read in one pass that expects the fields of the line before, and is refused if it has anything that workers do
not write: escapes, other bytes than ASCII, spaces, unknown fields, numbers that do not fit. DuckDB reads such lines
(`core.analytics.rows`), whose expressions are the definition of the columns; tests compare both.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy
from spectrum.core.analytics.arrow_columns cimport (
    NONE, ArrowColumns, column_t, put_number, put_valid,
)

import msgspec

from spectrum.core.analytics.client_numbers import NUMBERED_EVENTS
from spectrum.core.analytics.columns import ColumnKind, Role
from spectrum.core.analytics.event_rows import FAILED, REFUSED
from spectrum.core.analytics.rows import OTHER_EVENTS, copied_fields, fields_of
from spectrum.core.records.events import SessionEvent

cdef enum:
    MAX_FIELDS = 64  # a bit each
    MAX_LABELS = 64
    MAX_KNOWN = 1024
    MINUTE_CHARS = 17
    ZERO = 48  # the digit
    MAX_ADDRESS = 56  # with the name of an interface
    # What follows the name of a field.
    NUMBER = 1
    CATEGORY = 2
    TEXT = 3
    TIME = 4
    JSON = 5
    IGNORED = 6

ctypedef struct field_t:
    const char *key  # with quotes and colon
    size_t key_size
    int what
    int column  # that copies the field; -1 for none
    uint64_t limit  # the greatest number
    int following  # the field that came after this one last time


ctypedef struct value_t:
    const char *text
    size_t size
    uint64_t number  # or microseconds since 1970
    uint32_t index  # of a category; NONE if it is not known yet


ctypedef struct label_t:
    const char *text
    size_t size
    int means


# How events and reasons are told apart.
cdef enum:
    PASSED = 0
    REFUSED_BY = 1
    FAILED_BY = 2
    CONNECTED = 3
    OTHER_TABLE = 4

cdef tuple OUTCOMES = (b"passed", b"refused", b"failed")
cdef dict LIMITS = {"USMALLINT": 2**16 - 1, "UINTEGER": 2**32 - 1, "UBIGINT": 2**64 - 1}
cdef int *MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
# Fields and columns that are used by name, in this order.
cdef tuple USED = (
    "Event", "Reason", "Timestamp", "ConnectTimestamp", "DisconnectTimestamp", "ClientIP", "OriginIP", "OriginPort",
    "OriginName", "Pool", "ConnectDuration", "ClientTcpRtt", "OriginTcpRtt", "Sessions", "Clients", "SampledOneIn",
    "ClientBytes", "OriginBytes", "ClientDatagrams", "OriginDatagrams", "ClientBytesSince", "OriginBytesSince",
    "ClientDatagramsSince", "OriginDatagramsSince", "Attempts",
)
cdef enum:
    EVENT, REASON, ENDED_AT, CONNECTED_AT, DISCONNECTED_AT, CLIENT_IP, ORIGIN_IP, ORIGIN_PORT
    ORIGIN_NAME, POOL, CONNECT_DURATION, CLIENT_RTT, ORIGIN_RTT, SESSIONS, CLIENTS, SAMPLED
    MOVED = 16
    SINCE = 20
    ATTEMPTS = 24
    USED_FIELDS = 25
cdef tuple MADE = (
    "source", "sequence", "time", "outcome", "node", "client_prefix", "ip_version", "origin", "attempts", "weight",
    "clients", "client_bytes", "origin_bytes", "client_packets", "origin_packets", "duration", "connect_duration",
    "client_rtt", "origin_rtt", "client", "event", "reason", "client_ip", "origin_ip", "origin_name", "pool",
)
cdef enum:
    C_SOURCE, C_SEQUENCE, C_TIME, C_OUTCOME, C_NODE, C_PREFIX, C_VERSION, C_ORIGIN, C_ATTEMPTS, C_WEIGHT
    C_CLIENTS, C_MOVED
    C_DURATION = 15
    C_CONNECT, C_CLIENT_RTT, C_ORIGIN_RTT, C_CLIENT, C_EVENT, C_REASON, C_CLIENT_IP, C_ORIGIN_IP, C_ORIGIN_NAME, C_POOL
    MADE_COLUMNS = 26


cdef str _kind_of(column):
    """Return the kind of a column in memory."""
    return "optional" if column.role is Role.DURATION else column.kind.name.lower()


cdef class RecordColumns(ArrowColumns):
    """Rows of the table of events, with the numbers of clients."""

    cdef field_t _fields[MAX_FIELDS]
    cdef int _field_count
    cdef value_t _values[MAX_FIELDS]
    # The fields of the line that have a value, and all that it has.
    cdef uint64_t _given, _met
    cdef int _used[USED_FIELDS]
    cdef column_t *_made[MADE_COLUMNS]
    cdef label_t _events[MAX_LABELS]
    cdef label_t _reasons[MAX_LABELS]
    cdef int _event_labels, _reason_labels
    # What the first indices of events and reasons mean, as far as they are known.
    cdef uint8_t _event_means[MAX_KNOWN]
    cdef uint8_t _reason_means[MAX_KNOWN]
    cdef uint32_t _events_known, _reasons_known
    # Of the row before.
    cdef char _minute[MINUTE_CHARS]
    cdef int64_t _minute_us
    cdef uint32_t _origin[5]  # pool, name, address, port, and what they are in `origin`
    cdef uint64_t _at_start  # rows before the batch
    cdef uint32_t _source, _node
    cdef tuple _kept

    def __init__(self):
        cdef int place
        cdef label_t *known
        cdef dict columns = {column.name: index for index, column in enumerate(NUMBERED_EVENTS.columns)}
        cdef dict kinds = fields_of(NUMBERED_EVENTS)
        cdef dict copied = copied_fields(NUMBERED_EVENTS)
        cdef list names = [field.name for field in msgspec.structs.fields(SessionEvent)]
        cdef list keys = [b'"%b":' % (<str>name).encode() for name in names]
        assert len(names) <= MAX_FIELDS
        ArrowColumns.__init__(self, [(column.name, _kind_of(column)) for column in NUMBERED_EVENTS.columns])
        self._field_count = len(names)
        for place, name in enumerate(names):
            kind = kinds.get(name, "")
            column = columns[copied[name]] if name in copied else -1
            self._fields[place].key = keys[place]
            self._fields[place].key_size = len(keys[place])
            self._fields[place].column = column
            self._fields[place].limit = LIMITS.get(kind, 0)
            self._fields[place].following = min(place + 1, self._field_count - 1)
            if column >= 0 and kind == "VARCHAR":
                is_text = NUMBERED_EVENTS.columns[column].kind is ColumnKind.TEXT
                self._fields[place].what = TEXT if is_text else CATEGORY
            else:
                self._fields[place].what = {
                    "VARCHAR": TEXT, "TIMESTAMP": TIME, "JSON": JSON, "": IGNORED
                }.get(kind, NUMBER)
        for place, name in enumerate(USED):
            self._used[place] = names.index(name)
        for place, name in enumerate(MADE):
            self._made[place] = &self.columns[<int>columns[name]]
        events = {"clientFiltered": REFUSED_BY, "originError": FAILED_BY, "resolveOrigin": FAILED_BY}
        events |= {"connect": CONNECTED} | dict.fromkeys(OTHER_EVENTS, OTHER_TABLE)
        reasons = dict.fromkeys(REFUSED, REFUSED_BY) | dict.fromkeys(FAILED - REFUSED, FAILED_BY)
        assert len(events) <= MAX_LABELS and len(reasons) <= MAX_LABELS
        labels = [label.encode() for label in (*events, *reasons)]
        self._kept = (keys, labels)  # keeps the texts
        for place, label in enumerate(labels):
            known = &self._events[place] if place < len(events) else &self._reasons[place - len(events)]
            known.text, known.size = <const char *><bytes>label, len(label)
            known.means = events[label.decode()] if place < len(events) else reasons[label.decode()]
        self._event_labels, self._reason_labels = len(events), len(reasons)
        memcpy(self._minute, b"1970-01-01T00:00:", MINUTE_CHARS)  # of `_minute_us` 0
        self.clear()

    def clear(self):
        """Remove all rows."""
        ArrowColumns.clear(self)
        self._events_known = self._reasons_known = 0
        self._origin[4] = NONE
        for outcome in OUTCOMES:
            self.index_of(self._made[C_OUTCOME], outcome, len(outcome))

    def add(self, str source, uint64_t sequence, bytes lines, uint64_t skipped, number_of):
        """Add the records of a batch.

        Args:
            source: Its source.
            sequence: The number of its first record.
            lines: A record in each.
            skipped: How many of the first ones are left out.
            number_of: Returns the number of an address.

        Returns:
            The lines that were not read, with the numbers of their records.
        """
        cdef bytes text = source.encode()
        cdef bytes node = source.partition("/")[0].encode()
        cdef const char *at = PyBytes_AS_STRING(lines)
        cdef const char *end = at + PyBytes_GET_SIZE(lines)
        cdef const char *refused
        cdef uint64_t number = sequence, row = self.rows, begun = self.rows
        cdef int32_t *ends
        cdef column_t *clients = self._made[C_CLIENT_IP]
        cdef list left = []
        self._source = self.index_of(self._made[C_SOURCE], text, len(text))
        self._node = self.index_of(self._made[C_NODE], node, len(node))
        while at < end:
            with nogil:
                refused = self._add_lines(&at, end, &number, sequence + skipped)
            if refused != NULL:
                left.append((number - 1, PyBytes_FromStringAndSize(refused, at - refused)))
        ends = <int32_t *>clients.values
        for row in range(begun, self.rows):
            address = PyBytes_FromStringAndSize(clients.heap + ends[row], ends[row + 1] - ends[row])
            put_number(self._made[C_CLIENT], row, number_of(address))
        return left

    cdef const char *_add_lines(
            self, const char **at, const char *end, uint64_t *number, uint64_t first) except? NULL nogil:
        """Add lines up to the first one that cannot be read; return that one, or NULL at the end."""
        cdef const char *line
        cdef const char *line_end
        while at[0] < end:
            line = at[0]
            line_end = <const char *>memchr(line, b'\n', end - line)
            if line_end == NULL:
                line_end = end
            at[0] = line_end + (line_end < end)
            number[0] += 1
            if number[0] <= first:
                continue
            self.reserve()
            if not self._read(line, line_end) or not self._put(number[0] - 1):
                return line
        return NULL

    # --- a line ---------------------------------------------------------------------------------------------------

    cdef bint _read(self, const char *at, const char *end) noexcept nogil:
        """Read the fields of a line; return False if it is not one that workers write."""
        cdef int place = 0, before = -1
        cdef field_t *field
        cdef value_t *value
        cdef uint64_t bit
        self._given = self._met = 0
        if at >= end or at[0] != b'{':
            return False
        at += 1
        while True:
            field = &self._fields[place]
            if <size_t>(end - at) <= field.key_size or memcmp(at, field.key, field.key_size) != 0:
                place = self._find(at, end)
                if place < 0:
                    return False
                field = &self._fields[place]
                if before >= 0:
                    self._fields[before].following = place
            bit = <uint64_t>1 << place
            if self._met & bit:
                return False
            self._met |= bit
            at += field.key_size
            value = &self._values[place]
            if at[0] == b'n':
                if end - at < 4 or memcmp(at, b"null", 4) != 0:
                    return False
                at += 4
            else:
                self._given |= bit
                if field.what == NUMBER:
                    at = _read_number(at, end, field.limit, &value.number)
                elif field.what == TIME:
                    at = self._read_time(at, end, &value.number)
                elif field.what == JSON:
                    at = _read_list(at, end, value)
                elif field.what == IGNORED:
                    at = _read_ignored(at, end, value)
                else:
                    at = self._read_text(at, end, field, value)
                if at == NULL:
                    return False
            if at >= end:
                return False
            if at[0] == b'}':
                return at + 1 == end
            if at[0] != b',':
                return False
            at += 1
            before = place
            place = field.following

    cdef int _find(self, const char *at, const char *end) noexcept nogil:
        cdef int place
        for place in range(self._field_count):
            if <size_t>(end - at) > self._fields[place].key_size:
                if memcmp(at, self._fields[place].key, self._fields[place].key_size) == 0:
                    return place
        return -1

    cdef const char *_read_text(
            self, const char *at, const char *end, field_t *field, value_t *value) noexcept nogil:
        cdef column_t *column
        cdef size_t size
        cdef int32_t begin
        value.index = NONE
        if field.what == CATEGORY and self.rows:
            # Most values are those of the row before.
            column = &self.columns[field.column]
            value.index = (<uint32_t *>column.values)[self.rows - 1]
            begin = column.ends[value.index]
            size = column.ends[value.index + 1] - begin
            if <size_t>(end - at) > size + 2 and at[0] == b'"' and at[size + 1] == b'"':
                if memcmp(at + 1, column.heap + begin, size) == 0:
                    return at + size + 2
            value.index = NONE
        return _read_string(at, end, value)

    cdef const char *_read_time(self, const char *at, const char *end, uint64_t *time_us) noexcept nogil:
        """Read a time in UTC, with up to six digits of a second's fraction."""
        cdef int second, digits = 0
        cdef int64_t fraction = 0
        if end - at < MINUTE_CHARS + 5 or at[0] != b'"':
            return NULL
        at += 1
        if memcmp(at, self._minute, MINUTE_CHARS) != 0:
            if not _minute_of(at, &self._minute_us):
                return NULL
            memcpy(self._minute, at, MINUTE_CHARS)
        second = _two_digits(at + MINUTE_CHARS)
        if second < 0 or second > 59:
            return NULL
        at += MINUTE_CHARS + 2
        if at[0] == b'.':
            at += 1
            while at < end and b'0' <= at[0] <= b'9' and digits < 6:
                fraction = fraction * 10 + at[0] - ZERO
                at += 1
                digits += 1
            if not digits:
                return NULL
            while digits < 6:
                fraction *= 10
                digits += 1
        if end - at < 2 or at[0] != b'Z' or at[1] != b'"':
            return NULL
        time_us[0] = <uint64_t>(self._minute_us + second * 1000000 + fraction)
        return at + 2

    # --- a row ----------------------------------------------------------------------------------------------------

    cdef inline bint _has(self, int used) noexcept nogil:
        return self._given >> self._used[used] & 1

    cdef inline uint64_t _number(self, int used, uint64_t otherwise) noexcept nogil:
        return self._values[self._used[used]].number if self._has(used) else otherwise

    cdef bint _put(self, uint64_t sequence) except -1 nogil:
        """Write the row of the line that was read; return False if it has none here."""
        cdef uint64_t row = self.rows
        cdef int place
        cdef field_t *field
        cdef value_t *value
        cdef column_t *column
        cdef bint is_given
        cdef int means
        if not self._has(EVENT) or not self._has(ENDED_AT):
            return False
        if self._has(CLIENT_IP) and self._values[self._used[CLIENT_IP]].size > MAX_ADDRESS:
            return False
        for place in range(self._field_count):
            field = &self._fields[place]
            if field.column < 0:
                continue
            column = &self.columns[field.column]
            value = &self._values[place]
            is_given = self._given >> place & 1
            if field.what == CATEGORY:
                if not is_given:
                    value.index = self.index_of(column, b"", 0)
                elif value.index == NONE:
                    value.index = self.index_of(column, value.text, value.size)
                put_number(column, row, value.index)
            elif field.what == TEXT:
                self.put_text(column, value.text, value.size if is_given else 0)
            else:
                put_number(column, row, value.number if is_given else 0)
        means = self._meaning()
        if means < 0 or not self._put_moved(row) or not self._put_origin(row):
            return False
        put_number(self._made[C_SOURCE], row, self._source)
        put_number(self._made[C_NODE], row, self._node)
        put_number(self._made[C_SEQUENCE], row, sequence)
        put_number(self._made[C_OUTCOME], row, means)
        self._put_client(row)
        self._put_durations(row)
        value = &self._values[self._used[ATTEMPTS]]
        self.put_text(self._made[C_ATTEMPTS], value.text, value.size if self._has(ATTEMPTS) else 0)
        self.rows = row + 1
        return True

    cdef int _meaning(self) noexcept nogil:
        """Return the index of the outcome; -1 for a record of another table, or where too many values are known."""
        cdef uint32_t event = self._index_in(C_EVENT), reason = self._index_in(C_REASON)
        cdef int by_event, by_reason
        if event >= MAX_KNOWN or reason >= MAX_KNOWN:
            return -1
        while self._events_known <= event:
            self._event_means[self._events_known] = _means(
                self._made[C_EVENT], self._events_known, self._events, self._event_labels)
            self._events_known += 1
        while self._reasons_known <= reason:
            self._reason_means[self._reasons_known] = _means(
                self._made[C_REASON], self._reasons_known, self._reasons, self._reason_labels)
            self._reasons_known += 1
        by_event, by_reason = self._event_means[event], self._reason_means[reason]
        if by_event == OTHER_TABLE:
            return -1
        if by_event == REFUSED_BY or by_reason == REFUSED_BY:
            return REFUSED_BY
        return FAILED_BY if by_event == FAILED_BY or by_reason == FAILED_BY else PASSED

    cdef inline uint32_t _index_in(self, int made) noexcept nogil:
        """Return the index that this row has in a category."""
        return (<uint32_t *>self._made[made].values)[self.rows]

    cdef bint _put_moved(self, uint64_t row) noexcept nogil:
        """Write what was moved since the session's record before, and for how many sessions the record stands."""
        cdef uint64_t sampled = self._number(SAMPLED, 1), sessions = self._number(SESSIONS, 1), moved
        cdef int way
        for way in range(4):
            moved = 0
            if self._event_means[self._index_in(C_EVENT)] != CONNECTED:
                moved = self._number(SINCE + way, self._number(MOVED + way, 0))
                if sampled and moved > <uint64_t>-1 // sampled:
                    return False
            put_number(self._made[C_MOVED + way], row, moved * sampled)
        put_number(self._made[C_WEIGHT], row, min(sessions * sampled, <uint64_t>0xFFFFFFFF))
        put_number(self._made[C_CLIENTS], row, self._number(CLIENTS, 0))
        return True

    cdef bint _put_origin(self, uint64_t row) except -1 nogil:
        """Write `pool/name` of the origin, or its address and port."""
        cdef uint32_t pool = self._index_in(C_POOL), name = self._index_in(C_ORIGIN_NAME)
        cdef uint32_t address = self._index_in(C_ORIGIN_IP)
        cdef uint32_t port = <uint32_t>self._number(ORIGIN_PORT, NONE)
        cdef char text[1024]
        cdef size_t size
        cdef const char *first
        cdef const char *second
        cdef size_t first_size, second_size
        if self._origin[4] == NONE or self._origin[0] != pool or self._origin[1] != name or (
                self._origin[2] != address or self._origin[3] != port):
            first = _value_of(self._made[C_POOL], pool, &first_size)
            second = _value_of(self._made[C_ORIGIN_NAME], name, &second_size)
            size = 0
            if first_size and second_size:
                size = first_size + 1 + second_size
                if size > sizeof(text):
                    return False
                memcpy(text, first, first_size)
                text[first_size] = b'/'
                memcpy(text + first_size + 1, second, second_size)
            else:
                first = _value_of(self._made[C_ORIGIN_IP], address, &first_size)
                if first_size:
                    if port == NONE or first_size > sizeof(text) - 16:
                        return False
                    size = _address_port(text, first, first_size, port)
            self._origin[4] = self.index_of(self._made[C_ORIGIN], text, size)
            self._origin[0], self._origin[1], self._origin[2], self._origin[3] = pool, name, address, port
        put_number(self._made[C_ORIGIN], row, self._origin[4])
        return True

    cdef int _put_client(self, uint64_t row) except -1 nogil:
        """Write the network of the address, and the version of IP."""
        cdef value_t *value = &self._values[self._used[CLIENT_IP]]
        cdef char text[64]
        cdef size_t size = value.size if self._has(CLIENT_IP) else 0
        cdef bint is_6 = size > 0 and memchr(value.text, b':', size) != NULL
        put_number(self._made[C_VERSION], row, (6 if is_6 else 4) if size else 0)
        if not size:
            return self.put_text(self._made[C_PREFIX], text, 0)
        size = _prefix6(text, value.text, size) if is_6 else _prefix4(text, value.text, size)
        return self.put_text(self._made[C_PREFIX], text, size)

    cdef void _put_durations(self, uint64_t row) noexcept nogil:
        """Write the durations of a session that ended; a sum of refusals has none."""
        cdef bint is_end = self._has(DISCONNECTED_AT) and not self._has(SESSIONS)
        cdef int64_t lasted = 0
        if is_end and self._has(CONNECTED_AT):
            lasted = <int64_t>self._values[self._used[DISCONNECTED_AT]].number
            lasted -= <int64_t>self._values[self._used[CONNECTED_AT]].number
        self._put_optional(C_DURATION, row, <uint64_t>max(lasted, 0), is_end)
        self._put_optional(
            C_CONNECT, row, self._number(CONNECT_DURATION, 0) // 1000,
            is_end and self._has(CONNECTED_AT) and self._has(CONNECT_DURATION))
        self._put_rtt(C_CLIENT_RTT, row, self._number(CLIENT_RTT, 0) // 1000, is_end)
        self._put_rtt(C_ORIGIN_RTT, row, self._number(ORIGIN_RTT, 0) // 1000, is_end)

    cdef inline void _put_rtt(self, int made, uint64_t row, uint64_t value, bint is_end) noexcept nogil:
        self._put_optional(made, row, value, is_end and value != 0)

    cdef inline void _put_optional(self, int made, uint64_t row, uint64_t value, bint is_valid) noexcept nogil:
        put_number(self._made[made], row, value)
        put_valid(self._made[made], row, is_valid)


# --- parts of a line ------------------------------------------------------------------------------------------------

cdef const char *_read_number(const char *at, const char *end, uint64_t limit, uint64_t *number) noexcept nogil:
    """Read a whole number of at most 19 digits, up to a limit."""
    cdef const char *begin = at
    cdef uint64_t value = 0
    while at < end and b'0' <= at[0] <= b'9':
        value = value * 10 + <uint64_t>(at[0] - ZERO)
        at += 1
    if at == begin or at - begin > 19 or value > limit or (begin[0] == b'0' and at - begin > 1):
        return NULL
    number[0] = value
    return at


cdef const char *_read_string(const char *at, const char *end, value_t *value) noexcept nogil:
    """Read a string of printable ASCII without escapes."""
    if at >= end or at[0] != b'"':
        return NULL
    at += 1
    value.text = at
    while at < end and at[0] != b'"':
        if at[0] < b' ' or at[0] >= 127 or at[0] == b'\\':  # other bytes than ASCII may be negative
            return NULL
        at += 1
    if at >= end:
        return NULL
    value.size = at - value.text
    return at + 1


cdef const char *_read_list(const char *at, const char *end, value_t *value) noexcept nogil:
    """Read a list or an object without spaces between its parts."""
    cdef const char *begin = at
    cdef int depth = 0
    cdef value_t part
    if at >= end or at[0] != b'[':
        return NULL
    while at < end:
        if at[0] == b'"':
            at = _read_string(at, end, &part)
            if at == NULL:
                return NULL
            continue
        if at[0] <= b' ' or at[0] >= 127:
            return NULL
        if at[0] == b'[' or at[0] == b'{':
            depth += 1
        elif at[0] == b']' or at[0] == b'}':
            depth -= 1
        at += 1
        if not depth:
            value.text = begin
            value.size = at - begin
            return at
    return NULL


cdef const char *_read_ignored(const char *at, const char *end, value_t *value) noexcept nogil:
    """Read a value that no column needs."""
    cdef uint64_t number
    if at[0] == b'"':
        return _read_string(at, end, value)
    if end - at > 5 and memcmp(at, b"false", 5) == 0:
        return at + 5
    if end - at > 4 and memcmp(at, b"true", 4) == 0:
        return at + 4
    return _read_number(at, end, <uint64_t>-1, &number)


cdef inline int _two_digits(const char *at) noexcept nogil:
    if not (b'0' <= at[0] <= b'9' and b'0' <= at[1] <= b'9'):
        return -1
    return (at[0] - ZERO) * 10 + at[1] - ZERO


cdef bint _minute_of(const char *at, int64_t *minute_us) noexcept nogil:
    """Read `2026-11-26T12:30:`, of a day from 1970 on."""
    cdef int century = _two_digits(at), year = _two_digits(at + 2), month = _two_digits(at + 5)
    cdef int day = _two_digits(at + 8), hour = _two_digits(at + 11), minute = _two_digits(at + 14)
    cdef int64_t days
    cdef bint is_leap
    if at[4] != b'-' or at[7] != b'-' or at[10] != b'T' or at[13] != b':' or at[16] != b':':
        return False
    if century < 0 or year < 0 or month < 1 or month > 12 or hour < 0 or hour > 23 or minute < 0 or minute > 59:
        return False
    year += century * 100
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if year < 1970 or day < 1 or day > MONTH_DAYS[month - 1] + (month == 2 and is_leap):
        return False
    # From March on, a leap day is the last one of a year (Hinnant, chrono-compatible low-level date algorithms).
    year -= month <= 2
    days = year * 365 + year // 4 - year // 100 + year // 400
    days += (153 * ((month + 9) % 12) + 2) // 5 + day - 1 - 719468
    minute_us[0] = ((days * 24 + hour) * 60 + minute) * <int64_t>60000000
    return True


# --- parts of a row -------------------------------------------------------------------------------------------------

cdef uint8_t _means(column_t *column, uint32_t index, label_t *labels, int count) noexcept nogil:
    cdef size_t size
    cdef const char *text = _value_of(column, index, &size)
    cdef int place
    for place in range(count):
        if labels[place].size == size and memcmp(labels[place].text, text, size) == 0:
            return <uint8_t>labels[place].means
    return PASSED


cdef inline const char *_value_of(column_t *column, uint32_t index, size_t *size) noexcept nogil:
    size[0] = column.ends[index + 1] - column.ends[index]
    return column.heap + column.ends[index]


cdef size_t _address_port(char *text, const char *address, size_t size, uint32_t port) noexcept nogil:
    cdef char digits[10]
    cdef int count = 0
    cdef size_t at = 0
    cdef bint is_6 = memchr(address, b':', size) != NULL
    if is_6:
        text[at] = b'['
        at += 1
    memcpy(text + at, address, size)
    at += size
    if is_6:
        text[at] = b']'
        at += 1
    text[at] = b':'
    at += 1
    while True:
        digits[count] = <char>(ZERO + port % 10)
        count += 1
        port //= 10
        if not port:
            break
    while count:
        count -= 1
        text[at] = digits[count]
        at += 1
    return at


cdef size_t _prefix4(char *text, const char *address, size_t size) noexcept nogil:
    """Write an address with 0/24 for its last number."""
    cdef size_t kept = size
    while kept and b'0' <= address[kept - 1] <= b'9':
        kept -= 1
    memcpy(text, address, kept)
    if kept == size:
        return size
    memcpy(text + kept, b"0/24", 4)
    return kept + 4


cdef size_t _prefix6(char *text, const char *address, size_t size) noexcept nogil:
    """Write the first three groups of an address, without zeros at their end, and ::/48."""
    cdef size_t kept = 0
    cdef int groups = 0
    while kept < size:
        if address[kept] == b':':
            groups += 1
            if groups == 3 or (kept + 1 < size and address[kept + 1] == b':'):
                break
        kept += 1
    while kept >= 2 and address[kept - 1] == b'0' and address[kept - 2] == b':':
        kept -= 2
    memcpy(text, address, kept)
    memcpy(text + kept, b"::/48", 5)
    return kept + 5
