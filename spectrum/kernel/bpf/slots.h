/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Rules: their conditions, and their actions. The match of a single rule is in matching.h.
 *
 * Rules are found by bit vectors (Lakshman, Stiliadis, "High-speed policy-based packet forwarding", SIGCOMM 1998): for
 * some bytes of the facts, those that distinguish rules best, a table has by value the rules that may match. The rest
 * after all of them is compared field by field. So a packet costs the same with one rule and with many.
 */

#ifndef SPECTRUM_SLOTS_H
#define SPECTRUM_SLOTS_H

#include "counts.h"
#include "facts.h"
#include "matching.h"
#include "pace.h"

/* Limit of looked-up bytes; kernel/filter/vectors.py chooses them. With their tables a value of the map is less than
 * 64 KiB, which kernels before 5.16 need as one allocation to write it.
 */
#define MAX_PLACES 15
#define MAX_MEMBERS 131072
#define WORDS (SLOTS / 64)
/* Flag in the result of `ruled`: a SYN is answered with a cookie. */
#define WITH_COOKIE (1U << 31)
/* Burst of a limit of all sources together; a limit of each source has a second. */
#define LIMIT_BURST_NS (NS_PER_S / 10)

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

/* The time of a rule's rate limiter, by the rule's number. */
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

/* Recent packets, for `retry`: Bloom filters of a second each, the last four of them, two bits per packet. A word has
12
 * bits of each filter, and the second in which it was last written, so that filters expire without being cleared. At
 * 500,000 packets a second 1.7 % of first packets are taken for retransmissions, at 150,000 0.2 %. Two CPUs may write
 * a word at the same time, and one of the bits is lost: its sender has to retransmit once more.
 */
#define MET_WORDS (1 << 20)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MET_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} met SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct keys);
} keys_at_hand SEC(".maps");

static __always_inline int is_in_set(const struct slot *slot, __u32 n, const struct keys *keys)
{
	struct member member = {.set = slot->set[n], .value = keys->of[slot->set_field[n] & (KEYS - 1)]};

	if (!member.set)
		return 1;
	return !!bpf_map_lookup_elem(&members, &member) ^ (slot->set_negated[n] & 1);
}

static __always_inline __u32 met_before(__u32 hash, __u64 second)
{
	__u32 place = hash & (MET_WORDS - 1);
	__u64 *word = bpf_map_lookup_elem(&met, &place);

	return word ? met_in(word, hash, second) : 0;
}

/* Whether it is retransmitted: one of the same addresses, protocol and ports came in one of the last three seconds. */
static __always_inline int comes_again(const struct facts *packet, __u64 now)
{
	__u64 second = now / NS_PER_S, hash = hash_of(packet);

	return !!(met_before(hash, second) & met_before(hash >> 32, second));
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
	} else if (slot->action == SOURCE_LIMIT) { /* in the table of rates, with the source as key */
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

/* The slot of the lowest bit of a word: a different one of 64 for each bit (Leiserson, Prokop, Randall, "Using de
Bruijn
 * sequences to index a 1 in a computer word", 1998). BPF has no instruction that counts bits.
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
