/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Flows in use, known sources, and the addresses and ports of apps: only while detection is on.
 * * A flow is in use when both ends have sent data. For TCP the sockets tell: a program at egress (tc) sees what this *
 machine sends, with its socket. A UDP flow is in use when its sender continues after an answer. So a sender with a *
 forged address has no TCP flow in use, and a UDP flow only if it sends each datagram more than once, and happens to be
 * answered; answers to forged sources are in a separate table, so that they evict no flow in use. * * One in so many
 packets is copied to the ring buffer of looks, with its facts. */

#ifndef SPECTRUM_FLOWS_H
#define SPECTRUM_FLOWS_H

#include <linux/pkt_cls.h>

#include "counts.h"
#include "facts.h"

#define MAX_FLOWS 262144
#define MAX_ANSWERED 65536
#define MAX_KNOWN 262144
#define MAX_SERVED 65536
#define SERVED_FIXED_BITS 32
#define LOOKS_BYTES (4 << 20)
#define LOOK_HEADER_BYTES 88
#define NO_WAKEUP 1 /* BPF_RB_NO_WAKEUP: they are read periodically */
#define NS_PER_SECOND 1000000000ULL
#define KNOWN_NS (24 * 3600 * NS_PER_SECOND)
/* A source becomes known when it has used a UDP flow for this time; that of a flow in use is refreshed at this
interval. */
#define SETTLED_NS NS_PER_SECOND
#define NOTED_NS (600 * NS_PER_SECOND)
#define TCP_LISTEN 10 /* include/net/tcp_states.h */
#define ACK 0x10
#define SYN_AND_ACK 0x12

enum { OPENING, SHAKEN, IN_USE };

/* The key of a flow, seen from one side; ports in host byte order. */
struct flow {
	__u8 remote[16];
	__u8 local[16];
	__u16 remote_port;
	__u16 local_port;
	__u8 protocol;
	__u8 unused[3];
};

/* Flows in use, with the time when their source is to be refreshed as known. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct flow);
	__type(value, __u64);
} flows SEC(".maps");

/* UDP flows to which this machine has sent. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_ANSWERED);
	__type(key, struct flow);
	__type(value, __u32);
} answered SEC(".maps");

/* IPv4 addresses and IPv6 /64s that had a flow in use, with the time. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_KNOWN);
	__type(key, __u64);
	__type(value, __u64);
} known_sources SEC(".maps");

struct served_key {
	__u32 bits;
	__u8 protocol;
	__u8 version;
	__u16 port; /* in host byte order; 0: any */
	__u8 address[16];
};

struct served_app {
	__u32 number; /* plus 1 */
	__u32 bits; /* the prefix length of the key of this entry */
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_SERVED);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct served_key);
	__type(value, struct served_app);
} served SEC(".maps");

struct detection {
	__u32 is_on;
	__u32 idle_one_in; /* of packets of flows that are not in use; 0: none */
	__u32 used_one_in; /* of the others */
	__u32 has_any_port; /* an app is served at a whole address */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct detection);
} detection SEC(".maps");

/* spectrum/detector/columns.py reads it. Numbers are as the machine has them, and as in the facts. */
struct look {
	__u64 at_ns;
	__u64 payload;
	__u8 from[16];
	__u8 to[16];
	__u32 bytes;  /* of the whole frame */
	__u32 reason; /* the index of its counter */
	__u32 one_in; /* it was one of so many */
	__u32 options;
	__s32 app; /* -1: none */
	__u16 from_port;
	__u16 to_port;
	__u16 length;
	__u16 window;
	__u16 ident;
	__u8 version;
	__u8 protocol;
	__u8 lifetime;
	__u8 tcp_flags;
	__u8 fragment;
	__u8 payload_bytes;
	__u8 flow;
	__u8 known;
	__u8 served;
	__u8 unused;
	__u8 header[LOOK_HEADER_BYTES]; /* the start of the frame, zero-padded */
	__u32 sequence;
	__u32 acknowledgement;
};

_Static_assert(sizeof(struct look) == 184, "as in spectrum/kernel/looks.py");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, LOOKS_BYTES);
} looks SEC(".maps");

static __always_inline void name_flow(struct flow *flow, const struct facts *packet)
{
	__builtin_memcpy(flow->remote, packet->from.address, 16);
	__builtin_memcpy(flow->local, packet->to.address, 16);
	flow->remote_port = packet->from_port;
	flow->local_port = packet->to_port;
	flow->protocol = packet->protocol;
}

/* Return the state of the socket of a TCP packet: of its connection, or OPENING. */
static __always_inline __u8 state_of_socket(struct xdp_md *context, const struct facts *packet)
{
	struct bpf_sock *socket = socket_of(context, packet);
	__u32 state;

	if (!socket)
		return OPENING;
	state = socket->state;
	bpf_sk_release(socket);
	return state == TCP_LISTEN ? OPENING : SHAKEN;
}

/* Refresh the source of a flow in use as known, from time to time. */
static __always_inline void note_source(__u64 source, __u64 *noted_ns)
{
	__u64 now = bpf_ktime_get_ns();

	if (now < *noted_ns)
		return;
	*noted_ns = now + NOTED_NS;
	bpf_map_update_elem(&known_sources, &source, &now, BPF_ANY);
}

static __always_inline void look_up_flow(struct facts *packet)
{
	struct flow flow = {};
	__u64 *noted_ns, from_now;

	if (!packet->has_ports)
		return;
	name_flow(&flow, packet);
	noted_ns = bpf_map_lookup_elem(&flows, &flow);
	if (noted_ns) {
		packet->flow = IN_USE;
		if ((bpf_get_prandom_u32() & 15) == 0)
			note_source(packet->source, noted_ns);
	} else if (packet->protocol == IPPROTO_UDP && bpf_map_lookup_elem(&answered, &flow)) {
		packet->flow = SHAKEN;
		from_now = bpf_ktime_get_ns() + SETTLED_NS;
		bpf_map_update_elem(&flows, &flow, &from_now, BPF_ANY);
	}
}

static __always_inline void look_up_source(struct facts *packet)
{
	__u64 *at_ns = bpf_map_lookup_elem(&known_sources, &packet->source);

	packet->known = at_ns && bpf_ktime_get_ns() - *at_ns < KNOWN_NS;
}

static __always_inline void look_up_app(struct facts *packet, const struct detection *on)
{
	struct served_key key = {
		.bits = SERVED_FIXED_BITS + 128,
		.protocol = packet->protocol,
		.version = packet->version,
		.port = packet->to_port,
	};
	struct served_app *app, *any;

	if (!packet->has_ports)
		return;
	__builtin_memcpy(key.address, packet->to.address, 16);
	app = bpf_map_lookup_elem(&served, &key);
	if (on->has_any_port) { /* the longest prefix wins, as for bindings */
		key.port = 0;
		any = bpf_map_lookup_elem(&served, &key);
		if (!app || (any && any->bits > app->bits))
			app = any;
	}
	packet->app = app ? app->number : 0;
	packet->served = !!app;
}

/* Look up the state of the packet in the maps. A global function, so that the verifier checks it once. */
__attribute__((noinline)) __u32 track(__u32 deep)
{
	__u32 zero = 0;
	struct facts *packet = bpf_map_lookup_elem(&at_hand, &zero);
	struct detection *on = bpf_map_lookup_elem(&detection, &zero);

	if (!packet || !on)
		return 0;
	look_up_flow(packet);
	if (deep) { /* rules may match it */
		look_up_source(packet);
		look_up_app(packet, on);
	}
	packet->tracked = 1;
	return 1;
}

static __always_inline void copy_header(__u8 *to, const __u8 *at, const void *end)
{
	__u32 words;

	__builtin_memset(to, 0, LOOK_HEADER_BYTES);
	for (words = 0; words < LOOK_HEADER_BYTES / 8; words++) {
		if ((void *)(at + 8 * words + 8) > end)
			break;
		((__u64 *)to)[words] = *(__u64 *)(at + 8 * words);
	}
	if (words >= LOOK_HEADER_BYTES / 8)
		return;
	for (__u32 i = 8 * words; i < 8 * words + 7; i++) {
		if ((void *)(at + i + 1) > end)
			break;
		to[i] = at[i];
	}
}

/* Copy the packet to the ring buffer of looks, if it is sampled. */
__attribute__((noinline)) __u32 look(struct xdp_md *context, __u32 reason, __u32 has_looked_up)
{
	void *at = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	__u32 zero = 0, one_in;
	struct facts *packet = bpf_map_lookup_elem(&at_hand, &zero);
	struct detection *on = bpf_map_lookup_elem(&detection, &zero);
	struct look *look;

	if (!packet || !on)
		return 0;
	one_in = packet->flow == IN_USE ? on->used_one_in : on->idle_one_in;
	if (!one_in || (__u64)bpf_get_prandom_u32() * one_in >> 32)
		return 0;
	/* Not before: idleness is the same for rules and rates, and the lookup is expensive. */
	if (packet->protocol == IPPROTO_TCP && packet->flow == OPENING && (packet->tcp_flags & SYN_AND_ACK) == ACK)
		packet->flow = state_of_socket(context, packet);
	look = bpf_ringbuf_reserve(&looks, sizeof(*look), 0);
	if (!look) {
		count(LOST_LOOKS, end - at);
		return 0;
	}
	if (!has_looked_up) {
		look_up_source(packet);
		look_up_app(packet, on);
	}
	look->at_ns = bpf_ktime_get_ns();
	look->payload = packet->payload;
	__builtin_memcpy(look->from, packet->from.address, 16);
	__builtin_memcpy(look->to, packet->to.address, 16);
	look->bytes = end - at;
	look->reason = reason;
	look->one_in = one_in;
	look->options = packet->options;
	look->app = (__s32)packet->app - 1;
	look->from_port = packet->from_port;
	look->to_port = packet->to_port;
	look->length = packet->length;
	look->window = packet->window;
	look->ident = packet->ident;
	look->version = packet->version;
	look->protocol = packet->protocol;
	look->lifetime = packet->lifetime;
	look->tcp_flags = packet->tcp_flags;
	look->fragment = packet->fragment;
	look->payload_bytes = packet->payload_bytes;
	look->flow = packet->flow;
	look->known = packet->known;
	look->served = packet->served;
	look->unused = 0;
	copy_header(look->header, at, end);
	look->sequence = packet->sequence;
	look->acknowledgement = packet->acknowledgement;
	bpf_ringbuf_submit(look, NO_WAKEUP);
	return 1;
}

/* Return the key of the flow of an outgoing packet, and the bytes of its payload; 0 if it belongs to no flow. */
static __always_inline __u32 name_sent(struct __sk_buff *skb, struct flow *flow, __u64 *source)
{
	void *at = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u16 kind = read_link(&at, end), *ports;
	__u32 left;

	if (kind == __builtin_bswap16(ETH_P_IP)) {
		struct iphdr *ip = at;
		if ((void *)(ip + 1) > end || ip->frag_off & __builtin_bswap16(FRAGMENT_OFFSET))
			return 0;
		map_ipv4(flow->remote, ip->daddr);
		map_ipv4(flow->local, ip->saddr);
		*source = ip->daddr;
		flow->protocol = ip->protocol;
		at += ip->ihl * 4;
	} else if (kind == __builtin_bswap16(ETH_P_IPV6)) {
		struct ipv6hdr *ip = at;
		if ((void *)(ip + 1) > end)
			return 0;
		__builtin_memcpy(flow->remote, &ip->daddr, 16);
		__builtin_memcpy(flow->local, &ip->saddr, 16);
		__builtin_memcpy(source, &ip->daddr, 8);
		flow->protocol = ip->nexthdr;
		at = ip + 1;
	} else {
		return 0;
	}
	if (flow->protocol != IPPROTO_TCP && flow->protocol != IPPROTO_UDP)
		return 0;
	ports = at;
	if ((void *)ports + sizeof(struct udphdr) > end)
		return 0;
	flow->local_port = __builtin_bswap16(ports[0]);
	flow->remote_port = __builtin_bswap16(ports[1]);
	left = skb->len - (__u32)(at - (void *)(long)skb->data);
	return flow->protocol == IPPROTO_TCP ? 1 : left > sizeof(struct udphdr);
}

/* Whether both ends of a connection have sent data: after a handshake, which no forged address completes. */
static __always_inline int is_in_use(struct __sk_buff *skb)
{
	struct bpf_sock *socket = skb->sk;
	struct bpf_tcp_sock *tcp;

	if (!socket)
		return 0;
	socket = bpf_sk_fullsock(socket);
	if (!socket)
		return 0;
	tcp = bpf_tcp_sock(socket);
	return tcp && tcp->bytes_received && tcp->data_segs_out;
}

/* Packets that leave by the interfaces of the filter, including those that are forwarded (offload.bpf.c). */
SEC("tc")
int sent(struct __sk_buff *skb)
{
	struct flow flow = {};
	__u64 source = 0, now, noted_ns;
	__u32 one = 1;

	if (!name_sent(skb, &flow, &source) || bpf_map_lookup_elem(&flows, &flow))
		return TC_ACT_UNSPEC;
	if (flow.protocol == IPPROTO_UDP) {
		if (!bpf_map_lookup_elem(&answered, &flow))
			bpf_map_update_elem(&answered, &flow, &one, BPF_ANY);
	} else if (is_in_use(skb)) {
		now = bpf_ktime_get_ns();
		noted_ns = now + NOTED_NS;
		bpf_map_update_elem(&flows, &flow, &noted_ns, BPF_ANY);
		bpf_map_update_elem(&known_sources, &source, &now, BPF_ANY);
	}
	return TC_ACT_UNSPEC;
}

#endif
