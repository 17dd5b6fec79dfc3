/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The rules alone: the packet is the part of struct facts that they look at, and the result is that of `ruled`. */

#include "slots.h"

#define GIVEN offsetof(struct facts, unused)

struct now {
	__u32 generation;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct now);
} now SEC(".maps");

SEC("xdp")
int match(struct xdp_md *context)
{
	__u32 zero = 0;
	void *at = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct facts *packet = bpf_map_lookup_elem(&at_hand, &zero);
	struct now *rules = bpf_map_lookup_elem(&now, &zero);

	if (!packet || !rules || at + GIVEN > end)
		return 1;
	__builtin_memcpy(packet, at, GIVEN);
	return ruled(rules->generation & 1);
}

char _license[] SEC("license") = "Dual BSD/GPL";
