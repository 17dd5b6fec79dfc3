/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SYN cookies, answered before the network stack. */

#ifndef SPECTRUM_COOKIES_H
#define SPECTRUM_COOKIES_H

#include "facts.h"

#define ENOENT 2
#define DONT_FRAGMENT 0x4000

/* Add 32-bit words to the checksum in `sum`. */
static __always_inline __u16 checksum(const __u32 *start, __u32 words, __u64 sum)
{
	for (__u32 i = 0; i < words; i++)
		sum += start[i];
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* A SYN-ACK whose only option is the maximum segment size: a SYN cookie cannot encode others. */
struct answer {
	struct tcphdr tcp;
	__u8 kind;
	__u8 bytes;
	__u16 segment;
};

/* Handle a SYN beyond the rate. If a local socket listens, turn the packet into a SYN-ACK with a SYN cookie (RFC 4987,
 * section 3.6), which the kernel recognizes in the client's ACK. The kernel makes cookies when the socket's queue of
 * SYNs is full, or always with net.ipv4.tcp_syncookies=2; while the queue has room, the SYN passes.
 */
static __always_inline __u32 answer_syn(struct xdp_md *context, const struct facts *packet)
{
	void *at = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	__u32 ip_bytes = packet->version == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	struct bpf_sock *socket;
	struct answer *answer;
	struct tcphdr *tcp;
	__u32 copy[15] = {}; /* of the TCP header, whose length the verifier does not know */
	__u8 link[ETH_ALEN];
	__u32 tcp_bytes;
	__s64 cookie;
	__u16 port;

	/* A SYN with a VLAN tag is dropped. */
	if (packet->transport_at != ETH_HLEN + ip_bytes)
		return XDP_DROP;
	tcp = at + ETH_HLEN + ip_bytes;
	if ((void *)(tcp + 1) > end)
		return XDP_DROP;
	tcp_bytes = tcp->doff * 4;
	if (tcp_bytes < sizeof(*tcp) || tcp_bytes > sizeof(copy) || (void *)tcp + tcp_bytes > end)
		return XDP_DROP;
	for (__u32 i = 0; i < sizeof(copy) / 4; i++) {
		if ((void *)tcp + i * 4 + 4 > end)
			break;
		copy[i] = ((__u32 *)tcp)[i];
	}
	socket = socket_of(context, packet);
	if (!socket)
		return XDP_DROP;
	if (packet->version == 4)
		cookie = bpf_tcp_gen_syncookie(socket, at + ETH_HLEN, sizeof(struct iphdr), (struct tcphdr *)copy,
					       tcp_bytes);
	else
		cookie = bpf_tcp_gen_syncookie(socket, at + ETH_HLEN, sizeof(struct ipv6hdr), (struct tcphdr *)copy,
					       tcp_bytes);
	bpf_sk_release(socket);
	if (cookie < 0)
		return cookie == -ENOENT ? XDP_PASS : XDP_DROP;
	if (bpf_xdp_adjust_tail(context, (int)(ETH_HLEN + ip_bytes + sizeof(*answer)) - (int)(end - at)))
		return XDP_DROP;
	at = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	answer = at + ETH_HLEN + ip_bytes;
	if ((void *)(answer + 1) > end)
		return XDP_DROP;
	__builtin_memcpy(link, at, ETH_ALEN);
	__builtin_memcpy(at, at + ETH_ALEN, ETH_ALEN);
	__builtin_memcpy(at + ETH_ALEN, link, ETH_ALEN);
	tcp = &answer->tcp;
	port = tcp->source;
	tcp->source = tcp->dest;
	tcp->dest = port;
	tcp->ack_seq = __builtin_bswap32(__builtin_bswap32(tcp->seq) + 1);
	tcp->seq = __builtin_bswap32((__u32)cookie);
	((__u8 *)tcp)[12] = sizeof(*answer) / 4 << 4;
	((__u8 *)tcp)[13] = 0x12;
	tcp->window = 0xffff;
	tcp->urg_ptr = 0;
	tcp->check = 0;
	answer->kind = 2;
	answer->bytes = 4;
	answer->segment = __builtin_bswap16((__u16)(cookie >> 32));
	if (packet->version == 4) {
		struct iphdr *ip = at + ETH_HLEN;
		__u32 address = ip->saddr;
		ip->saddr = ip->daddr;
		ip->daddr = address;
		ip->tos = 0;
		ip->id = 0;
		ip->frag_off = __builtin_bswap16(DONT_FRAGMENT);
		ip->ttl = 64;
		ip->tot_len = __builtin_bswap16(sizeof(*ip) + sizeof(*answer));
		ip->check = 0;
		ip->check = checksum((__u32 *)ip, sizeof(*ip) / 4, 0);
		tcp->check = checksum((__u32 *)answer, sizeof(*answer) / 4,
				      (__u64)ip->saddr + ip->daddr +
					      __builtin_bswap32(IPPROTO_TCP << 16 | sizeof(*answer)));
	} else {
		struct ipv6hdr *ip = at + ETH_HLEN;
		struct in6_addr address = ip->saddr;
		__u64 sum = __builtin_bswap32(IPPROTO_TCP) + (__u64)__builtin_bswap32(sizeof(*answer));
		ip->saddr = ip->daddr;
		ip->daddr = address;
		ip->hop_limit = 64;
		ip->payload_len = __builtin_bswap16(sizeof(*answer));
		for (int i = 0; i < 8; i++)
			sum += ((__u32 *)&ip->saddr)[i];
		tcp->check = checksum((__u32 *)answer, sizeof(*answer) / 4, sum);
	}
	return XDP_TX;
}

#endif
