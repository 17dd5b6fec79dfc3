/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The wrapper of an operator's flow program: it copies the payload, calls the program, and stores its state.
 *
 * The program is a function that gets only these copies, no context, no map and no helper, so it can neither read nor
 * change anything else. The loader (kernel/filter/flow_programs.py) appends its instructions to those of one of the
 * functions here, and redirects the call of `flow_judge` to them.
 *
 * Needs Linux 5.10.
 */

#include <linux/bpf.h>
#include <linux/udp.h>

#include "judging.h"

#define MAX_STATES 65536
#define MAX_FRAME 0x3fff
#define WORDS_COPIED (FLOW_PAYLOAD_BYTES / 8)

/* The program's state by source. Created for each program that is loaded, and freed with it. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_STATES);
	__type(key, __u64);
	__type(value, union flow_state);
} states SEC(".maps");

/* The last three argument registers are cleared: a pointer left there would be accessible to the program. */
extern __u32 flow_judge(struct flow_packet *packet, union flow_state *state, __u64, __u64, __u64);

/* Copy the payload, the last word with the bytes that follow it, as far as the frame goes. */
static __always_inline void copy_payload(struct xdp_md *context, struct judged *judged)
{
	void *end = (void *)(long)context->data_end;
	__u8 *at = (void *)(long)context->data + (judged->transport_at & MAX_FRAME);
	struct udphdr *udp = (void *)at;
	__u64 *words = (void *)judged->packet.payload;
	__u32 length, there, i;

	judged->packet.length = judged->packet.bytes = 0;
	if ((void *)(udp + 1) > end)
		return;
	length = __builtin_bswap16(udp->len) - sizeof(*udp);
	at = (void *)(udp + 1);
	there = end - (void *)at;
	if (length > 0xffff) /* its length is wrong */
		return;
	if (there > length)
		there = length;
	if (there > FLOW_PAYLOAD_BYTES)
		there = FLOW_PAYLOAD_BYTES;
	judged->packet.length = length;
	judged->packet.bytes = there;
	for (i = 0; i < WORDS_COPIED; i++) {
		if (8 * i >= there)
			return;
		if ((void *)(at + 8 * i + 8) > end)
			break;
		words[i] = *(__u64 *)(at + 8 * i);
	}
	for (__u32 last = 0; last < 7; last++) {
		__u32 place = 8 * i + last;
		if (place >= FLOW_PAYLOAD_BYTES || (void *)(at + place + 1) > end)
			return;
		judged->packet.payload[place] = at[place];
	}
}

SEC("flow/plain")
__u32 judge_plain(struct xdp_md *context)
{
	__u32 zero = 0;
	struct judged *judged = bpf_map_lookup_elem(&judging, &zero);

	if (!judged)
		return FLOW_PASS;
	copy_payload(context, judged);
	return judged->verdict = flow_judge(&judged->packet, 0, 0, 0, 0);
}

SEC("flow/state")
__u32 judge_state(struct xdp_md *context)
{
	__u32 zero = 0, verdict;
	struct judged *judged = bpf_map_lookup_elem(&judging, &zero);
	union flow_state state = {}, *kept;

	if (!judged)
		return FLOW_PASS;
	copy_payload(context, judged);
	kept = bpf_map_lookup_elem(&states, &judged->source);
	if (kept)
		state = *kept;
	verdict = judged->verdict = flow_judge(&judged->packet, &state, 0, 0, 0);
	if (kept) {
		*kept = state;
	} else if (state.u64[0] | state.u64[1]) {
		__u64 source = judged->source;
		bpf_map_update_elem(&states, &source, &state, BPF_ANY);
	}
	return verdict;
}

char _license[] SEC("license") = "Dual BSD/GPL";
