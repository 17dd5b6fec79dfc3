# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Columns in the memory layout of Apache Arrow, to which rows are appended without the interpreter.

Readers take them by the Arrow C stream interface (https://arrow.apache.org/docs/format/CStreamInterface.html) without a
copy, as DuckDB does: rows must stay as they are until a reader is done, which must not take single columns out of a
batch. Texts with few distinct values are dictionaries.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

cdef extern from *:
    """
    struct ArrowSchema {
        const char *format, *name, *metadata;
        int64_t flags, n_children;
        struct ArrowSchema **children, *dictionary;
        void (*release)(struct ArrowSchema *);
        void *private_data;
    };
    struct ArrowArray {
        int64_t length, null_count, offset, n_buffers, n_children;
        const void **buffers;
        struct ArrowArray **children, *dictionary;
        void (*release)(struct ArrowArray *);
        void *private_data;
    };
    struct ArrowArrayStream {
        int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *);
        int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *);
        const char *(*get_last_error)(struct ArrowArrayStream *);
        void (*release)(struct ArrowArrayStream *);
        void *private_data;
    };
    """
    ctypedef struct schema_t "struct ArrowSchema":
        const char *format
        const char *name
        const char *metadata
        int64_t flags, n_children
        schema_t **children
        schema_t *dictionary
        void (*release)(schema_t *) noexcept nogil
        void *private_data

    ctypedef struct array_t "struct ArrowArray":
        int64_t length, null_count, offset, n_buffers, n_children
        const void **buffers
        array_t **children
        array_t *dictionary
        void (*release)(array_t *) noexcept nogil
        void *private_data

    ctypedef struct stream_t "struct ArrowArrayStream":
        int (*get_schema)(stream_t *, schema_t *) noexcept nogil
        int (*get_next)(stream_t *, array_t *) noexcept nogil
        const char *(*get_last_error)(stream_t *) noexcept nogil
        void (*release)(stream_t *) noexcept nogil
        void *private_data

cdef enum:
    NULLABLE = 2  # ARROW_FLAG_NULLABLE
    OPTIONAL = 5
    TEXT = 6
    CATEGORY = 7
    ENOMEM = 12
    MAX_HEAP = 0x7FFFFFFF

# By kind: 8 to 64 bits, a time in microseconds, 64 bits or null, a text, a text with few distinct values.
KINDS = ("u8", "u16", "u32", "u64", "time", "optional", "text", "category")
cdef const char **FORMATS = [b"C", b"S", b"I", b"L", b"tsu:", b"L", b"u", b"I"]
cdef size_t *WIDTHS = [1, 2, 4, 8, 8, 8, 4, 4]

# What the structures of one reader are made of.
ctypedef struct exported_t:
    schema_t *schemas  # each column, and its dictionary
    array_t *arrays
    void **pointers
    const void **buffers


ctypedef struct reading_t:
    void *owner
    bint is_done


cdef class ArrowColumns:
    """Columns of one length.

    Args:
        columns: Name and kind of each, one of `KINDS`.
    """

    def __init__(self, columns):
        cdef int place
        if self.columns != NULL:
            raise RuntimeError("the columns are there already")
        self._names = tuple([name.encode() for name, _ in columns])
        self.width = len(self._names)
        self.columns = <column_t *>calloc(self.width + 1, sizeof(column_t))
        if self.columns == NULL:
            raise MemoryError()
        for place, (_, kind) in enumerate(columns):
            self.columns[place].kind = KINDS.index(kind)

    def __dealloc__(self):
        cdef int place
        cdef column_t *column
        if self.columns == NULL:
            return
        for place in range(self.width):
            column = &self.columns[place]
            free(column.values)
            free(column.valid)
            free(column.heap)
            free(column.ends)
            free(column.places)
        free(self.columns)

    def __len__(self):
        return self.rows

    def clear(self):
        """Remove all rows; the memory is used again."""
        cdef int place
        cdef column_t *column
        self.rows = 0
        for place in range(self.width):
            column = &self.columns[place]
            column.count = 0
            if column.places != NULL:
                memset(column.places, 0xFF, (column.mask + 1) * sizeof(uint32_t))

    cdef int reserve(self) except -1 nogil:
        """Make room for one more row."""
        cdef uint64_t room
        cdef int place
        cdef column_t *column
        cdef void *grown
        if self.rows < self.room:
            return 0
        room = self.room * 2 if self.room else 1024
        for place in range(self.width):
            column = &self.columns[place]
            grown = realloc(column.values, (room + 1) * WIDTHS[column.kind])
            if grown == NULL:
                raise MemoryError()
            column.values = <char *>grown
            if column.kind == TEXT:
                (<int32_t *>column.values)[0] = 0
            if column.kind == OPTIONAL:
                grown = realloc(column.valid, room // 8 + 1)
                if grown == NULL:
                    raise MemoryError()
                column.valid = <uint8_t *>grown
        self.room = room
        return 0

    cdef int put_text(self, column_t *column, const char *text, size_t size) except -1 nogil:
        """Write the value of a text in the row that `reserve` made room for."""
        cdef int32_t *ends = <int32_t *>column.values
        cdef size_t begin = ends[self.rows]
        _make_heap_room(column, begin + size)
        memcpy(column.heap + begin, text, size)
        ends[self.rows + 1] = <int32_t>(begin + size)
        return 0

    cdef uint32_t index_of(self, column_t *column, const char *text, size_t size) except? NONE nogil:
        """Return the index of a category's value, which is added if it is new."""
        cdef uint32_t index, place
        cdef int32_t begin
        if column.places == NULL or column.count * 2 > column.mask:
            _grow_table(column)
        place = _hash(text, size) & column.mask
        while column.places[place] != NONE:
            index = column.places[place]
            begin = column.ends[index]
            if <size_t>(column.ends[index + 1] - begin) == size and memcmp(column.heap + begin, text, size) == 0:
                return index
            place = (place + 1) & column.mask
        index = column.count
        begin = column.ends[index]
        _make_heap_room(column, begin + size)
        memcpy(column.heap + begin, text, size)
        column.ends[index + 1] = <int32_t>(begin + size)
        column.count = index + 1
        column.places[place] = index
        return index

    def __arrow_c_stream__(self, requested_schema=None):
        """Return a stream of one batch: the rows that there are when it is read."""
        cdef stream_t *stream = <stream_t *>calloc(1, sizeof(stream_t))
        cdef reading_t *reading = <reading_t *>calloc(1, sizeof(reading_t))
        if stream == NULL or reading == NULL:
            free(stream)
            free(reading)
            raise MemoryError()
        reading.owner = <void *>self
        Py_INCREF(self)
        stream.get_schema = _get_schema
        stream.get_next = _get_next
        stream.get_last_error = _get_last_error
        stream.release = _release_stream
        stream.private_data = reading
        return PyCapsule_New(stream, "arrow_array_stream", _release_capsule)


cdef uint32_t _hash(const char *text, size_t size) noexcept nogil:
    """Return FNV-1a of 64 bits, folded."""
    cdef uint64_t key = 0xCBF29CE484222325u
    cdef size_t at
    for at in range(size):
        key = (key ^ <uint8_t>text[at]) * 0x100000001B3u
    return <uint32_t>(key ^ key >> 29)


cdef int _make_heap_room(column_t *column, size_t size) except -1 nogil:
    cdef size_t room = min(size * 2 + 1024, <size_t>MAX_HEAP + 1)
    cdef void *grown
    if size < column.heap_room:
        return 0
    if size > MAX_HEAP:
        raise MemoryError("texts of one column take more than 2 GiB")
    grown = realloc(column.heap, room)
    if grown == NULL:
        raise MemoryError()
    column.heap = <char *>grown
    column.heap_room = room
    return 0


cdef int _grow_table(column_t *column) except -1 nogil:
    """Double the hash table of a category, with room for the values that fill half of it."""
    cdef uint32_t size = (column.mask + 1) * 2 if column.places != NULL else 64
    cdef uint32_t index, place
    cdef int32_t *ends = <int32_t *>realloc(column.ends, (size // 2 + 2) * sizeof(int32_t))
    cdef uint32_t *places = <uint32_t *>malloc(size * sizeof(uint32_t))
    if ends != NULL:
        column.ends = ends
    if ends == NULL or places == NULL:
        free(places)
        raise MemoryError()
    memset(places, 0xFF, size * sizeof(uint32_t))
    if column.places == NULL:
        ends[0] = 0
    for index in range(column.count):
        place = _hash(column.heap + ends[index], ends[index + 1] - ends[index]) & (size - 1)
        while places[place] != NONE:
            place = (place + 1) & (size - 1)
        places[place] = index
    free(column.places)
    column.places = places
    column.mask = size - 1
    return 0


# --- the C stream interface: called by readers, with or without the interpreter's lock ------------------------------

cdef exported_t *_make_exported(int width) noexcept nogil:
    cdef exported_t *made = <exported_t *>calloc(1, sizeof(exported_t))
    if made == NULL:
        return NULL
    made.schemas = <schema_t *>calloc(width * 2 + 1, sizeof(schema_t))
    made.arrays = <array_t *>calloc(width * 2 + 1, sizeof(array_t))
    made.pointers = <void **>calloc(width + 1, sizeof(void *))
    made.buffers = <const void **>calloc(width * 6 + 1, sizeof(void *))
    if made.schemas == NULL or made.arrays == NULL or made.pointers == NULL or made.buffers == NULL:
        _free_exported(made)
        return NULL
    return made


cdef void _free_exported(exported_t *made) noexcept nogil:
    free(made.schemas)
    free(made.arrays)
    free(made.pointers)
    free(<void *>made.buffers)
    free(made)


cdef void _write_schema(ArrowColumns columns, exported_t *exported, schema_t *schema) noexcept:
    cdef int place
    cdef schema_t *made
    schema.format = b"+s"
    schema.name = b""
    schema.n_children = columns.width
    schema.children = <schema_t **>exported.pointers
    schema.private_data = exported
    schema.release = _release_schema
    for place in range(columns.width):
        made = &exported.schemas[place * 2]
        exported.pointers[place] = made
        made.format = FORMATS[columns.columns[place].kind]
        made.name = <const char *><bytes>columns._names[place]
        made.flags = NULLABLE
        made.release = _release_part
        if columns.columns[place].kind == CATEGORY:
            made.dictionary = &exported.schemas[place * 2 + 1]
            made.dictionary.format = b"u"
            made.dictionary.name = b""
            made.dictionary.flags = NULLABLE
            made.dictionary.release = _release_part


cdef void _write_array(ArrowColumns columns, exported_t *exported, array_t *array) noexcept:
    cdef int place
    cdef column_t *column
    cdef array_t *made
    array.length = <int64_t>columns.rows
    array.n_buffers = 1
    array.n_children = columns.width
    array.buffers = exported.buffers
    array.children = <array_t **>exported.pointers
    array.private_data = exported
    array.release = _release_array
    for place in range(columns.width):
        column = &columns.columns[place]
        made = &exported.arrays[place * 2]
        exported.pointers[place] = made
        made.length = <int64_t>columns.rows
        made.buffers = &exported.buffers[1 + place * 6]
        made.buffers[1] = column.values
        made.n_buffers = 2
        made.release = _release_part_array
        if column.kind == OPTIONAL:
            made.buffers[0] = column.valid
            made.null_count = -1
        elif column.kind == TEXT:
            made.buffers[2] = column.heap
            made.n_buffers = 3
        elif column.kind == CATEGORY:
            made.dictionary = &exported.arrays[place * 2 + 1]
            made.dictionary.length = column.count
            made.dictionary.buffers = &exported.buffers[1 + place * 6 + 3]
            made.dictionary.buffers[1] = column.ends
            made.dictionary.buffers[2] = column.heap
            made.dictionary.n_buffers = 3
            made.dictionary.release = _release_part_array


cdef int _get_schema(stream_t *stream, schema_t *schema) noexcept with gil:
    cdef ArrowColumns columns = <ArrowColumns>(<reading_t *>stream.private_data).owner
    cdef exported_t *exported = _make_exported(columns.width)
    if exported == NULL:
        return ENOMEM
    memset(schema, 0, sizeof(schema_t))
    _write_schema(columns, exported, schema)
    return 0


cdef int _get_next(stream_t *stream, array_t *array) noexcept with gil:
    cdef reading_t *reading = <reading_t *>stream.private_data
    cdef ArrowColumns columns = <ArrowColumns>reading.owner
    cdef exported_t *exported
    memset(array, 0, sizeof(array_t))
    if reading.is_done:
        return 0  # without a release: the end
    reading.is_done = True
    exported = _make_exported(columns.width)
    if exported == NULL:
        return ENOMEM
    _write_array(columns, exported, array)
    return 0


cdef const char *_get_last_error(stream_t *stream) noexcept nogil:
    return b"no memory"


cdef void _release_schema(schema_t *schema) noexcept nogil:
    _free_exported(<exported_t *>schema.private_data)
    schema.release = NULL


cdef void _release_array(array_t *array) noexcept nogil:
    _free_exported(<exported_t *>array.private_data)
    array.release = NULL


cdef void _release_part(schema_t *schema) noexcept nogil:
    schema.release = NULL  # its memory is the parent's


cdef void _release_part_array(array_t *array) noexcept nogil:
    array.release = NULL


cdef void _release_stream(stream_t *stream) noexcept with gil:
    cdef reading_t *reading = <reading_t *>stream.private_data
    Py_DECREF(<object>reading.owner)
    free(reading)
    stream.release = NULL


cdef void _release_capsule(object capsule) noexcept:
    cdef stream_t *stream = <stream_t *>PyCapsule_GetPointer(capsule, "arrow_array_stream")
    if stream.release != NULL:
        stream.release(stream)
    free(stream)
