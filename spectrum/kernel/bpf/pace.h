/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Rates of packets. */

#ifndef SPECTRUM_PACE_H
#define SPECTRUM_PACE_H

#include "helpers.h"
#include "matching.h"

#define MAX_SOURCES 262144

/* By source (IPv4 address or IPv6 /64), the time of its rate limiter (GCRA); the least recently used are evicted. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_SOURCES);
	__type(key, __u64);
	__type(value, __u64);
} sources SEC(".maps");

/* The same with the time in a map; the entry is added if it is missing. */
static __always_inline int is_over(void *map, const void *key, __u64 packet_ns, __u64 burst_ns)
{
	__u64 now = bpf_ktime_get_ns(), paid = now + packet_ns, *known = bpf_map_lookup_elem(map, key);

	if (known)
		return is_ahead(known, now, packet_ns, burst_ns);
	bpf_map_update_elem(map, key, &paid, BPF_ANY);
	return 0;
}

#endif
