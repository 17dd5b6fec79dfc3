/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Drop packets before the network stack (XDP): sources on a list, malformed packets, packets that match a rule, SYNs
 * beyond the rate of their destination (or answer them with a SYN cookie), packets beyond the rate of their source,
 * and datagrams that a flow program refuses. One in `sample_one_in` packets is copied to the ring buffer of samples.
 *
 * Packets from or to a guarded prefix always pass, so that operators do not lock themselves out. A dry run counts and
 * drops nothing. Frames that are neither IPv4 nor IPv6 pass, with or without one VLAN tag. Of later fragments only
 * addresses and rules are checked.
 *
 * Needs Linux 5.10. Attached in driver mode if supported, else in generic mode.
 */

#include "cookies.h"
#include "counts.h"
#include "facts.h"
#include "flows.h"
#include "programs.h"
#include "slots.h"
#include "tcp_states.h"

#define MAX_BLOCKED 1000000
#define MAX_GUARDED 4096
#define MAX_DESTINATIONS 65536
#define SAMPLE_BYTES 128
#define SAMPLES_BYTES (1 << 20)

struct settings {
	__u64 packet_ns; /* between two packets of a source; 0: no limit */
	__u64 burst_ns;  /* how far a source may be ahead of its rate */
	__u64 syn_ns;    /* the same for SYNs to a destination */
	__u64 syn_burst_ns;
	__u32 dry_run;
	__u32 cookies; /* answer SYNs beyond the rate instead of dropping them */
	__u32 sample_one_in; /* 0: none */
	__u32 unused[3];
	__u32 generation; /* of rules: new ones are written beside those in use */
	__u32 rules;
};

struct sample {
	__u64 at_ns;
	__u32 bytes;  /* of the whole frame */
	__u32 reason; /* the index of its counter */
	__u8 header[SAMPLE_BYTES]; /* the start of the frame, zero-padded */
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_BLOCKED);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u32); /* the number of its list */
} blocked SEC(".maps");

/* The number of each list; used by the loader only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_LISTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct list);
	__type(value, __u32);
} lists SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_GUARDED);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u32);
} guarded SEC(".maps");

/* By destination address and port, the time of its rate limiter for SYNs. */
struct destination {
	__u8 address[16];
	__u32 port;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_DESTINATIONS);
	__type(key, struct destination);
	__type(value, __u64);
} destinations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SAMPLES_BYTES);
} samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

static __always_inline int is_too_many(const struct settings *set, __u64 source)
{
	return set->packet_ns && is_over(&sources, &source, set->packet_ns, set->burst_ns);
}

static __always_inline int is_too_many_syns(const struct settings *set, const struct facts *packet)
{
	struct destination to = {.port = packet->to_port};

	__builtin_memcpy(to.address, packet->to.address, 16);
	return set->syn_ns && is_syn(packet) && is_over(&destinations, &to, set->syn_ns, set->syn_burst_ns);
}

/* Copy a packet to the ring buffer of samples. */
static __always_inline void show(struct xdp_md *context, __u32 reason)
{
	void *at = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct sample *sample = bpf_ringbuf_reserve(&samples, sizeof(*sample), 0);

	if (!sample) {
		count(LOST_SAMPLES, end - at);
		return;
	}
	sample->at_ns = bpf_ktime_get_ns();
	sample->bytes = end - at;
	sample->reason = reason;
	__builtin_memset(sample->header, 0, SAMPLE_BYTES);
	for (__u32 i = 0; i < SAMPLE_BYTES; i++) {
		if (at + i + 1 > end)
			break;
		sample->header[i] = *(__u8 *)(at + i);
	}
	bpf_ringbuf_submit(sample, 0);
}

SEC("xdp")
int filter(struct xdp_md *context)
{
	__u32 zero = 0, *list, reason, has_cookie = 0, verdict = XDP_DROP;
	struct settings *set = bpf_map_lookup_elem(&settings, &zero);
	struct facts *packet = bpf_map_lookup_elem(&at_hand, &zero);
	struct detection *on = bpf_map_lookup_elem(&detection, &zero);
	__u64 bytes = context->data_end - context->data;

	if (!set || !packet || !on)
		return XDP_PASS;
	__builtin_memset(packet, 0, offsetof(struct facts, unused));
	packet->from.bits = packet->to.bits = 128;
	if (!read_headers(context, packet, set->rules || on->is_on))
		return XDP_PASS;
	packet->bytes = bytes;
	list = bpf_map_lookup_elem(&blocked, &packet->from);
	if (bpf_map_lookup_elem(&guarded, &packet->from) || bpf_map_lookup_elem(&guarded, &packet->to)) {
		reason = GUARDED;
	} else if (list) {
		reason = *list;
	} else if (packet->is_odd) {
		reason = MALFORMED;
	} else {
		if (on->is_on)
			track(set->rules);
		reason = set->rules ? ruled(set->generation & 1) : 0;
		has_cookie = reason & WITH_COOKIE;
		reason &= ~WITH_COOKIE;
		if (!reason && is_too_many_syns(set, packet))
			reason = TOO_MANY_SYNS;
		if (!reason)
			reason = is_too_many(set, packet->source) ? TOO_MANY : 0;
		if (!reason) {
			reason = tcp_judged(context);
			has_cookie = reason & WITH_COOKIE;
			reason &= ~WITH_COOKIE;
		}
		if (!reason && packet->tracked && packet->protocol == IPPROTO_UDP)
			reason = judged_by_program(context);
		if (!reason)
			reason = PASSED;
	}
	if (set->sample_one_in && bpf_get_prandom_u32() % set->sample_one_in == 0)
		show(context, reason);
	if (packet->tracked)
		look(context, reason, set->rules);
	if (reason == PASSED || reason == GUARDED || (reason >= TCP_MONITORED && reason < FLOW_DROPPED) || set->dry_run)
		verdict = XDP_PASS;
	else if (has_cookie || (reason == TOO_MANY_SYNS && set->cookies))
		verdict = answer_syn(context, packet);
	if (verdict == XDP_TX && reason == TOO_MANY_SYNS)
		reason = SYN_COOKIES;
	else if (verdict == XDP_PASS && !set->dry_run && (has_cookie || reason == TOO_MANY_SYNS))
		reason = reason >= TCP_DROPPED ? reason - TCP_DROPPED + TCP_PASSED : PASSED;
	count(reason, bytes);
	return verdict;
}

char _license[] SEC("license") = "Dual BSD/GPL";
