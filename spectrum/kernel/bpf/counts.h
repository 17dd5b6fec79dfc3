/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Lists, rules and other reasons by number, and their counters. */

#ifndef SPECTRUM_COUNTS_H
#define SPECTRUM_COUNTS_H

#include "helpers.h"

#define MAX_LISTS 1024
#define MAX_RULES 64 /* of operators, and as many automatic ones */
#define SLOTS (2 * MAX_RULES)
#define MAX_PROGRAMS 16

/* The name of a list or rule. */
struct list {
	char name[64];
};

/* The counters of a list, reason or rule. */
struct count {
	__u64 packets;
	__u64 bytes;
};

/* Reasons of Advanced TCP protection: tcp_states.h. */
enum { UNEXPECTED, CHALLENGE_NEEDED, CHALLENGE_PASSED, NOT_FOUND, OUT_OF_SEQUENCE, ALREADY_CLOSED, TCP_REASONS,
       IN_STATE = TCP_REASONS };

/* kernel/filter/names.py has their names. Below MAX_LISTS are the lists, from RULES on the rules, from TCP_DROPPED on
 * the reasons of TCP protection: of packets that are dropped or answered, that would be without monitoring, and that
 * pass because they are few. By the number of a flow program, datagrams follow that it passes, that it would drop
 * if it did not only log, and that it drops.
 */
enum { PASSED = MAX_LISTS, GUARDED, MALFORMED, TOO_MANY, TOO_MANY_SYNS, SYN_COOKIES, LOST_SAMPLES, LOST_LOOKS, RULES,
       TCP_DROPPED = RULES + SLOTS, TCP_MONITORED = TCP_DROPPED + TCP_REASONS,
       TCP_PASSED = TCP_MONITORED + TCP_REASONS, FLOW_PASSED = TCP_PASSED + TCP_REASONS,
       FLOW_MONITORED = FLOW_PASSED + MAX_PROGRAMS, FLOW_DROPPED = FLOW_MONITORED + MAX_PROGRAMS,
       COUNTS = FLOW_DROPPED + MAX_PROGRAMS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, struct count);
} counts SEC(".maps");

static __always_inline void count(__u32 place, __u64 bytes)
{
	struct count *value = bpf_map_lookup_elem(&counts, &place);
	if (value) {
		value->packets += 1;
		value->bytes += bytes;
	}
}

#endif
