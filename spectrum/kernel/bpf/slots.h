/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Rules: which packets they match, and what becomes of these.
 *
 * Rules are found by bit vectors (Lakshman, Stiliadis, "High-speed policy-based packet forwarding", SIGCOMM 1998): for
 * some bytes of the facts, those that tell rules apart best, a table says by value which rules may match. What is left
 * after all of them is compared field by field. So a packet costs the same with one rule and with many.
 */

#ifndef SPECTRUM_SLOTS_H
#define SPECTRUM_SLOTS_H

#include "counts.h"
#include "facts.h"
#include "pace.h"

/* So many bytes are looked up at most; kernel/filter/vectors.py chooses them. With their tables a value of the map is less
 * than 64 KiB, which kernels before 5.16 need in one piece to write it.
 */
#define MAX_PLACES 15
#define MAX_MEMBERS 131072
#define WORDS (SLOTS / 64)
/* With this in the result of `ruled` a SYN is answered with a cookie. */
#define WITH_COOKIE (1U << 31)
#define NS_PER_S 1000000000ULL
/* A limit of all together may be ahead by this, a limit of each source by a second. */
#define LIMIT_BURST_NS (NS_PER_S / 10)

enum { BLOCK, LOG, LIMIT, SOURCE_LIMIT, COOKIE, RETRY };
/* Fields whose values may be those of a set, by place in `struct keys`. */
enum { SOURCE_PREFIX, SOURCE, PAYLOAD_START, OPTIONS, LIFETIME, KEYS = 8 };

/* What a rule matches. Ranges are inclusive; numbers are in host byte order. kernel/filter/rules.py has it, too. */
struct slot {
	__u32 from[4]; /* IPv4 as ::ffff:a.b.c.d */
	__u32 from_mask[4];
	__u32 to[4];
	__u32 to_mask[4];
	__u64 payload;
	__u64 payload_mask;
	__u64 set[2]; /* 0: none */
	__u64 expires_ns; /* of the monotonic clock; 0: never */
	__u64 packet_ns; /* between two packets that pass, of those that are limited */
	__u32 kinds[8]; /* a bit for each of `kind_of` */
	__u32 options;
	__u32 options_mask;
	__u16 from_port[2];
	__u16 to_port[2];
	__u16 length[2];
	__u16 window[2];
	__u16 ident[2];
	__u16 protocol[2];
	__u16 lifetime[2];
	__u8 tcp_flags;
	__u8 tcp_mask;
	__u8 set_field[2];
	__u8 set_negated[2];
	__u8 action;
	__u8 unused;
	__u32 number; /* it is counted by it */
};

_Static_assert(sizeof(struct slot) == 192, "as in kernel/filter/rules.py");

/* Two of them: one is in use, the other is written. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * SLOTS);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

struct vectors {
	__u64 used[WORDS]; /* which slots have a rule */
	__u32 count; /* of places */
	__u32 has_sets;
	__u8 place[MAX_PLACES + 1]; /* bytes of the facts */
	__u64 may[MAX_PLACES][256][WORDS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct vectors);
} vectors SEC(".maps");

/* The values of sets. A set is named by a hash of its values, so that one that stays is not written again. */
struct member {
	__u64 set;
	__u64 value;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_MEMBERS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct member);
	__type(value, __u32);
} members SEC(".maps");

/* By the number of a rule, the time of its rate limiter. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} paid SEC(".maps");

/* The number of each rule; used by the loader only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SLOTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct list);
	__type(value, __u32);
} rule_names SEC(".maps");

/* What has come lately, for `retry`: Bloom filters of a second each, the last four of them, two bits for each packet.
 * A word has 12 bits of each filter, and the second in which it was last written, so that filters empty themselves.
 * With 500,000 packets a second 1.7 % of what comes for the first time is taken for what comes again, with 150,000
 * 0.2 %. Two CPUs may write a word at a time, and one of the bits is lost: its sender has to come once more.
 */
#define MET_WORDS (1 << 20)
#define MET_BITS 12
#define MET_FILTERS 4

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MET_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} met SEC(".maps");

/* What sets are about, of the packet at hand. */
struct keys {
	__u64 of[KEYS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct keys);
} keys_at_hand SEC(".maps");

/* 1 if outside the range. Mismatches are added up without branches: the verifier follows each of them. */
static __always_inline __u64 is_outside(__u64 value, const __u16 *range)
{
	return (((range[1] - range[0]) & 0xffffULL) - ((value - range[0]) & 0xffffULL)) >> 63;
}

static __always_inline __u32 differs(const __u8 *address, const __u32 *wanted, const __u32 *mask)
{
	const __u32 *have = (const __u32 *)address;

	return ((have[0] & mask[0]) ^ wanted[0]) | ((have[1] & mask[1]) ^ wanted[1]) |
	       ((have[2] & mask[2]) ^ wanted[2]) | ((have[3] & mask[3]) ^ wanted[3]);
}

/* The facts of few values, as one: IP version, fragment, flow (3 if it is not tracked), known, served, ports. */
static __always_inline __u8 kind_of(const struct facts *packet)
{
	return (packet->version == 6) | (packet->fragment & 3) << 1 | (packet->tracked ? packet->flow & 3 : 3) << 3 |
	       (packet->known & 1) << 5 | (packet->served & 1) << 6 | (packet->has_ports & 1) << 7;
}

static __always_inline int is_of(const struct slot *slot, const struct facts *packet)
{
	return !(is_outside(packet->protocol, slot->protocol) | is_outside(packet->length, slot->length) |
		 is_outside(packet->lifetime, slot->lifetime) | is_outside(packet->from_port, slot->from_port) |
		 is_outside(packet->to_port, slot->to_port) | is_outside(packet->window, slot->window) |
		 is_outside(packet->ident, slot->ident) | ((packet->tcp_flags & slot->tcp_mask) ^ slot->tcp_flags) |
		 ((packet->options & slot->options_mask) ^ slot->options) |
		 ((packet->payload & slot->payload_mask) ^ slot->payload) |
		 (~(slot->kinds[packet->kind >> 5] >> (packet->kind & 31)) & 1) |
		 differs(packet->from.address, slot->from, slot->from_mask) |
		 differs(packet->to.address, slot->to, slot->to_mask));
}

/* As core/ddos/packets.py derives columns. */
static __always_inline void note_keys(struct keys *keys, const struct facts *packet)
{
	const __u32 *words = (const __u32 *)packet->from.address;
	__u64 six = (__u64)__builtin_bswap32(words[0]) << 32 | __builtin_bswap32(words[1]);
	__u64 four = 0xffffULL << 32 | __builtin_bswap32(words[3]);

	keys->of[SOURCE_PREFIX] = packet->version == 4 ? four >> 8 : six >> 16 | 1ULL << 63;
	keys->of[SOURCE] = packet->version == 4 ? four : six | 1ULL << 63;
	keys->of[PAYLOAD_START] = packet->payload >> 48;
	keys->of[OPTIONS] = packet->options;
	keys->of[LIFETIME] = packet->lifetime;
}

static __always_inline int is_in_set(const struct slot *slot, __u32 n, const struct keys *keys)
{
	struct member member = {.set = slot->set[n], .value = keys->of[slot->set_field[n] & (KEYS - 1)]};

	if (!member.set)
		return 1;
	return !!bpf_map_lookup_elem(&members, &member) ^ (slot->set_negated[n] & 1);
}

static __always_inline __u64 mixed(__u64 hash, __u64 more)
{
	hash = (hash ^ more) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 32;
}

/* Note one of the two bits of a packet in this second; return by filter whether it was noted before. */
static __always_inline __u32 met_before(__u32 hash, __u64 second)
{
	__u32 place = hash & (MET_WORDS - 1), bit = (hash >> 20) % MET_BITS, lane = second & (MET_FILTERS - 1);
	__u64 *word = bpf_map_lookup_elem(&met, &place), bits, age, found = 0;

	if (!word)
		return 0;
	bits = *word;
	age = (second - (bits >> 48)) & 0xffff;
	for (__u32 back = 0; back < MET_FILTERS; back++)
		if (back < age) /* what it has is four seconds old, or older */
			bits &= ~(0xfffULL << MET_BITS * ((lane - back) & (MET_FILTERS - 1)));
	for (__u32 back = 1; back < MET_FILTERS; back++)
		found |= (bits >> (MET_BITS * ((lane - back) & (MET_FILTERS - 1)) + bit) & 1) << back;
	*word = (bits & 0xffffffffffffULL) | 1ULL << (MET_BITS * lane + bit) | (second & 0xffff) << 48;
	return found;
}

/* Whether it is sent again: one of the same addresses, protocol and ports came in one of the three seconds before this. */
static __always_inline int comes_again(const struct facts *packet, __u64 now)
{
	const __u32 *from = (const __u32 *)packet->from.address, *to = (const __u32 *)packet->to.address;
	__u64 hash = mixed(0, packet->protocol | (__u64)packet->from_port << 16 | (__u64)packet->to_port << 32);
	__u64 second = now / NS_PER_S;

	for (__u32 i = 0; i < 4; i++)
		hash = mixed(hash, (__u64)from[i] << 32 | to[i]);
	hash = mixed(hash, 1);
	return !!(met_before(hash, second) & met_before(hash >> 32, second));
}

static __always_inline int is_syn(const struct facts *packet)
{
	return packet->protocol == IPPROTO_TCP && packet->has_ports && (packet->tcp_flags & 0x12) == 0x02;
}

/* Return the reason if a rule that matches drops the packet; 0 if it passes. */
static __always_inline __u32 acted(const struct slot *slot, const struct facts *packet)
{
	__u32 number = slot->number & (SLOTS - 1);
	__u64 *next, source;

	if (slot->action == LOG) {
		count(RULES + number, packet->bytes);
		return 0;
	}
	if (slot->action == LIMIT) {
		next = bpf_map_lookup_elem(&paid, &number);
		if (next && !is_ahead(next, bpf_ktime_get_ns(), slot->packet_ns, LIMIT_BURST_NS))
			return 0;
	} else if (slot->action == SOURCE_LIMIT) { /* in the table of rates, whose keys are sources as they are */
		source = mixed(packet->source, number + 1);
		if (!is_over(&sources, &source, slot->packet_ns, NS_PER_S))
			return 0;
	} else if (slot->action == RETRY) {
		if (comes_again(packet, bpf_ktime_get_ns()))
			return 0;
	} else if (slot->action == COOKIE) {
		return is_syn(packet) ? (RULES + number) | WITH_COOKIE : 0;
	}
	return RULES + number;
}

/* Return the reason if the rule of a slot drops the packet; 0 if it does not. A global function, so that the verifier
 * checks it once and not once per path to it.
 */
__attribute__((noinline)) __u32 tried(__u32 at)
{
	__u32 zero = 0;
	struct facts *packet = bpf_map_lookup_elem(&at_hand, &zero);
	struct keys *keys = bpf_map_lookup_elem(&keys_at_hand, &zero);
	struct slot *slot = bpf_map_lookup_elem(&slots, &at);

	if (!packet || !keys || !slot || !is_of(slot, packet))
		return 0;
	if (slot->expires_ns && slot->expires_ns <= bpf_ktime_get_ns())
		return 0;
	if (!is_in_set(slot, 0, keys) || !is_in_set(slot, 1, keys))
		return 0;
	return acted(slot, packet);
}

/* Where the slot of the lowest bit of a word is: a different one of 64 for each bit (Leiserson, Prokop, Randall, "Using de
 * Bruijn sequences to index a 1 in a computer word", 1998). BPF has no instruction that counts bits.
 */
static __always_inline __u32 slot_of(__u64 word)
{
	return ((word & -word) * 0x03f79d71b4cb0a89ULL) >> 58;
}

/* Return the reason of the first rule of a generation that drops the packet; 0 if none does. */
__attribute__((noinline)) __u32 ruled(__u32 generation)
{
	__u32 zero = 0, reason;
	struct facts *packet = bpf_map_lookup_elem(&at_hand, &zero);
	struct keys *keys = bpf_map_lookup_elem(&keys_at_hand, &zero);
	struct vectors *all = bpf_map_lookup_elem(&vectors, &generation);
	__u64 first, second;

	if (!packet || !keys || !all)
		return 0;
	packet->kind = kind_of(packet);
	first = all->used[0];
	second = all->used[1];
	for (__u32 i = 0; i < MAX_PLACES; i++) {
		if (i >= all->count || !(first | second))
			break;
		const __u64 *may = all->may[i][((const __u8 *)packet)[all->place[i] & (FACTS_MATCHED - 1)]];
		first &= may[0];
		second &= may[1];
	}
	if ((first | second) && all->has_sets)
		note_keys(keys, packet);
	for (__u32 i = 0; i < SLOTS; i++) {
		if (!(first | second))
			break;
		__u32 at = generation * SLOTS;
		if (first) {
			at += slot_of(first);
			first &= first - 1;
		} else {
			at += 64 + slot_of(second);
			second &= second - 1;
		}
		reason = tried(at);
		if (reason)
			return reason;
	}
	return 0;
}

#endif
