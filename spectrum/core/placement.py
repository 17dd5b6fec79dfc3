"""Assigns clients' datagrams to workers such that few move when the number of workers changes."""

from functools import lru_cache

# A power of two; the kernel's part is a hash of as many bits.
BUCKETS = 256


@lru_cache(maxsize=16)
def placement(workers: int) -> tuple[int, ...]:
    """Return the worker of each bucket: evenly, to within one bucket, for up to `BUCKETS` workers.

    The table for one more worker differs only in the buckets of the new worker, taken evenly from all others; a hash
    scaled to the number of workers moves every second bucket.
    """
    # It takes milliseconds, and thousands of listeners ask for the same table; hence the cache.
    table = [0] * BUCKETS
    counts = [BUCKETS]
    for new in range(1, workers):
        counts.append(0)
        while counts[new] < BUCKETS // (new + 1):
            richest = max(range(new), key=lambda worker: counts[worker])
            # The last buckets, so that neighbours stay together and the kernel's decision tree small.
            bucket = max(i for i, worker in enumerate(table) if worker == richest)
            table[bucket] = new
            counts[richest] -= 1
            counts[new] += 1
    return tuple(table)
