/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Forward datagrams of known UDP flows at ingress (tc): rewrite addresses, ports, Simple Proxy header and checksums.
 *
 * A datagram leaves through the interface on the route to the flow's other end, or goes up into this machine. All that
 * is unusual is left to user space, as if the program were not there: fragments, IP options and extension headers,
 * is unusual is left to user space, as if the program were not attached: fragments, IP options and extension headers,
 * whose lease has expired, because it is gone or hangs.
 * whose lease has expired, because it is gone or hangs.
 * Checksums are updated incrementally: one that was wrong stays wrong, so the receiver detects it.
 *
 * Needs Linux 5.10 (bpf_redirect_neigh).
 */

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include "helpers.h"
#include "offload.h"

#define AF_INET 2
#define AF_INET6 10
#define LOOPBACK 1    /* the index of lo, in each namespace */
#define PACKET_HOST 0 /* linux/if_packet.h: for this machine, by its link address */
#define FRAGMENT 0x3fff
#define NEXT TC_ACT_UNSPEC /* the packet continues as without this program */
/* The longest payload that is moved to make room for a header; frames of 1,500 bytes hold less. */
#define MAX_MOVED 2047
#define SIMPLE_BYTES 38
#define UDP_BYTES sizeof(struct udphdr)

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set by the loader */
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct offload_tuple);
	__type(value, struct offload_way);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set by the loader */
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct offload_tally);
} tallies SEC(".maps");

/* When the lease of each worker expires, in ns of CLOCK_MONOTONIC. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OFFLOAD_MAX_WORKERS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} leases SEC(".maps");

struct scratch {
	__u8 bytes[MAX_MOVED + 1];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} moved SEC(".maps");

/* The parsed packet. Offsets are from its Ethernet header. */
struct packet {
	struct offload_tuple tuple;
	__u32 family;
	__u32 udp_at;
	__u32 payload; /* bytes, of all segments of a GSO packet together */
	__u32 segment; /* of a GSO packet: bytes of each datagram; else 0 */
};

static __always_inline __u32 unmapped(const __u8 *address)
{
	return ((const __u32 *)address)[3];
}

/* Parse the headers; return 0 if this is not a plain UDP packet. */
static __always_inline int read_headers(struct __sk_buff *skb, struct packet *packet)
{
	void *at = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct udphdr *udp;
	__u32 length;

	if (skb->protocol == __builtin_bswap16(ETH_P_IP)) {
		struct iphdr *ip = at + ETH_HLEN;
		packet->family = AF_INET;
		packet->udp_at = ETH_HLEN + sizeof(*ip);
		udp = (void *)(ip + 1);
		if ((void *)(udp + 1) > end || ip->protocol != IPPROTO_UDP || ip->ihl != 5 || ip->version != 4 ||
		    ip->frag_off & __builtin_bswap16(FRAGMENT) || ip->ttl <= 1)
			return 0;
		map_ipv4(packet->tuple.from, ip->saddr);
		map_ipv4(packet->tuple.to, ip->daddr);
		length = __builtin_bswap16(ip->tot_len) - sizeof(*ip);
	} else if (skb->protocol == __builtin_bswap16(ETH_P_IPV6)) {
		struct ipv6hdr *ip = at + ETH_HLEN;
		packet->family = AF_INET6;
		packet->udp_at = ETH_HLEN + sizeof(*ip);
		udp = (void *)(ip + 1);
		if ((void *)(udp + 1) > end || ip->nexthdr != IPPROTO_UDP || ip->version != 6 || ip->hop_limit <= 1 ||
		    udp->check == 0)
			return 0;
		__builtin_memcpy(packet->tuple.from, &ip->saddr, 16);
		__builtin_memcpy(packet->tuple.to, &ip->daddr, 16);
		length = __builtin_bswap16(ip->payload_len);
	} else {
		return 0;
	}
	packet->tuple.from_port = udp->source;
	packet->tuple.to_port = udp->dest;
	packet->segment = skb->gso_size;
	if (packet->segment) {
		packet->payload = skb->len - packet->udp_at - UDP_BYTES;
		return 1;
	}
	/* A short frame has padding after the datagram. */
	if (length < UDP_BYTES || length != __builtin_bswap16(udp->len) || packet->udp_at + length > skb->len)
		return 0;
	packet->payload = length - UDP_BYTES;
	return 1;
}

/* 127.0.0.0/8 and ::1 are local, whatever the routes are. */
static __always_inline int is_loopback(const struct packet *packet, const __u8 *address)
{
	const __u32 *words = (const __u32 *)address;

	if (packet->family == AF_INET)
		return address[12] == 127;
	return !words[0] && !words[1] && !words[2] && words[3] == __builtin_bswap32(1);
}

/* Return the interface through which the rewritten packet leaves: LOOPBACK for this machine, 0 to leave it to user
 * space. Sets `next` to the neighbour. The routes are those of packets that this machine sends.
 */
static __always_inline __u32 route(struct __sk_buff *skb, const struct packet *packet,
				   const struct offload_tuple *to, __u32 payload, struct bpf_redir_neigh *next)
{
	struct bpf_fib_lookup fib = {.l4_protocol = IPPROTO_UDP, .ifindex = LOOPBACK};
	long found;

	if (is_loopback(packet, to->to))
		return LOOPBACK;
	fib.family = packet->family;
	fib.sport = to->from_port;
	fib.dport = to->to_port;
	fib.tot_len = packet->udp_at - ETH_HLEN + UDP_BYTES + payload;
	if (packet->family == AF_INET) {
		fib.ipv4_src = unmapped(to->from);
		fib.ipv4_dst = unmapped(to->to);
	} else {
		__builtin_memcpy(fib.ipv6_src, to->from, 16);
		__builtin_memcpy(fib.ipv6_dst, to->to, 16);
	}
	found = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	if (found == BPF_FIB_LKUP_RET_NOT_FWDED)
		return LOOPBACK;
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return 0;
	next->nh_family = fib.family;
	if (fib.family == AF_INET)
		next->ipv4_nh = fib.ipv4_dst;
	else
		__builtin_memcpy(next->ipv6_nh, fib.ipv6_dst, 16);
	return fib.ifindex;
}

/* Insert the flow's header before the payload; return 0 if memory ran out, possibly half way. */
static __always_inline int put_header(struct __sk_buff *skb, const struct packet *packet,
				      const struct offload_way *way, struct scratch *scratch)
{
	__u32 at = packet->udp_at + UDP_BYTES, bytes = packet->payload & MAX_MOVED, header = way->header_bytes;

	if (header < 1 || header > OFFLOAD_HEADER_BYTES)
		return 0;
	if (bpf_skb_change_tail(skb, at + header + bytes, 0))
		return 0;
	if (bytes && (bpf_skb_load_bytes(skb, at, scratch->bytes, bytes) ||
		      bpf_skb_store_bytes(skb, at + header, scratch->bytes, bytes, 0)))
		return 0;
	return !bpf_skb_store_bytes(skb, at, way->header, header, 0);
}

/* Remove the header; return 0 likewise. */
static __always_inline int take_header(struct __sk_buff *skb, const struct packet *packet, struct scratch *scratch)
{
	__u32 at = packet->udp_at + UDP_BYTES, bytes = (packet->payload - SIMPLE_BYTES) & MAX_MOVED;

	if (bytes && (bpf_skb_load_bytes(skb, at + SIMPLE_BYTES, scratch->bytes, bytes) ||
		      bpf_skb_store_bytes(skb, at, scratch->bytes, bytes, 0)))
		return 0;
	return !bpf_skb_change_tail(skb, at + bytes, 0);
}

/* Return whether the payload begins with the flow's Simple Proxy header. */
static __always_inline int has_header(struct __sk_buff *skb, const struct packet *packet, const struct offload_way *way)
{
	__u64 found[5] = {}; /* 40 bytes: two more than the header, which are zero in both */
	const __u64 *wanted = (const __u64 *)way->header;

	if (packet->payload < SIMPLE_BYTES)
		return 0;
	if (bpf_skb_load_bytes(skb, packet->udp_at + UDP_BYTES, found, SIMPLE_BYTES))
		return 0;
	return found[0] == wanted[0] && found[1] == wanted[1] && found[2] == wanted[2] && found[3] == wanted[3] &&
	       found[4] == wanted[4];
}

/* Return by how much a checksum of 16-bit words changes when one word changes. */
static __always_inline __u64 change(__u32 old, __u32 new)
{
	return (__u64)(__u32)~old + new;
}

static __always_inline __u32 folded(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

static __always_inline void rewrite_ipv4(struct iphdr *ip, const struct offload_tuple *to, int longer, __u64 addresses)
{
	__u16 lifetime = *(__u16 *)&ip->ttl, length = __builtin_bswap16(__builtin_bswap16(ip->tot_len) + longer);
	__u32 sum = folded(addresses + change(lifetime, lifetime - 1) + change(ip->tot_len, length) + (__u16)~ip->check);

	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~((sum & 0xffff) + (sum >> 16));
	ip->saddr = unmapped(to->from);
	ip->daddr = unmapped(to->to);
	ip->tot_len = length;
	ip->ttl -= 1;
}

/* Write the new headers. `longer` is by how many bytes the payload grew, `header` the checksum of those bytes. Return
 * 0 if the packet has no headers any more, which does not happen.
 */
static __always_inline int rewrite(struct __sk_buff *skb, const struct packet *packet, const struct offload_tuple *to,
				   int longer, __u32 header)
{
	void *at = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 length = UDP_BYTES + packet->payload;
	__u32 check = packet->udp_at + __builtin_offsetof(struct udphdr, check);
	__u64 pseudo, own = header;
	struct udphdr *udp;

	if (packet->family == AF_INET) {
		struct iphdr *ip = at + ETH_HLEN;
		udp = (void *)(ip + 1);
		if ((void *)(udp + 1) > end)
			return 0;
		pseudo = change(ip->saddr, unmapped(to->from)) + change(ip->daddr, unmapped(to->to));
		rewrite_ipv4(ip, to, longer, pseudo);
	} else {
		struct ipv6hdr *ip = at + ETH_HLEN, new;
		udp = (void *)(ip + 1);
		if ((void *)(udp + 1) > end)
			return 0;
		new = *ip;
		__builtin_memcpy(&new.saddr, to->from, 16);
		__builtin_memcpy(&new.daddr, to->to, 16);
		new.hop_limit -= 1;
		new.payload_len = __builtin_bswap16(__builtin_bswap16(ip->payload_len) + longer);
		pseudo = 0;
		for (int i = 0; i < 4; i++)
			pseudo += change(ip->saddr.in6_u.u6_addr32[i], new.saddr.in6_u.u6_addr32[i]) +
				  change(ip->daddr.in6_u.u6_addr32[i], new.daddr.in6_u.u6_addr32[i]);
		/* No other checksum makes up for the change (see inet_proto_csum_replace_by_diff). */
		bpf_skb_store_bytes(skb, ETH_HLEN, &new, sizeof(new), BPF_F_RECOMPUTE_CSUM);
		at = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
		udp = at + ETH_HLEN + sizeof(*ip);
		if ((void *)(udp + 1) > end)
			return 0;
	}
	own += change(udp->source, to->from_port) + change(udp->dest, to->to_port);
	udp->source = to->from_port;
	udp->dest = to->to_port;
	if (longer) {
		own += change(udp->len, __builtin_bswap16(length + longer));
		pseudo += change(__builtin_bswap32(length), __builtin_bswap32(length + longer));
		udp->len = __builtin_bswap16(length + longer);
	}
	/* With checksum offload the field holds the sum of the pseudo header only: hence two steps. */
	bpf_l4_csum_replace(skb, check, 0, folded(pseudo), BPF_F_MARK_MANGLED_0 | BPF_F_PSEUDO_HDR);
	bpf_l4_csum_replace(skb, check, 0, folded(own), BPF_F_MARK_MANGLED_0);
	return 1;
}

static __always_inline void count(struct offload_tally *tally, const struct packet *packet, __u32 bytes, __u64 now)
{
	__u32 datagrams = packet->segment ? (bytes + packet->segment - 1) / packet->segment : 1;

	__sync_fetch_and_add(&tally->datagrams, datagrams);
	__sync_fetch_and_add(&tally->bytes, bytes);
	tally->last_ns = now;
}

SEC("tc")
int offload(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct bpf_redir_neigh next = {};
	struct offload_tally *tally;
	struct scratch *scratch;
	struct offload_way *way;
	struct offload_tuple to;
	__u32 zero = 0, index, place, worker, header = 0, what;
	__u64 now, *lease, link[2] = {};
	int longer = 0;

	if (skb->pkt_type != PACKET_HOST || skb->vlan_present || !read_headers(skb, &packet))
		return NEXT;
	way = bpf_map_lookup_elem(&flows, &packet.tuple);
	if (!way)
		return NEXT;
	place = way->place;
	worker = way->worker;
	now = bpf_ktime_get_ns();
	lease = bpf_map_lookup_elem(&leases, &worker);
	tally = bpf_map_lookup_elem(&tallies, &place);
	scratch = bpf_map_lookup_elem(&moved, &zero);
	if (!lease || *lease < now || !tally || !scratch)
		return NEXT;
	what = way->what;
	if (what == OFFLOAD_LENIENT)
		what = has_header(skb, &packet, way) ? OFFLOAD_STRIPS : OFFLOAD_KEEPS;
	else if (what == OFFLOAD_STRIPS && !has_header(skb, &packet, way))
		return NEXT;
	if (what == OFFLOAD_PUTS)
		longer = way->header_bytes;
	else if (what == OFFLOAD_STRIPS)
		longer = -SIMPLE_BYTES;
	if (longer && (packet.segment || packet.payload > MAX_MOVED))
		return NEXT;
	to = way->becomes;
	index = route(skb, &packet, &to, packet.segment ? packet.segment : packet.payload + longer, &next);
	if (!index)
		return NEXT;
	if (what == OFFLOAD_PUTS) {
		if (!put_header(skb, &packet, way, scratch))
			return TC_ACT_SHOT;
		header = bpf_csum_diff(0, 0, (__be32 *)way->header, OFFLOAD_HEADER_BYTES, 0);
	} else if (what == OFFLOAD_STRIPS) {
		if (!take_header(skb, &packet, scratch))
			return TC_ACT_SHOT;
		header = bpf_csum_diff((__be32 *)way->header, OFFLOAD_HEADER_BYTES, 0, 0, 0);
	}
	if (!rewrite(skb, &packet, &to, longer, header))
		return TC_ACT_SHOT;
	count(tally, &packet, packet.payload + (longer < 0 ? longer : 0), now);
	if (index != LOOPBACK)
		return bpf_redirect_neigh(index, &next, sizeof(next), 0);
	if (skb->ifindex == LOOPBACK)
		return TC_ACT_OK;
	bpf_skb_store_bytes(skb, 0, link, 12, 0); /* the link addresses of lo */
	return bpf_redirect(LOOPBACK, BPF_F_INGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
