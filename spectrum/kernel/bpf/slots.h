/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Rules: what they match, and what becomes of packets that match. */

#ifndef SPECTRUM_SLOTS_H
#define SPECTRUM_SLOTS_H

#include "counts.h"
#include "facts.h"
#include "pace.h"

/* What a rule matches. Ranges are inclusive, in host byte order. */
struct rule {
	__u8 from[16]; /* IPv4 as ::ffff:a.b.c.d */
	__u8 from_mask[16];
	__u8 to[16];
	__u8 to_mask[16];
	__u16 from_port[2];
	__u16 to_port[2];
	__u16 length[2]; /* of the IP packet */
	__u16 protocol[2];
	__u16 lifetime[2]; /* TTL, hop limit */
	__u8 tcp_flags;
	__u8 tcp_mask;
	__u8 is_fragment;
	__u8 fragment_mask;
	__u8 has_ports; /* it names ports or flags, so packets without do not match */
	__u8 version; /* IP version: IPv6 prefixes may contain the mapped IPv4 addresses */
	__u8 version_mask;
	__u8 unused;
	__u32 number;
	__u64 packet_ns; /* between two packets that pass; 0: none passes */
};

/* Twice the limit: one half is in use, the other is written. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * MAX_RULES);
	__type(key, __u32);
	__type(value, struct rule);
} rules SEC(".maps");

/* By the number of a rule, the time of its rate limiter. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_RULES);
	__type(key, __u32);
	__type(value, __u64);
} paid SEC(".maps");

/* The number of each rule; used by the loader only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_RULES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct list);
	__type(value, __u32);
} rule_names SEC(".maps");

/* 1 if outside the range. Mismatches are added up without branches: the verifier follows each branch of each rule. */
static __always_inline __u64 is_outside(__u64 value, const __u16 *range)
{
	return (((range[1] - range[0]) & 0xffffULL) - ((value - range[0]) & 0xffffULL)) >> 63;
}

static __always_inline __u64 differs(const __u8 *address, const __u8 *wanted, const __u8 *mask)
{
	const __u32 *have = (const __u32 *)address, *want = (const __u32 *)wanted, *bits = (const __u32 *)mask;

	return ((have[0] & bits[0]) ^ want[0]) | ((have[1] & bits[1]) ^ want[1]) | ((have[2] & bits[2]) ^ want[2]) |
	       ((have[3] & bits[3]) ^ want[3]);
}

static __always_inline int is_of(const struct rule *rule, const struct facts *packet)
{
	return !(is_outside(packet->protocol, rule->protocol) | is_outside(packet->length, rule->length) |
		 is_outside(packet->lifetime, rule->lifetime) | is_outside(packet->from_port, rule->from_port) |
		 is_outside(packet->to_port, rule->to_port) | (rule->has_ports & (packet->has_ports ^ 1)) |
		 ((packet->tcp_flags & rule->tcp_mask) ^ rule->tcp_flags) |
		 ((packet->version ^ rule->version) & rule->version_mask) |
		 ((!!packet->fragment & rule->fragment_mask) ^ rule->is_fragment) |
		 differs(packet->from.address, rule->from, rule->from_mask) |
		 differs(packet->to.address, rule->to, rule->to_mask));
}

/* Return the reason of the first rule, from `first` on, that drops the packet; 0 if none does. A global function, so
 * that the verifier checks it once and not once per path to it.
 */
__attribute__((noinline)) __u32 ruled(__u32 first, __u32 count)
{
	__u32 zero = 0, place, number;
	struct facts *packet = bpf_map_lookup_elem(&at_hand, &zero);
	struct rule *rule;
	__u64 *next;

	for (__u32 i = 0; i < MAX_RULES; i++) {
		place = first + i;
		rule = bpf_map_lookup_elem(&rules, &place);
		if (i >= count || !packet || !rule)
			return 0;
		if (!is_of(rule, packet))
			continue;
		number = rule->number;
		next = bpf_map_lookup_elem(&paid, &number);
		if (!rule->packet_ns || !next || is_ahead(next, bpf_ktime_get_ns(), rule->packet_ns, 0))
			return RULES + (number & (MAX_RULES - 1));
	}
	return 0;
}

#endif
