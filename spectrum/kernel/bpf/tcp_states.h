/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Advanced TCP protection: SYNs and SYN-ACKs beyond a rate are challenged, packets without a connection dropped.
 *
 * The socket decides if a flow ends at this machine: the network stack knows best, also about flows that began before
 * this program. Forwarded flows are tracked by incoming packets, as the other direction may take another route: New
 * after a SYN, Open, Closing after a FIN, Closed after a RST. A packet in the middle of an unknown flow passes while
 * there are few of them, and its flow is then tracked.
 */

#ifndef SPECTRUM_TCP_STATES_H
#define SPECTRUM_TCP_STATES_H

#include "counts.h"
#include "facts.h"
#include "pace.h"
#include "slots.h"

#define MAX_POLICIES 128
#define MAX_TCP_PREFIXES 131072 /* twice the limit: new ones are written beside those in use */
#define MAX_TCP_FLOWS 131072
#define MAX_TCP_RATES 65536
/* Window of sequence numbers around the highest one that was seen, either way. Receive windows may be up to 1 GB (RFC
 * 7323); no system has such by default. A random pair of numbers is within with a probability of 0.1 %.
 */
#define TCP_WINDOW (1U << 26)
/* Bytes that a client may have sent before its first packet after the SYN is seen: an initial window, if lost. */
#define FIRST_WINDOW 65535U
/* A tracked unknown flow counts as established after this many packets in sequence. */
#define TCP_PROGRESS 3
/* A flow that was in sequence within this time is not restarted by a packet out of sequence. */
#define TCP_FRESH_NS (10 * NS_PER_S)
#define TCP_CLOSING_NS (120 * NS_PER_S)

#define AF_INET 2
#define AF_INET6 10

#define FIN_FLAG 0x01
#define SYN_FLAG 0x02
#define RST_FLAG 0x04
#define ACK_FLAG 0x10

/* States of net/tcp_states.h. 0 is no state: there is no socket. */
enum { NO_SOCKET, SYN_SENT = 2, LISTEN = 10, HAS_COOKIE = 255 };
/* Results of BPF_FIB_LOOKUP: a route, with or without a known neighbour. */
enum { FIB_SUCCESS = 0, FIB_NO_NEIGHBOUR = 7, FIB_TOO_LONG = 8 };

enum { SYN_PART, FLOW_PART, TCP_PARTS };
enum { POLICY_OFF, POLICY_MONITORING, POLICY_ENABLED };
enum { BY_SOURCE, BY_DESTINATION, BY_SOURCE_PORT, BY_DESTINATION_PORT, TCP_TABLES };

struct policy {
	__u32 mode;
	__u32 retransmit; /* a SYN has to come twice; 0: it is answered with a cookie */
	__u64 packet_ns; /* between two packets to an address */
	__u64 burst_ns;
};

struct terms {
	__u64 of[2]; /* a bit for each */
};

struct tcp_settings {
	__u32 generation;
	__u32 tables; /* a bit for each with entries */
	struct terms parts[TCP_PARTS]; /* the terms of each; none: it judges nothing */
	__u64 learning_until_ns; /* flows that are forwarded may be unknown until then */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tcp_settings);
} tcp_settings SEC(".maps");

/* Two generations, as of rules. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * MAX_POLICIES);
	__type(key, __u32);
	__type(value, struct policy);
} tcp_policies SEC(".maps");

/* The terms of a prefix of addresses or ports, in a table of a generation. */
struct tcp_prefix {
	__u32 bits; /* those of `table` among them */
	__u32 table;
	__u32 number[4]; /* in network order; a port is its first two bytes */
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_TCP_PREFIXES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tcp_prefix);
	__type(value, struct terms);
} tcp_terms SEC(".maps");

/* By destination address and part, the time of the rate limiter. */
struct tcp_rate {
	__u8 address[16];
	__u32 part;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_TCP_RATES);
	__type(key, struct tcp_rate);
	__type(value, __u64);
} tcp_rates SEC(".maps");

struct tcp_tuple {
	__u8 from[16];
	__u8 to[16];
	__u16 from_port;
	__u16 to_port;
};

enum { FLOW_NEW, FLOW_OPEN, FLOW_CLOSING, FLOW_CLOSED };

struct tcp_flow {
	__u64 seen_ns; /* the last packet in sequence */
	__u32 sequence; /* what its sender sends next: the highest that was seen */
	__u32 acknowledged; /* the highest that was seen */
	__u8 state;
	__u8 has_acknowledged;
	__u8 progress; /* TCP_PROGRESS: it is known to be one */
	__u8 unused[5];
};

/* Forwarded flows; the least recently used are evicted. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_TCP_FLOWS);
	__type(key, struct tcp_tuple);
	__type(value, struct tcp_flow);
} tcp_flows SEC(".maps");

/* The parsed header. */
struct segment {
	__u32 sequence;
	__u32 end; /* the sequence number behind it */
	__u32 acknowledged;
	__u8 flags;
};

/* Keep the terms of an address or a port. */
static __always_inline void narrow(struct terms *terms, const struct tcp_settings *set, struct tcp_prefix *key,
				   __u32 table, __u32 bits)
{
	struct terms *found;

	if (!(set->tables >> table & 1))
		return;
	key->bits = 32 + bits;
	key->table = (set->generation & 1) * TCP_TABLES + table;
	found = bpf_map_lookup_elem(&tcp_terms, key);
	terms->of[0] &= found ? found->of[0] : 0;
	terms->of[1] &= found ? found->of[1] : 0;
}

/* Return the action of the first term that matches a packet; 0 for none. */
static __always_inline const struct policy *policy_of(const struct tcp_settings *set, const struct facts *packet,
						      __u32 part)
{
	struct terms terms = set->parts[part & 1];
	struct tcp_prefix key = {};
	const struct policy *policy;
	__u32 place;

	if (!(terms.of[0] | terms.of[1]))
		return 0;
	if (set->tables) {
		__builtin_memcpy(key.number, packet->from.address, 16);
		narrow(&terms, set, &key, BY_SOURCE, 128);
		__builtin_memcpy(key.number, packet->to.address, 16);
		narrow(&terms, set, &key, BY_DESTINATION, 128);
		key.number[0] = __builtin_bswap16(packet->from_port);
		narrow(&terms, set, &key, BY_SOURCE_PORT, 16);
		key.number[0] = __builtin_bswap16(packet->to_port);
		narrow(&terms, set, &key, BY_DESTINATION_PORT, 16);
	}
	if (!(terms.of[0] | terms.of[1]))
		return 0;
	place = terms.of[0] ? slot_of(terms.of[0]) : 64 + slot_of(terms.of[1]);
	place += (set->generation & 1) * MAX_POLICIES;
	policy = bpf_map_lookup_elem(&tcp_policies, &place);
	return policy && policy->mode != POLICY_OFF ? policy : 0;
}

/* Return whether an ACK to a listener has a cookie of this kernel, which never saw the client's SYN then. */
static __always_inline int has_cookie(struct bpf_sock *listener, struct xdp_md *context, const struct facts *packet)
{
	void *start = (void *)(long)context->data, *end = (void *)(long)context->data_end, *ip, *tcp;
	struct ethhdr *ethernet = start;

	if ((packet->tcp_flags & (SYN_FLAG | RST_FLAG | ACK_FLAG)) != ACK_FLAG || (void *)(ethernet + 1) > end)
		return 0;
	ip = ethernet + 1;
	if (ethernet->h_proto == __builtin_bswap16(ETH_P_8021Q))
		ip += 4;
	tcp = start + (packet->transport_at & 0xff);
	if (tcp + sizeof(struct tcphdr) > end)
		return 0;
	if (packet->version == 4)
		return ip + sizeof(struct iphdr) <= end &&
		       !bpf_tcp_check_syncookie(listener, ip, sizeof(struct iphdr), tcp, sizeof(struct tcphdr));
	return ip + sizeof(struct ipv6hdr) <= end &&
	       !bpf_tcp_check_syncookie(listener, ip, sizeof(struct ipv6hdr), tcp, sizeof(struct tcphdr));
}

/* Return the state of the socket that a packet is for. */
static __always_inline __u32 socket_state(struct xdp_md *context, const struct facts *packet)
{
	struct bpf_sock *socket = socket_of(context, packet);
	__u32 state;

	if (!socket)
		return NO_SOCKET;
	state = socket->state;
	if (state == LISTEN && has_cookie(socket, context, packet))
		state = HAS_COOKIE;
	bpf_sk_release(socket);
	return state;
}

/* Return whether this machine forwards a packet. */
static __always_inline int is_forwarded(struct xdp_md *context, const struct facts *packet)
{
	struct bpf_fib_lookup route = {.l4_protocol = IPPROTO_TCP, .ifindex = context->ingress_ifindex};
	long found;

	route.tot_len = packet->length;
	if (packet->version == 4) {
		route.family = AF_INET;
		__builtin_memcpy(&route.ipv4_src, packet->from.address + 12, 4);
		__builtin_memcpy(&route.ipv4_dst, packet->to.address + 12, 4);
	} else {
		route.family = AF_INET6;
		__builtin_memcpy(route.ipv6_src, packet->from.address, 16);
		__builtin_memcpy(route.ipv6_dst, packet->to.address, 16);
	}
	found = bpf_fib_lookup(context, &route, sizeof(route), 0);
	return found == FIB_SUCCESS || found == FIB_NO_NEIGHBOUR || found == FIB_TOO_LONG;
}

/* Parse the TCP header; return 0 if it is incomplete. */
static __always_inline int read_segment(struct xdp_md *context, const struct facts *packet, struct segment *segment)
{
	void *start = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct tcphdr *tcp = start + (packet->transport_at & 0xff);
	struct ethhdr *ethernet = start;
	__u32 headers;

	if ((void *)(tcp + 1) > end || (void *)(ethernet + 1) > end)
		return 0;
	headers = packet->transport_at + tcp->doff * 4 - sizeof(*ethernet);
	if (ethernet->h_proto == __builtin_bswap16(ETH_P_8021Q))
		headers -= 4;
	segment->flags = packet->tcp_flags;
	segment->sequence = __builtin_bswap32(tcp->seq);
	segment->acknowledged = __builtin_bswap32(tcp->ack_seq);
	segment->end = segment->sequence + (packet->length > headers ? packet->length - headers : 0);
	segment->end += !!(segment->flags & SYN_FLAG) + !!(segment->flags & FIN_FLAG);
	return 1;
}

static __always_inline int is_near(__u32 number, __u32 other, __u32 window)
{
	return number - other + window <= 2 * window;
}

static __always_inline void name_tuple(struct tcp_tuple *tuple, const struct facts *packet)
{
	__builtin_memcpy(tuple->from, packet->from.address, 16);
	__builtin_memcpy(tuple->to, packet->to.address, 16);
	tuple->from_port = packet->from_port;
	tuple->to_port = packet->to_port;
}

/* Add a flow that begins, or an unknown one. A flow in use is not changed. */
static __always_inline void note_flow(const struct facts *packet, const struct segment *segment, __u8 state, __u64 now)
{
	struct tcp_flow flow = {.seen_ns = now, .sequence = segment->end, .state = state}, *known;
	struct tcp_tuple tuple;

	name_tuple(&tuple, packet);
	known = bpf_map_lookup_elem(&tcp_flows, &tuple);
	if (known && known->state == FLOW_OPEN && now - known->seen_ns < TCP_FRESH_NS)
		return;
	flow.acknowledged = segment->acknowledged;
	flow.has_acknowledged = !!(segment->flags & ACK_FLAG);
	flow.progress = segment->flags & SYN_FLAG ? TCP_PROGRESS : 0;
	bpf_map_update_elem(&tcp_flows, &tuple, &flow, BPF_ANY);
}

/* Return how a packet of a forwarded flow fits the flow's state: a reason, or IN_STATE. */
static __always_inline __u32 flow_judged(const struct facts *packet, const struct segment *segment, __u64 now)
{
	__u32 sequence, has_acknowledged, went_on;
	struct tcp_tuple tuple;
	struct tcp_flow *flow;

	name_tuple(&tuple, packet);
	flow = bpf_map_lookup_elem(&tcp_flows, &tuple);
	if (!flow)
		return NOT_FOUND;
	sequence = flow->sequence;
	if (flow->state == FLOW_CLOSED || (flow->state == FLOW_CLOSING && now - flow->seen_ns > TCP_CLOSING_NS))
		return ALREADY_CLOSED;
	has_acknowledged = flow->has_acknowledged && segment->flags & ACK_FLAG;
	if (flow->state == FLOW_NEW ? segment->sequence - sequence > FIRST_WINDOW
				    : !is_near(segment->sequence, sequence, TCP_WINDOW))
		return OUT_OF_SEQUENCE;
	if (has_acknowledged && !is_near(segment->acknowledged, flow->acknowledged, TCP_WINDOW))
		return OUT_OF_SEQUENCE;
	flow->seen_ns = now;
	if (segment->flags & RST_FLAG) { /* the receiver decides if it is not exact (RFC 5961) */
		if (segment->sequence == sequence)
			flow->state = FLOW_CLOSED;
		return flow->progress < TCP_PROGRESS ? NOT_FOUND : IN_STATE;
	}
	went_on = (__s32)(segment->end - sequence) > 0;
	if (went_on)
		flow->sequence = segment->end;
	if (segment->flags & ACK_FLAG) {
		if (!flow->has_acknowledged || (__s32)(segment->acknowledged - flow->acknowledged) > 0) {
			went_on |= flow->has_acknowledged;
			flow->acknowledged = segment->acknowledged;
			flow->has_acknowledged = 1;
		}
	}
	if (segment->flags & FIN_FLAG) {
		flow->state = FLOW_CLOSING;
	} else if (flow->state == FLOW_NEW) {
		flow->state = FLOW_OPEN;
	}
	if (flow->progress < TCP_PROGRESS)
		flow->progress += !!went_on;
	return flow->progress < TCP_PROGRESS ? NOT_FOUND : IN_STATE;
}

static __always_inline int is_beyond(const struct policy *policy, const struct facts *packet, __u32 part)
{
	struct tcp_rate rate = {.part = part};

	__builtin_memcpy(rate.address, packet->to.address, 16);
	return is_over(&tcp_rates, &rate, policy->packet_ns, policy->burst_ns);
}

/* Judge a SYN or a SYN-ACK. */
static __always_inline __u32 opening_judged(struct xdp_md *context, const struct policy *policy,
					    const struct facts *packet, const struct segment *segment, __u32 socket,
					    __u64 now)
{
	__u32 is_answer = packet->tcp_flags & ACK_FLAG, reason;

	if (socket == SYN_SENT || (is_answer && socket != NO_SOCKET && socket != LISTEN))
		return 0;
	reason = is_answer && socket == LISTEN ? UNEXPECTED : CHALLENGE_NEEDED;
	if (is_beyond(policy, packet, SYN_PART)) {
		if (policy->mode == POLICY_ENABLED) {
			if (!is_answer && socket == LISTEN && !policy->retransmit)
				return (TCP_DROPPED + reason) | WITH_COOKIE;
			if (reason == UNEXPECTED || (is_answer && !is_forwarded(context, packet)) ||
			    !comes_again(packet, now))
				return TCP_DROPPED + reason;
			reason = TCP_PASSED + CHALLENGE_PASSED;
		} else {
			reason += TCP_MONITORED;
		}
	} else {
		reason = reason == UNEXPECTED ? TCP_PASSED + UNEXPECTED : 0;
	}
	if (socket == NO_SOCKET && is_forwarded(context, packet))
		note_flow(packet, segment, is_answer ? FLOW_OPEN : FLOW_NEW, now);
	return reason;
}

/* Judge another packet. */
static __always_inline __u32 packet_judged(struct xdp_md *context, const struct tcp_settings *set,
					   const struct policy *policy, const struct facts *packet,
					   const struct segment *segment, __u32 socket, __u64 now)
{
	__u32 reason = NOT_FOUND, is_learning = 0;

	if (socket == HAS_COOKIE)
		return TCP_PASSED + CHALLENGE_PASSED;
	if (socket == NO_SOCKET) {
		reason = flow_judged(packet, segment, now);
		if (reason == IN_STATE)
			return 0;
		is_learning = now < set->learning_until_ns && is_forwarded(context, packet);
	}
	if (!is_learning && is_beyond(policy, packet, FLOW_PART))
		return (policy->mode == POLICY_ENABLED ? TCP_DROPPED : TCP_MONITORED) + reason;
	if (socket == NO_SOCKET && reason != ALREADY_CLOSED && !(packet->tcp_flags & (RST_FLAG | FIN_FLAG)) &&
	    (is_learning || is_forwarded(context, packet)))
		note_flow(packet, segment, FLOW_OPEN, now);
	return TCP_PASSED + reason;
}

/* Return the reason why a TCP packet is dropped, or would be; with WITH_COOKIE if it is answered. 0: it fits its state.
A
 * global function, so that the verifier checks it once.
 */
__attribute__((noinline)) __u32 tcp_judged(struct xdp_md *context)
{
	__u32 zero = 0, socket, part;
	struct tcp_settings *set = bpf_map_lookup_elem(&tcp_settings, &zero);
	struct facts *packet = bpf_map_lookup_elem(&at_hand, &zero);
	const struct policy *policy;
	struct segment segment;

	if (!set || !packet || packet->protocol != IPPROTO_TCP || !packet->has_ports)
		return 0;
	part = packet->tcp_flags & SYN_FLAG ? SYN_PART : FLOW_PART;
	policy = policy_of(set, packet, part);
	if (!policy)
		return 0;
	socket = socket_state(context, packet);
	if (part == FLOW_PART && socket != NO_SOCKET && socket != LISTEN && socket != HAS_COOKIE)
		return 0;
	if (!read_segment(context, packet, &segment))
		return 0;
	if (part == SYN_PART)
		return opening_judged(context, policy, packet, &segment, socket, bpf_ktime_get_ns());
	return packet_judged(context, set, policy, packet, &segment, socket, bpf_ktime_get_ns());
}

#endif
