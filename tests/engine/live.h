/* Counts of what the engine holds, by the line that took it. A debug build (SPECTRUM_DEBUG=1, see setup.py) puts this
   before every compiled source; tests/engine/live.py reads the counts. Each compiled module has counts of its own; a
   block knows where it is counted, so that another module may free it. */

#define _GNU_SOURCE 1 /* as Python.h has it */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)0)
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)0)
#endif

struct live_place {
    const char *file, *what;
    int line;
    long count; /* of blocks, objects, or mapped bytes */
};

/* The linker puts all places one after the other, and knows where they begin and end. */
extern struct live_place __start_live_places[] __attribute__((weak, visibility("hidden")));
extern struct live_place __stop_live_places[] __attribute__((weak, visibility("hidden")));

__attribute__((weak, visibility("default"))) const struct live_place *live_place(long number) {
    return number < __stop_live_places - __start_live_places ? &__start_live_places[number] : NULL;
}

#define LIVE_PLACE(name) ({ \
    static struct live_place live_here __attribute__((section("live_places"), used, aligned(8))) = { \
        __FILE__, name, __LINE__, 0}; \
    &live_here; })
#define LIVE_SESSIONS(count) live_add(LIVE_PLACE("sessions"), count)

static inline void live_add(struct live_place *place, long count) {
    __atomic_add_fetch(&place->count, count, __ATOMIC_RELAXED);
}

/* Before each block: where it is counted. As long as malloc's alignment, and not for anybody's eyes. */
enum { LIVE_HEAD = 16 };

static inline void *live_begin(struct live_place *place, char *block) {
    if (block == NULL)
        return NULL;
    *(struct live_place **)block = place;
    live_add(place, 1);
    ASAN_POISON_MEMORY_REGION(block, LIVE_HEAD);
    return block + LIVE_HEAD;
}

static inline char *live_end(void *data) {
    if (data == NULL)
        return NULL;
    char *block = (char *)data - LIVE_HEAD;
    ASAN_UNPOISON_MEMORY_REGION(block, LIVE_HEAD);
    live_add(*(struct live_place **)block, -1);
    return block;
}

static inline void *live_malloc(struct live_place *place, size_t size) {
    return live_begin(place, malloc(LIVE_HEAD + size));
}

static inline void *live_calloc(struct live_place *place, size_t count, size_t size) {
    return live_begin(place, calloc(1, LIVE_HEAD + count * size));
}

static inline void *live_realloc(struct live_place *place, void *data, size_t size) {
    struct live_place *before = NULL;
    char *block = live_end(data);
    if (block != NULL)
        before = *(struct live_place **)block;
    char *grown = realloc(block, LIVE_HEAD + size);
    if (grown == NULL) { /* the old one stays */
        if (block != NULL)
            live_begin(before, block);
        return NULL;
    }
    return live_begin(place, grown);
}

static inline void live_free(void *data) {
    free(live_end(data));
}

static inline void *live_mmap(struct live_place *place, void *at, size_t size, int protection, int flags, int fd, long offset) {
    void *mapped = mmap(at, size, protection, flags, fd, offset);
    if (mapped != MAP_FAILED)
        live_add(place, (long)size);
    return mapped;
}

static inline int live_munmap(struct live_place *place, void *at, size_t size) {
    int outcome = munmap(at, size);
    if (outcome == 0)
        live_add(place, -(long)size);
    return outcome;
}

#define malloc(size) live_malloc(LIVE_PLACE("blocks"), size)
#define calloc(count, size) live_calloc(LIVE_PLACE("blocks"), count, size)
#define realloc(data, size) live_realloc(LIVE_PLACE("blocks"), data, size)
#define free(data) live_free(data)
#define mmap(...) live_mmap(LIVE_PLACE("mapped bytes"), __VA_ARGS__)
#define munmap(at, size) live_munmap(LIVE_PLACE("mapped bytes"), at, size)
