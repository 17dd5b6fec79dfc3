/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The facts of a packet: its headers, parsed once, and the state of its flow in the maps. */

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
#include "matching.h"

#define FRAGMENT 0x3fff /* in the offset field: more fragments, or an offset */
#define FRAGMENT_OFFSET 0x1fff
/* Limit of extension headers and TCP options that are parsed. */
#define MAX_EXTENSIONS 4
#define MAX_OPTIONS 16
#define MAX_OFFSET 0x3fff /* from the start of the frame */
#define FNV_START 0x811c9dc5
#define FNV_PRIME 0x01000193
#define TIMESTAMPS_ALONE 0x39cccb6d /* the signature of NOP, NOP, timestamps */

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

static __always_inline __u32 hashed(__u32 hash, __u8 byte)
{
	return (hash ^ byte) * FNV_PRIME;
}

/* The signature of TCP options (core/ddos/signatures.py has it, too): FNV-1a of their kinds in order, of the MSS behind
 * its kind, and of nothing behind the end of the list. A global function, so that the verifier checks it once and not
 * once per path to it; offsets are limited by masks and not by comparisons, which would give the verifier as many cases
 * as there are lists of options.
 */
__attribute__((noinline)) __u32 signature_of(struct xdp_md *context, __u32 from, __u32 bytes)
{
	void *end = (void *)(long)context->data_end;
	__u32 hash = FNV_START, place = 0;

	for (__u32 i = 0; i < MAX_OPTIONS; i++) {
		__u8 *option = (void *)(long)context->data + (from & MAX_OFFSET) + (place & 63);
		__u32 length = 1;

		if (place >= bytes || (void *)(option + 1) > end)
			break;
		hash = hashed(hash, *option);
		if (*option == 0)
			break;
		if (*option != 1) {
			if ((void *)(option + 2) > end)
				break;
			length = option[1];
			if (length < 2)
				break;
			if (*option == 2 && length == 4 && (void *)(option + 4) <= end)
				hash = hashed(hashed(hash, option[2]), option[3]);
		}
		place += length;
		if (place > 63)
			break;
		asm volatile("%0 &= 63" : "+r"(place)); /* else the compiler sees that it does nothing */
	}
	return hash;
}

/* Read the first bytes of the payload, of which there are `left` by the headers: a short frame has padding. A global
 * function likewise.
 */
__attribute__((noinline)) __u32 read_payload(struct xdp_md *context, __u32 from, int left)
{
	__u8 *at = (void *)(long)context->data + (from & MAX_OFFSET);
	void *end = (void *)(long)context->data_end;
	__u32 zero = 0, bytes = 0;
	struct facts *packet = bpf_map_lookup_elem(&at_hand, &zero);
	__u64 value = 0;

	if (!packet)
		return 0;
	if ((void *)(at + 8) <= end) {
		value = __builtin_bswap64(*(__u64 *)at);
		bytes = 8;
	} else {
		for (__u32 i = 0; i < 7; i++) {
			if ((void *)(at + i + 1) > end)
				break;
			value |= (__u64)at[i] << (56 - 8 * i);
			bytes = i + 1;
		}
	}
	if (left < (int)bytes) {
		bytes = left > 0 ? left : 0;
		value = bytes ? value & ~0ULL << (64 - 8 * bytes) : 0;
	}
	packet->payload = value;
	packet->payload_bytes = bytes;
	return bytes;
}

/* Parse the headers between IPv6 and its transport; `at` is moved behind them. Return the transport's protocol. */
static __always_inline __u8 walk(struct facts *packet, void **at, void *end)
{
	__u8 *header = *at, kind = packet->protocol;

	for (__u32 i = 0; i < MAX_EXTENSIONS; i++) {
		if ((kind != IPPROTO_HOPOPTS && kind != IPPROTO_ROUTING && kind != IPPROTO_DSTOPTS &&
		     kind != IPPROTO_FRAGMENT && kind != IPPROTO_AH) ||
		    (void *)(header + 8) > end)
			break;
		__u32 bytes = kind == IPPROTO_FRAGMENT ? 8 : kind == IPPROTO_AH ? (header[1] + 2) * 4 : (header[1] + 1) * 8;
		if (kind == IPPROTO_FRAGMENT) {
			__u16 offset = *(__u16 *)(header + 2); /* of 8 bytes, in the upper 13 bits; below, whether more come */
			if (offset & __builtin_bswap16(0xfff8))
				packet->fragment = LATER_FRAGMENT;
			else if (offset & __builtin_bswap16(1))
				packet->fragment = FIRST_FRAGMENT;
		}
		kind = header[0];
		header += bytes;
		if (packet->fragment == LATER_FRAGMENT)
			break;
	}
	*at = header;
	return kind;
}

/* Return the EtherType of a frame's payload, in network order, and move `at` behind the Ethernet header and a VLAN tag;
 * 0 if they are incomplete.
 */
static __always_inline __u16 read_link(void **at, void *end)
{
	struct ethhdr *ethernet = *at;
	__u16 kind;

	if ((void *)(ethernet + 1) > end)
		return 0;
	kind = ethernet->h_proto;
	*at = ethernet + 1;
	if (kind == __builtin_bswap16(ETH_P_8021Q)) {
		if (*at + 4 > end)
			return 0;
		kind = *(__u16 *)(*at + 2);
		*at += 4;
	}
	return kind;
}

/* Return the socket that a TCP packet is for, which the caller releases; 0 if there is none. */
static __always_inline struct bpf_sock *socket_of(struct xdp_md *context, const struct facts *packet)
{
	const __u32 *from = (const __u32 *)packet->from.address, *to = (const __u32 *)packet->to.address;
	struct bpf_sock_tuple tuple = {};

	if (packet->version == 4) {
		tuple.ipv4.saddr = from[3];
		tuple.ipv4.daddr = to[3];
		tuple.ipv4.sport = __builtin_bswap16(packet->from_port);
		tuple.ipv4.dport = __builtin_bswap16(packet->to_port);
		return bpf_skc_lookup_tcp(context, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	__builtin_memcpy(tuple.ipv6.saddr, from, 16);
	__builtin_memcpy(tuple.ipv6.daddr, to, 16);
	tuple.ipv6.sport = __builtin_bswap16(packet->from_port);
	tuple.ipv6.dport = __builtin_bswap16(packet->to_port);
	return bpf_skc_lookup_tcp(context, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
}

/* Parse the headers; return 0 if this is not an IP packet. With `deep`, TCP options and the payload too. */
static __always_inline __u32 read_headers(struct xdp_md *context, struct facts *packet, __u32 deep)
{
	void *start = (void *)(long)context->data, *at = start, *end = (void *)(long)context->data_end;
	__u32 ip_at, payload_at, bytes = 0;
	__u16 kind = read_link(&at, end);

	ip_at = at - start;
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
		packet->ident = __builtin_bswap16(ip->id);
		packet->length = __builtin_bswap16(ip->tot_len);
		if (ip->frag_off & __builtin_bswap16(FRAGMENT))
			packet->fragment = ip->frag_off & __builtin_bswap16(FRAGMENT_OFFSET) ? LATER_FRAGMENT : FIRST_FRAGMENT;
		packet->is_odd = ip->ihl < 5 || packet->length < ip->ihl * 4 || ip->saddr == 0xffffffff;
		if (packet->is_odd)
			return 1;
		at += ip->ihl * 4;
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
		packet->is_odd = ip->saddr.in6_u.u6_addr8[0] == 0xff;
		at = ip + 1;
		packet->protocol = walk(packet, &at, end);
	} else {
		return 0;
	}
	packet->transport_at = at - start;
	if (packet->fragment == LATER_FRAGMENT)
		goto payload;
	if (packet->fragment == WHOLE)
		packet->is_odd |= is_odd(packet->protocol, at, end);
	if (packet->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = at;
		if ((void *)(tcp + 1) > end)
			return 1;
		packet->has_ports = 1;
		packet->from_port = __builtin_bswap16(tcp->source);
		packet->to_port = __builtin_bswap16(tcp->dest);
		packet->tcp_flags = ((__u8 *)tcp)[13];
		packet->window = __builtin_bswap16(tcp->window);
		packet->sequence = __builtin_bswap32(tcp->seq);
		packet->acknowledgement = __builtin_bswap32(tcp->ack_seq);
		bytes = tcp->doff * 4;
		if (deep && bytes > sizeof(*tcp)) {
			__u32 *words = (__u32 *)(tcp + 1);
			/* The options of nearly all segments: NOP, NOP, timestamps. */
			if (bytes == sizeof(*tcp) + 12 && (void *)(words + 1) <= end && *words == __builtin_bswap32(0x0101080a))
				packet->options = TIMESTAMPS_ALONE;
			else
				packet->options = signature_of(context, (void *)words - start, bytes - sizeof(*tcp));
		}
	} else if (packet->protocol == IPPROTO_UDP) {
		struct udphdr *udp = at;
		if ((void *)(udp + 1) > end)
			return 1;
		packet->has_ports = 1;
		packet->from_port = __builtin_bswap16(udp->source);
		packet->to_port = __builtin_bswap16(udp->dest);
		bytes = sizeof(*udp);
	}
payload:
	payload_at = READ(packet->transport_at) + bytes; /* as a number: the compiler might go on with pointers */
	if (deep)
		read_payload(context, payload_at, (int)(ip_at + packet->length) - (int)payload_at);
	return 1;
}

#endif
