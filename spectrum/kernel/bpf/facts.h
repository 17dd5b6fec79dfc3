/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What is known of the packet at hand: its headers, parsed once, and what the maps say of its flow. */

#ifndef SPECTRUM_FACTS_H
#define SPECTRUM_FACTS_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "helpers.h"

#define FRAGMENT 0x3fff /* in the offset field: more fragments, or an offset */
#define FRAGMENT_OFFSET 0x1fff
/* So many bytes of the facts may be looked up by rules. */
#define FACTS_MATCHED 128

struct prefix {
	__u32 bits;
	__u8 address[16]; /* IPv4 as ::ffff:a.b.c.d */
};

enum { WHOLE, FIRST_FRAGMENT, LATER_FRAGMENT };

/* Numbers are in host byte order, and 0 if the packet has none. Rules are matched by offsets of these fields, which the
 * loader has too (kernel/filter/vectors.py): what rules do not match comes after them.
 */
struct facts {
	struct prefix from;
	struct prefix to;
	__u64 payload; /* its first bytes as one number, the first of them highest, padded with zeros */
	__u32 options; /* of TCP: a hash of their kinds in order, and of the MSS */
	__u32 app; /* the number of the app that is served there, plus 1 */
	__u16 from_port;
	__u16 to_port;
	__u16 length; /* of the IP packet */
	__u16 window;
	__u16 ident;
	__u8 version;
	__u8 protocol;
	__u8 lifetime; /* TTL, hop limit */
	__u8 tcp_flags;
	__u8 fragment;
	__u8 payload_bytes; /* of `payload` */
	__u8 has_ports;
	__u8 tracked; /* whether the next three are known: only while attacks are looked for */
	__u8 flow; /* 0: none, or opening; 1: handshake complete, or we have sent; 2: in use */
	__u8 known; /* its source had a flow in use of late */
	__u8 served; /* an app listens where it goes */
	__u8 kind; /* of those of few values, by slots.h */
	__u8 is_odd;
	__u64 source; /* IPv4 address, or IPv6 /64 */
	__u32 transport_at; /* offset from the start of the frame */
	__u32 bytes; /* of the frame */
	__u8 unused[FACTS_MATCHED - 96];
};

_Static_assert(offsetof(struct facts, payload) == 40 && offsetof(struct facts, from_port) == 56 &&
	       offsetof(struct facts, protocol) == 67&&
		       offsetof(struct facts, kind) == 77,
	       "as in kernel/filter/vectors.py");
_Static_assert(sizeof(struct facts) >= FACTS_MATCHED, "a place is within them");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct facts);
} at_hand SEC(".maps");

/* TCP and UDP packets that no stack sends: contradictory flags, lengths that do not fit. */
static __always_inline int is_odd(__u8 protocol, void *at, void *end)
{
	if (protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = at;
		if ((void *)(tcp + 1) > end)
			return 1;
		return tcp->doff < 5 || (tcp->syn && (tcp->fin || tcp->rst)) ||
		       !(tcp->syn || tcp->ack || tcp->rst || tcp->fin);
	}
	if (protocol == IPPROTO_UDP) {
		struct udphdr *udp = at;
		if ((void *)(udp + 1) > end)
			return 1;
		return __builtin_bswap16(udp->len) < sizeof(*udp);
	}
	return 0;
}

/* Parse the headers; return 0 if this is not an IP packet. */
static __always_inline int read_headers(struct xdp_md *context, struct facts *packet)
{
	void *start = (void *)(long)context->data, *at = start, *end = (void *)(long)context->data_end;
	struct ethhdr *ethernet = at;
	__u16 kind;

	if ((void *)(ethernet + 1) > end)
		return 0;
	kind = ethernet->h_proto;
	at = ethernet + 1;
	if (kind == __builtin_bswap16(ETH_P_8021Q)) {
		if (at + 4 > end)
			return 0;
		kind = *(__u16 *)(at + 2);
		at += 4;
	}
	if (kind == __builtin_bswap16(ETH_P_IP)) {
		struct iphdr *ip = at;
		if ((void *)(ip + 1) > end)
			return 0;
		packet->version = 4;
		map_ipv4(packet->from.address, ip->saddr);
		map_ipv4(packet->to.address, ip->daddr);
		packet->source = ip->saddr;
		packet->protocol = ip->protocol;
		packet->lifetime = ip->ttl;
		packet->length = __builtin_bswap16(ip->tot_len);
		if (ip->frag_off & __builtin_bswap16(FRAGMENT))
			packet->fragment = ip->frag_off & __builtin_bswap16(FRAGMENT_OFFSET) ? LATER_FRAGMENT : FIRST_FRAGMENT;
		packet->is_odd = ip->ihl < 5 || packet->length < ip->ihl * 4 || ip->saddr == 0xffffffff;
		if (packet->is_odd || packet->fragment || ip->ihl != 5)
			return 1;
		at = ip + 1;
	} else if (kind == __builtin_bswap16(ETH_P_IPV6)) {
		struct ipv6hdr *ip = at;
		if ((void *)(ip + 1) > end)
			return 0;
		packet->version = 6;
		__builtin_memcpy(packet->from.address, &ip->saddr, 16);
		__builtin_memcpy(packet->to.address, &ip->daddr, 16);
		__builtin_memcpy(&packet->source, &ip->saddr, 8);
		packet->protocol = ip->nexthdr;
		packet->lifetime = ip->hop_limit;
		packet->length = __builtin_bswap16(ip->payload_len) + sizeof(*ip);
		packet->fragment = ip->nexthdr == IPPROTO_FRAGMENT ? LATER_FRAGMENT : WHOLE;
		packet->is_odd = ip->saddr.in6_u.u6_addr8[0] == 0xff;
		at = ip + 1;
	} else {
		return 0;
	}
	packet->is_odd |= is_odd(packet->protocol, at, end);
	packet->transport_at = at - start;
	if (packet->protocol == IPPROTO_TCP && at + sizeof(struct tcphdr) <= end) {
		packet->tcp_flags = ((__u8 *)at)[13];
		packet->has_ports = 1;
	} else if (packet->protocol == IPPROTO_UDP && at + sizeof(struct udphdr) <= end) {
		packet->has_ports = 1;
	}
	if (packet->has_ports && at + 4 <= end) {
		packet->from_port = __builtin_bswap16(((__u16 *)at)[0]);
		packet->to_port = __builtin_bswap16(((__u16 *)at)[1]);
	}
	return 1;
}

#endif
