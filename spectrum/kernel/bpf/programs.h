/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Flow programs: operators' own programs, which judge datagrams to their apps.
 * * Each is loaded separately, behind a wrapper (flow_program.bpf.c), and has an index in an array of programs. The
 filter * calls it by a tail call from a function, which returns to the filter. So a program can be replaced atomically,
 without * others, and stays when the filter is replaced. On arm64 that needs Linux 6.0; the loader sets
 `has_tail_calls`. */

#ifndef SPECTRUM_PROGRAMS_H
#define SPECTRUM_PROGRAMS_H

#include "counts.h"
#include "facts.h"
#include "flows.h"
#include "judging.h"
#include "slots.h"

#define MAX_JUDGED 65536
#define PORT_WORDS (65536 / 64)
/* The cost of one in so many judgements is measured, a power of two. */
#define MEASURED_ONE_IN 64

/* A place: the number of its program plus 1 in the lowest bits, and how it is judged. */
#define PROGRAM_BITS 0xff
#define ONLY_LOGGED 0x100
#define JUDGED_IN_USE 0x200
/* The verdict where there is no program: not one that a program would give. */
#define FLOW_ABSENT 0xffffffff

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, MAX_PROGRAMS);
	__type(key, __u32);
	__type(value, __u32);
} programs SEC(".maps");

/* The number of each program with its digest; used by the loader only. */
struct program_name {
	__u32 number;
	__u8 digest[32];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PROGRAMS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct list);
	__type(value, struct program_name);
} program_names SEC(".maps");

/* Places where datagrams are judged, and exceptions within them: the longest prefix wins. */
struct judged_place {
	__u32 how;
	__u32 bits; /* the prefix length of the key of this entry */
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_JUDGED);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct served_key);
	__type(value, struct judged_place);
} judged_places SEC(".maps");

/* Ports with any place: datagrams to other ports cost no more than this lookup. */
struct judged_ports {
	__u64 words[PORT_WORDS];
	__u64 has_any_port; /* one is for all ports of an address */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct judged_ports);
} judged_ports SEC(".maps");

struct program_cost {
	__u64 judged;
	__u64 measured;
	__u64 ns; /* of those measured */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_PROGRAMS);
	__type(key, __u32);
	__type(value, struct program_cost);
} program_costs SEC(".maps");

/* 0 if the kernel does not support it: the verifier removes the call then. */
const volatile __u32 has_tail_calls = 1;

/* The following functions are global, so that the verifier checks each once; and because those before a tail call may
have
 * 256 bytes of stack together, the other work is done in separate functions.
 */

/* Return how the packet is judged; 0 if it is not. */
__attribute__((noinline)) __u32 how_judged(void)
{
	__u32 zero = 0;
	struct facts *packet = bpf_map_lookup_elem(&at_hand, &zero);
	struct judged_ports *ports = bpf_map_lookup_elem(&judged_ports, &zero);
	struct served_key key = {.bits = SERVED_FIXED_BITS + 128, .protocol = IPPROTO_UDP};
	struct judged_place *place, *any;

	if (!packet || !ports || !packet->has_ports ||
	    !(ports->words[packet->to_port >> 6] >> (packet->to_port & 63) & 1))
		return 0;
	key.version = packet->version;
	key.port = packet->to_port;
	__builtin_memcpy(key.address, packet->to.address, 16);
	place = bpf_map_lookup_elem(&judged_places, &key);
	if (ports->has_any_port) {
		key.port = 0;
		any = bpf_map_lookup_elem(&judged_places, &key);
		if (!place || (any && any->bits > place->bits))
			place = any;
	}
	return place && (packet->flow != IN_USE || place->how & JUDGED_IN_USE) ? place->how : 0;
}

/* Fill in the packet's properties for the program. */
__attribute__((noinline)) __u32 tell_program(void)
{
	__u32 zero = 0;
	struct facts *packet = bpf_map_lookup_elem(&at_hand, &zero);
	struct judged *judged = bpf_map_lookup_elem(&judging, &zero);
	struct flow_packet *told;

	if (!packet || !judged)
		return 0;
	look_up_source(packet);
	told = &judged->packet;
	told->now_ms = bpf_ktime_get_ns() / 1000000;
	__builtin_memcpy(told->from, packet->from.address, 16);
	__builtin_memcpy(told->to, packet->to.address, 16);
	told->from_port = packet->from_port;
	told->to_port = packet->to_port;
	told->version = packet->version;
	told->lifetime = packet->lifetime;
	told->flow = packet->flow;
	told->known = packet->known;
	judged->source = packet->source;
	judged->transport_at = packet->transport_at;
	return 1;
}

/* Count a judgement, and return the time if its cost is measured. */
__attribute__((noinline)) __u64 judgement_begins(__u32 number)
{
	struct program_cost *cost = bpf_map_lookup_elem(&program_costs, &number);

	return cost && (cost->judged++ & (MEASURED_ONE_IN - 1)) == 0 ? bpf_ktime_get_ns() : 0;
}

__attribute__((noinline)) __u64 judgement_ends(__u32 number, __u64 from_ns)
{
	struct program_cost *cost = bpf_map_lookup_elem(&program_costs, &number);

	if (!cost)
		return 0;
	cost->ns += bpf_ktime_get_ns() - from_ns;
	return ++cost->measured;
}

/* Return whether the packet has come for the first time. */
__attribute__((noinline)) __u32 comes_first(void)
{
	__u32 zero = 0;
	struct facts *packet = bpf_map_lookup_elem(&at_hand, &zero);

	return packet && !comes_again(packet, bpf_ktime_get_ns());
}

/* Return the verdict without a program: after an upgrade to a version that passes programs other data, until they are
 * loaded again. Passing would let a flood in: each of its flows that is answered would be in use then.
 */
__attribute__((noinline)) __u32 verdict_without(void)
{
	__u32 zero = 0;
	struct facts *packet = bpf_map_lookup_elem(&at_hand, &zero);

	return packet && packet->flow != IN_USE ? FLOW_DROP : FLOW_PASS;
}

/* Call a program; return its result, or FLOW_ABSENT without a program: the return value is that of the tail-called
 * program, which the compiler must not assume to be constant.
 */
__attribute__((noinline)) __u32 called(struct xdp_md *context, __u32 number)
{
	__u32 verdict = FLOW_ABSENT;

	if (has_tail_calls)
		bpf_tail_call(context, &programs, number);
	asm volatile("" : "+r"(verdict));
	return verdict;
}

/* Return the reason why the packet is dropped, or how it was passed; 0 if no program judges it. */
__attribute__((noinline)) __u32 judged_by_program(struct xdp_md *context)
{
	__u32 how = how_judged(), number = (how & PROGRAM_BITS) - 1, verdict;
	__u64 from_ns;

	if (!(how & PROGRAM_BITS))
		return 0;
	from_ns = judgement_begins(number);
	tell_program();
	verdict = called(context, number);
	if (from_ns)
		judgement_ends(number, from_ns);
	if (verdict == FLOW_ABSENT)
		verdict = verdict_without();
	if (verdict == FLOW_CHALLENGE)
		verdict = comes_first();
	if (verdict != FLOW_DROP)
		return FLOW_PASSED + number;
	return (how & ONLY_LOGGED ? FLOW_MONITORED : FLOW_DROPPED) + number;
}

#endif
