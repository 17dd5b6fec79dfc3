# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Which access rules an address meets: a million prefixes, found in less than a microsecond.

Prefixes are flattened into disjoint ranges, each with the number of a list: the rules whose prefixes hold the range,
the longest prefix first. A look-up is one search among sorted numbers. Behind them are the prefixes as they were given,
for the question why a client was refused. The table is plain bytes, so that all workers map one memory file of it.

The order of bytes is the machine's: a table never leaves it.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, qsort, realloc
from libc.string cimport memchr, memcpy

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <ctype.h>
    typedef unsigned __int128 wide_t;
    typedef struct {
        wide_t start;
        uint32_t rule;
        uint32_t line;  /* of the list that it stands in; 0 for none */
        uint8_t bits;   /* of 32 or 128 */
        uint8_t rank;   /* of two rules for one prefix the higher one wins */
    } entry_t;

    /* A prefix as the table has it; `rule_bits` is the rule's number and, in the last eight bits, the length. */
    typedef struct { uint32_t start, rule_bits, line; } given4_t;
    typedef struct { uint64_t high, low; uint32_t rule_bits, line; } given6_t;

    static int compare_entries(const void *a, const void *b) {
        const entry_t *x = a, *y = b;
        if (x->start != y->start) return x->start < y->start ? -1 : 1;
        if (x->bits != y->bits) return x->bits < y->bits ? -1 : 1;
        if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
        if (x->rule != y->rule) return x->rule < y->rule ? 1 : -1;
        return x->line < y->line ? -1 : x->line > y->line;
    }

    static wide_t read_number(const uint8_t *bytes, int length) {
        wide_t number = 0;
        for (int i = 0; i < length; i++) number = number << 8 | bytes[i];
        return number;
    }

    /* The last address of a prefix. */
    static inline wide_t last_of(wide_t start, int bits, int width) {
        int free_bits = width - bits;
        return free_bits >= 128 ? ~(wide_t)0 : start | (((wide_t)1 << free_bits) - 1);
    }

    static given4_t *keep4(given4_t *to, const entry_t *from, size_t count) {
        for (; count--; to++, from++) *to = (given4_t){from->start, from->rule << 8 | from->bits, from->line};
        return to;
    }

    static given6_t *keep6(given6_t *to, const entry_t *from, size_t count) {
        for (; count--; to++, from++)
            *to = (given6_t){from->start >> 64, from->start, from->rule << 8 | from->bits, from->line};
        return to;
    }

    /* Prefixes are sorted by their first address, then by length: each length is one search. */
    #define FIND_GIVEN(name, given_t, width, START)                                                   \
        static int name(const given_t *all, uint64_t count, wide_t address, uint32_t rule, uint32_t *line) { \
            for (int bits = width; bits >= 0; bits--) {                                               \
                wide_t start = bits ? address >> (width - bits) << (width - bits) : 0;                \
                uint64_t low = 0, high = count;                                                       \
                while (low < high) {                                                                  \
                    uint64_t middle = low + (high - low) / 2;                                         \
                    const given_t *at = &all[middle];                                                 \
                    int below = START < start || (START == start && (int)(at->rule_bits & 0xFF) < bits); \
                    if (below) low = middle + 1; else high = middle;                                  \
                }                                                                                     \
                for (; low < count; low++) {                                                          \
                    const given_t *at = &all[low];                                                    \
                    if (START != start || (int)(at->rule_bits & 0xFF) != bits) break;                 \
                    if (at->rule_bits >> 8 == rule) { *line = at->line; return bits; }                \
                }                                                                                     \
            }                                                                                         \
            return -1;                                                                                \
        }
    FIND_GIVEN(find_given4, given4_t, 32, (wide_t)at->start)
    FIND_GIVEN(find_given6, given6_t, 128, ((wide_t)at->high << 64 | at->low))

    enum { READ, EMPTY, MALFORMED, HOST_BITS };

    /* One line of a list: an address or a prefix, and a comment behind # or ;. */
    static int read_line(const char *line, size_t length, entry_t *entry, int *width) {
        char text[64];
        uint8_t address[16];
        long bits = -1;
        const char *comment;
        if ((comment = memchr(line, '#', length))) length = comment - line;
        if ((comment = memchr(line, ';', length))) length = comment - line;
        while (length && isspace((unsigned char)line[length - 1])) length--;
        while (length && isspace((unsigned char)*line)) line++, length--;
        if (!length) return EMPTY;
        if (length >= sizeof(text)) return MALFORMED;
        memcpy(text, line, length);
        text[length] = 0;
        char *slash = memchr(text, '/', length), *end;
        if (slash) {
            *slash = 0;
            if (!isdigit((unsigned char)slash[1])) return MALFORMED;
            bits = strtol(slash + 1, &end, 10);
            if (*end || bits < 0 || bits > 128) return MALFORMED;
        }
        if (inet_pton(AF_INET, text, address) == 1) *width = 32;
        else if (inet_pton(AF_INET6, text, address) == 1) *width = 128;
        else return MALFORMED;
        if (bits < 0) bits = *width;
        if (bits > *width) return MALFORMED;
        entry->start = read_number(address, *width / 8);
        entry->bits = bits;
        if (*width > bits && entry->start & (last_of(0, bits, *width))) return HOST_BITS;
        if (*width == 128 && bits >= 96 && entry->start >> 32 == 0xFFFF) {  /* ::ffff:192.0.2.0/120 */
            *width = 32;
            entry->start &= 0xFFFFFFFF;
            entry->bits = bits - 96;
        }
        return READ;
    }
    """
    # 128 bits to the C compiler; Cython need only know that it is an unsigned number.
    ctypedef unsigned long long wide_t

    ctypedef struct entry_t:
        wide_t start
        uint32_t rule
        uint32_t line
        uint8_t bits
        uint8_t rank

    ctypedef struct given4_t:
        uint32_t start

    ctypedef struct given6_t:
        uint64_t high

    enum:
        READ, EMPTY, MALFORMED, HOST_BITS

    given4_t *keep4(given4_t *to, const entry_t *entries, size_t count) nogil
    given6_t *keep6(given6_t *to, const entry_t *entries, size_t count) nogil
    int find_given4(const given4_t *all, uint64_t count, wide_t address, uint32_t rule, uint32_t *line) nogil
    int find_given6(const given6_t *all, uint64_t count, wide_t address, uint32_t rule, uint32_t *line) nogil
    int compare_entries(const void *a, const void *b) nogil
    wide_t read_number(const uint8_t *data, int length) nogil
    wide_t last_of(wide_t start, int bits, int width) nogil
    int read_line(const char *line, size_t length, entry_t *entry, int *width) nogil

cdef enum:
    INDEX_SIZE = 65537
    # Index of the IPv6 ranges: one start in this many is in a table of its own, which stays in the cache.
    STRIDE_BITS = 6
    MAX_FAULTS = 20
    MAX_DEPTH = 130

# Bits for a rule's number in a table.
cdef uint32_t MAX_RULE = 0xFFFFFF
cdef uint64_t MAGIC = 0x5350454354423032


cdef class _Ranges:
    """Disjoint ranges of one family, made from prefixes."""

    cdef int width
    cdef entry_t *entries
    cdef size_t count, room
    # Where ranges begin, and the list that applies from there.
    cdef wide_t *starts
    cdef uint32_t *values
    cdef size_t ranges, ranges_room

    def __cinit__(self, int width):
        self.width = width

    def __dealloc__(self):
        free(self.entries)
        free(self.starts)
        free(self.values)

    cdef int add(self, entry_t *entry) except -1:
        cdef void *grown
        if self.count == self.room:
            grown = realloc(self.entries, (self.room * 2 + 64) * sizeof(entry_t))
            if grown == NULL:
                raise MemoryError()
            self.entries = <entry_t *>grown
            self.room = self.room * 2 + 64
        self.entries[self.count] = entry[0]
        self.count += 1
        return 0

    cdef int emit(self, wide_t start, uint32_t value) except -1:
        cdef void *grown
        if self.ranges and self.starts[self.ranges - 1] == start:
            self.values[self.ranges - 1] = value
            return 0
        if self.ranges and self.values[self.ranges - 1] == value:
            return 0
        if self.ranges == self.ranges_room:
            self.ranges_room = self.ranges_room * 2 + 64
            grown = realloc(self.starts, self.ranges_room * sizeof(wide_t))
            if grown == NULL:
                raise MemoryError()
            self.starts = <wide_t *>grown
            grown = realloc(self.values, self.ranges_room * sizeof(uint32_t))
            if grown == NULL:
                raise MemoryError()
            self.values = <uint32_t *>grown
        self.starts[self.ranges] = start
        self.values[self.ranges] = value
        self.ranges += 1
        return 0

    cdef int flatten(self, PrefixTableBuilder lists) except -1:
        """Turn the prefixes into ranges: an inner prefix interrupts the enclosing one, which continues behind it."""
        cdef size_t i
        cdef entry_t *entry
        cdef wide_t end, last = last_of(0, 0, self.width)
        cdef uint32_t value
        # The prefixes that contain the current position: each has another length.
        cdef wide_t open_ends[MAX_DEPTH]
        cdef uint32_t open_values[MAX_DEPTH]
        cdef int depth = 0
        with nogil:
            qsort(self.entries, self.count, sizeof(entry_t), compare_entries)
        self.emit(0, 0)
        for i in range(self.count):
            entry = &self.entries[i]
            end = last_of(entry.start, entry.bits, self.width)
            while depth and open_ends[depth - 1] < entry.start:
                depth -= 1
                self.emit(open_ends[depth] + 1, open_values[depth - 1] if depth else 0)
            value = lists.child(open_values[depth - 1] if depth else 0, entry.rule)
            if depth and open_ends[depth - 1] == end:
                depth -= 1  # another rule for the same prefix: its list holds both
            open_ends[depth] = end
            open_values[depth] = value
            depth += 1
            self.emit(entry.start, value)
        while depth:
            depth -= 1
            if open_ends[depth] != last:
                self.emit(open_ends[depth] + 1, open_values[depth - 1] if depth else 0)
        return 0

    cdef void forget(self) noexcept:
        """Free the prefixes."""
        free(self.entries)
        self.entries = NULL
        self.count = self.room = 0


cdef class PrefixTableBuilder:
    """Gathers prefixes and makes a table of them.

    Attributes:
        lists: By number, the rules that apply to a range, the longest prefix first; number 0 is no rule.
    """

    cdef _Ranges _four, _six
    cdef dict _numbers
    cdef readonly list lists
    cdef uint32_t _last_parent, _last_rule, _last_child

    def __init__(self):
        self._four = _Ranges(32)
        self._six = _Ranges(128)
        self.lists = [()]
        self._numbers = {}
        self._last_child = 0

    def add(self, bytes address, int bits, uint32_t rule, uint8_t rank=0, uint32_t line=0):
        """Apply a rule to a prefix.

        Args:
            address: Its first address, 4 or 16 bytes.
            bits: Its length.
            rule: The rule's number, from 1.
            rank: Of two rules for one prefix the one with the higher rank comes first; at equal ranks the lower number.
            line: Its line in the list.

        Raises:
            ValueError: If it is not a prefix.
        """
        cdef int width = 8 * <int>PyBytes_GET_SIZE(address)
        if width not in (32, 128) or not 0 <= bits <= width or not 0 < rule <= MAX_RULE:
            raise ValueError(f"{address!r}/{bits} of rule {rule} is no prefix of a rule")
        cdef entry_t entry
        entry.start = read_number(<const uint8_t *>PyBytes_AS_STRING(address), width >> 3)
        if entry.start & last_of(0, bits, width):
            raise ValueError(f"{address!r} has bits behind the first {bits}")
        entry.bits = <uint8_t>bits
        entry.rule = rule
        entry.rank = rank
        entry.line = line
        (self._four if width == 32 else self._six).add(&entry)

    def add_lines(self, bytes text, uint32_t rule, uint8_t rank=0):
        """Apply a rule to every prefix of a list: one per line, `#` and `;` begin a comment.

        Returns:
            The number of prefixes read, and the first 20 faults: line and message.
        """
        cdef const char *line = PyBytes_AS_STRING(text)
        cdef const char *end = line + PyBytes_GET_SIZE(text)
        cdef const char *stop
        cdef entry_t entry
        cdef int width = 0, outcome
        cdef size_t number = 0, count = 0
        cdef list faults = []
        entry.rule = rule
        entry.rank = rank
        while line < end and len(faults) < MAX_FAULTS:
            number += 1
            stop = <const char *>memchr(line, c'\n', end - line)
            if stop == NULL:
                stop = end
            outcome = read_line(line, stop - line, &entry, &width)
            if outcome == READ:
                entry.line = <uint32_t>number
                (self._four if width == 32 else self._six).add(&entry)
                count += 1
            elif outcome != EMPTY:
                shown = PyBytes_FromStringAndSize(line, min(stop - line, 60)).decode("utf-8", "replace").strip()
                faults.append((number, f"{shown!r} has bits behind its length; write the network's first address"
                               if outcome == HOST_BITS else
                               f"{shown!r} is not a prefix; write 192.0.2.0/24, 2001:db8::/32 or an address"))
            line = stop + 1
        return count, faults

    cdef uint32_t child(self, uint32_t parent, uint32_t rule) except? 0xFFFFFFFF:
        """The number of the list that has a rule before those of another list."""
        if self._last_child and parent == self._last_parent and rule == self._last_rule:
            return self._last_child
        cdef tuple rules = <tuple>self.lists[parent]
        if not rules or rules[0] != rule:
            rules = (rule, *[other for other in rules if other != rule])
        found = self._numbers.get(rules)
        if found is None:
            found = self._numbers[rules] = len(self.lists)
            self.lists.append(rules)
        self._last_parent, self._last_rule, self._last_child = parent, rule, found
        return found

    def build(self):
        """Return the table; the builder is empty afterwards, except for `lists`."""
        cdef Header header
        cdef size_t i, at = 0
        cdef uint32_t k
        self._four.flatten(self)
        self._six.flatten(self)
        header.magic = MAGIC
        header.count4 = self._four.ranges
        header.count6 = self._six.ranges
        header.marks6 = (self._six.ranges >> STRIDE_BITS) + 1
        header.given4 = self._four.count
        header.given6 = self._six.count
        cdef size_t size = (sizeof(Header) + (header.marks6 + header.count6) * sizeof(Wide)
                            + header.given6 * sizeof(given6_t)
                            + (INDEX_SIZE + 2 * header.count4 + header.count6) * sizeof(uint32_t)
                            + header.given4 * sizeof(given4_t))
        cdef bytes table = PyBytes_FromStringAndSize(NULL, size)
        cdef char *data = PyBytes_AS_STRING(table)
        memcpy(data, &header, sizeof(Header))
        cdef Wide *marks = <Wide *>(data + sizeof(Header))
        cdef Wide *starts6 = marks + header.marks6
        cdef uint32_t *index = <uint32_t *>keep6(
            <given6_t *>(starts6 + header.count6), self._six.entries, self._six.count)
        cdef uint32_t *starts4 = index + INDEX_SIZE
        cdef uint32_t *values4 = starts4 + header.count4
        cdef uint32_t *values6 = values4 + header.count4
        for i in range(header.count4):
            starts4[i] = <uint32_t>self._four.starts[i]
            values4[i] = self._four.values[i]
        for k in range(INDEX_SIZE):
            while at < header.count4 and starts4[at] >> 16 < k:
                at += 1
            index[k] = <uint32_t>at
        for i in range(header.count6):
            starts6[i].high = <uint64_t>(self._six.starts[i] >> 64)
            starts6[i].low = <uint64_t>self._six.starts[i]
            values6[i] = self._six.values[i]
        for i in range(header.marks6):
            marks[i] = starts6[min(i << STRIDE_BITS, header.count6 - 1)]
        keep4(<given4_t *>(values6 + header.count6), self._four.entries, self._four.count)
        self._four.forget()
        self._six.forget()
        return table


cdef inline bint _not_above(Wide *start, uint64_t high, uint64_t low) noexcept nogil:
    return start.high < high or (start.high == high and start.low <= low)


cdef class PrefixTable:
    """A table as `PrefixTableBuilder.build` made it.

    Args:
        buffer: Its bytes, or a mapped memory file.

    Raises:
        ValueError: If it is not a table.
    """

    def __init__(self, buffer):
        PyObject_GetBuffer(buffer, &self._view, PyBUF_SIMPLE)
        self._held = True
        cdef char *data = <char *>self._view.buf
        if self._view.len < <Py_ssize_t>sizeof(Header):
            raise ValueError("not a table of prefixes")
        memcpy(&self._header, data, sizeof(Header))
        self._marks = <Wide *>(data + sizeof(Header))
        self._starts6 = self._marks + self._header.marks6
        self._given6 = <void *>(self._starts6 + self._header.count6)
        self._index = <uint32_t *>(<given6_t *>self._given6 + self._header.given6)
        self._starts4 = self._index + INDEX_SIZE
        self._values4 = self._starts4 + self._header.count4
        self._values6 = self._values4 + self._header.count4
        self._given4 = <void *>(self._values6 + self._header.count6)
        if self._header.magic != MAGIC or (
                <char *>(<given4_t *>self._given4 + self._header.given4) > data + self._view.len):
            raise ValueError("not a table of prefixes")

    def __dealloc__(self):
        if self._held:
            PyBuffer_Release(&self._view)

    def __len__(self):
        """The number of ranges, of both families."""
        return self._header.count4 + self._header.count6

    def find(self, bytes address not None):
        """Return the number of the list for an address of 4 or 16 bytes, 0 for none."""
        cdef Py_ssize_t length = PyBytes_GET_SIZE(address)
        if length not in (4, 16):
            raise ValueError(f"an address is 4 or 16 bytes, not {length}")
        return self.list_of(<const uint8_t *>PyBytes_AS_STRING(address), length)

    def given(self, bytes address not None, uint32_t rule):
        """Return the longest of a rule's prefixes that contains an address: its length, and its line; None for none.

        It takes some microseconds: it is for explanations.
        """
        cdef Py_ssize_t length = PyBytes_GET_SIZE(address)
        cdef wide_t number
        cdef uint32_t line = 0
        cdef int bits
        if length not in (4, 16):
            raise ValueError(f"an address is 4 or 16 bytes, not {length}")
        number = read_number(<const uint8_t *>PyBytes_AS_STRING(address), <int>length)
        if length == 4:
            bits = find_given4(<given4_t *>self._given4, self._header.given4, number, rule, &line)
        else:
            bits = find_given6(<given6_t *>self._given6, self._header.given6, number, rule, &line)
        return (bits, line) if bits >= 0 else None

    cdef uint32_t list_of(self, const uint8_t *b, Py_ssize_t length) noexcept nogil:
        """Return the number of the list for an address of 4 or 16 bytes, 0 for none."""
        if length == 4:
            return self._find4(<uint32_t>b[0] << 24 | <uint32_t>b[1] << 16 | <uint32_t>b[2] << 8 | b[3])
        return self._find6(<uint64_t>read_number(b, 8), <uint64_t>read_number(b + 8, 8))

    cdef uint32_t _find4(self, uint32_t address) noexcept nogil:
        cdef uint32_t low = self._index[address >> 16], high = self._index[(address >> 16) + 1], middle
        while low < high:
            middle = (low + high) >> 1
            if self._starts4[middle] <= address:
                low = middle + 1
            else:
                high = middle
        return self._values4[low - 1]

    cdef uint32_t _find6(self, uint64_t high_word, uint64_t low_word) noexcept nogil:
        cdef uint64_t low = 0, high = self._header.marks6, middle
        while low < high:
            middle = (low + high) >> 1
            if _not_above(&self._marks[middle], high_word, low_word):
                low = middle + 1
            else:
                high = middle
        high = min(low << STRIDE_BITS, self._header.count6)
        low = (low - 1) << STRIDE_BITS
        while low < high:
            middle = (low + high) >> 1
            if _not_above(&self._starts6[middle], high_word, low_word):
                low = middle + 1
            else:
                high = middle
        return self._values6[low - 1]
