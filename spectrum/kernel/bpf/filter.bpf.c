/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What is dropped before the network stack sees it (XDP): sources on a list, packets that nobody sends in good faith,
 * and sources that send too many.
 *
 * What comes from, or is sent to, a guarded prefix always passes: nobody shuts himself out. In a dry run nothing is
 * dropped and everything is counted. Frames that are neither IPv4 nor IPv6 pass, behind one VLAN tag too; so do
 * fragments and IPv6 extension headers, as far as their addresses let them.
 *
 * Needs Linux 5.10; the driver's own XDP where it has that, the generic one else.
 */

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "helpers.h"

#define MAX_BLOCKED 1000000
#define MAX_GUARDED 4096
#define MAX_SOURCES 262144
#define MAX_LISTS 1024
#define FRAGMENT 0x3fff /* of the offset field: more of it, or not the first */

struct prefix {
	__u32 bits;
	__u8 address[16]; /* IPv4 as ::ffff:a.b.c.d */
};

/* Of a list, and of the reasons below MAX_LISTS. */
struct count {
	__u64 packets;
	__u64 bytes;
};

struct list {
	char name[64];
};

struct settings {
	__u64 packet_ns; /* so long after a packet a source's next one is due; 0: at any time */
	__u64 burst_ns;  /* it may be so much ahead */
	__u32 dry_run;
	__u32 unused;
};

/* The names that are shown are in kernel/filter.py. Below MAX_LISTS are the lists. */
enum { PASSED = MAX_LISTS, GUARDED, MALFORMED, TOO_MANY, COUNTS };

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_BLOCKED);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u32); /* the list that it is on */
} blocked SEC(".maps");

/* Which number a list has; only the loader looks. */
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

/* When a source, an IPv4 address or an IPv6 /64, has paid for what it sent; the least recently used make room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_SOURCES);
	__type(key, __u64);
	__type(value, __u64);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, struct count);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

static __always_inline void count(__u32 place, __u64 bytes)
{
	struct count *value = bpf_map_lookup_elem(&counts, &place);
	if (value) {
		value->packets += 1;
		value->bytes += bytes;
	}
}

static __always_inline void map_ipv4(__u8 *address, __u32 ipv4)
{
	__u32 *words = (__u32 *)address;
	words[0] = words[1] = 0;
	words[2] = __builtin_bswap32(0xffff);
	words[3] = ipv4;
}

/* TCP and UDP as nobody's stack sends them: flags that contradict each other, lengths that do not fit. */
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

/* The generic cell rate algorithm, as limits of sessions have it. Two processors may both let one packet through. */
static __always_inline int is_too_many(const struct settings *set, __u64 source)
{
	__u64 now = bpf_ktime_get_ns(), paid, *known;

	if (!set->packet_ns)
		return 0;
	known = bpf_map_lookup_elem(&sources, &source);
	if (!known || *known < now) {
		paid = now + set->packet_ns;
		bpf_map_update_elem(&sources, &source, &paid, BPF_ANY);
		return 0;
	}
	if (*known > now + set->burst_ns)
		return 1;
	*known += set->packet_ns;
	return 0;
}

SEC("xdp")
int filter(struct xdp_md *packet)
{
	void *at = (void *)(long)packet->data, *end = (void *)(long)packet->data_end;
	__u64 bytes = end - at, source;
	struct prefix from = {.bits = 128}, to = {.bits = 128};
	struct ethhdr *ethernet = at;
	__u32 zero = 0, *list, reason;
	struct settings *set = bpf_map_lookup_elem(&settings, &zero);
	__u16 kind;
	int odd;

	if (!set || (void *)(ethernet + 1) > end)
		return XDP_PASS;
	kind = ethernet->h_proto;
	at = ethernet + 1;
	if (kind == __builtin_bswap16(ETH_P_8021Q)) {
		if (at + 4 > end)
			return XDP_PASS;
		kind = *(__u16 *)(at + 2);
		at += 4;
	}
	if (kind == __builtin_bswap16(ETH_P_IP)) {
		struct iphdr *ip = at;
		if ((void *)(ip + 1) > end)
			return XDP_PASS;
		map_ipv4(from.address, ip->saddr);
		map_ipv4(to.address, ip->daddr);
		source = ip->saddr;
		odd = ip->ihl < 5 || __builtin_bswap16(ip->tot_len) < ip->ihl * 4 || ip->saddr == 0xffffffff;
		if (!odd && !(ip->frag_off & __builtin_bswap16(FRAGMENT)) && ip->ihl == 5)
			odd = is_odd(ip->protocol, ip + 1, end);
	} else if (kind == __builtin_bswap16(ETH_P_IPV6)) {
		struct ipv6hdr *ip = at;
		if ((void *)(ip + 1) > end)
			return XDP_PASS;
		__builtin_memcpy(from.address, &ip->saddr, 16);
		__builtin_memcpy(to.address, &ip->daddr, 16);
		__builtin_memcpy(&source, &ip->saddr, 8);
		odd = ip->saddr.in6_u.u6_addr8[0] == 0xff || is_odd(ip->nexthdr, ip + 1, end);
	} else {
		return XDP_PASS;
	}
	if (bpf_map_lookup_elem(&guarded, &from) || bpf_map_lookup_elem(&guarded, &to)) {
		count(GUARDED, bytes);
		return XDP_PASS;
	}
	list = bpf_map_lookup_elem(&blocked, &from);
	if (list) {
		reason = *list;
	} else if (odd) {
		reason = MALFORMED;
	} else if (is_too_many(set, source)) {
		reason = TOO_MANY;
	} else {
		count(PASSED, bytes);
		return XDP_PASS;
	}
	count(reason, bytes);
	return set->dry_run ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
