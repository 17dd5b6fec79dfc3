/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Drop packets before the network stack (XDP): sources on a list, malformed packets, packets that match a rule, SYNs
 * beyond the rate of their destination (or answer them with a SYN cookie), and packets beyond the rate of their
 * source. One in `sample_one_in` packets is copied to the ring buffer of samples.
 *
 * Packets from or to a guarded prefix always pass, so that operators do not lock themselves out. A dry run counts and
 * drops nothing. Frames that are neither IPv4 nor IPv6 pass, with or without one VLAN tag. Of fragments and packets
 * with IPv6 extension headers only addresses and rules are checked.
 *
 * Needs Linux 5.10. Attached to the driver if it supports XDP, else in generic mode.
 */

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "helpers.h"

#define ENOENT 2
#define MAX_BLOCKED 1000000
#define MAX_GUARDED 4096
#define MAX_SOURCES 262144
#define MAX_DESTINATIONS 65536
#define MAX_LISTS 1024
#define MAX_RULES 64
#define SAMPLE_BYTES 128
#define SAMPLES_BYTES (1 << 20)
#define FRAGMENT 0x3fff /* in the offset field: more fragments, or an offset */
#define DONT_FRAGMENT 0x4000

struct prefix {
	__u32 bits;
	__u8 address[16]; /* IPv4 as ::ffff:a.b.c.d */
};

/* The counters of a list, reason or rule. */
struct count {
	__u64 packets;
	__u64 bytes;
};

struct list {
	char name[64];
};

struct settings {
	__u64 packet_ns; /* between two packets of a source; 0: no limit */
	__u64 burst_ns;  /* how far a source may be ahead of its rate */
	__u64 syn_ns;    /* the same for SYNs to a destination */
	__u64 syn_burst_ns;
	__u32 dry_run;
	__u32 cookies; /* answer SYNs beyond the rate instead of dropping them */
	__u32 sample_one_in; /* 0: none */
	__u32 first_rule; /* new rules are written beside those in use */
	__u32 rules;
	__u32 unused;
};

/* What a rule matches. Ranges are inclusive, in host byte order. */
struct rule {
	__u8 from[16]; /* IPv4 as ::ffff:a.b.c.d */
	__u8 from_mask[16];
	__u8 to[16];
	__u8 to_mask[16];
	__u16 from_port[2];
	__u16 to_port[2];
	__u16 length[2]; /* of the IP packet */
	__u16 protocol[2];
	__u16 lifetime[2]; /* TTL, hop limit */
	__u8 tcp_flags;
	__u8 tcp_mask;
	__u8 is_fragment;
	__u8 fragment_mask;
	__u8 has_ports; /* it names ports or flags, so packets without do not match */
	__u8 version; /* IP version: IPv6 prefixes may contain the mapped IPv4 addresses */
	__u8 version_mask;
	__u8 unused;
	__u32 number;
	__u64 packet_ns; /* between two packets that pass; 0: none passes */
};

struct sample {
	__u64 at_ns;
	__u32 bytes;  /* of the whole frame */
	__u32 reason; /* the index of its counter */
	__u8 header[SAMPLE_BYTES]; /* the start of the frame, zero-padded */
};

/* kernel/filter.py has their names. Below MAX_LISTS are the lists, from RULES on the rules. */
enum { PASSED = MAX_LISTS, GUARDED, MALFORMED, TOO_MANY, TOO_MANY_SYNS, SYN_COOKIES, LOST_SAMPLES, RULES,
       COUNTS = RULES + MAX_RULES };

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

/* By source (IPv4 address or IPv6 /64), the time of its rate limiter (GCRA); the least recently used are evicted. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_SOURCES);
	__type(key, __u64);
	__type(value, __u64);
} sources SEC(".maps");

/* The same by destination address and port, for SYNs. */
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

/* Twice the limit: one half is in use, the other is written. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * MAX_RULES);
	__type(key, __u32);
	__type(value, struct rule);
} rules SEC(".maps");

/* By the number of a rule, the time of its rate limiter. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_RULES);
	__type(key, __u32);
	__type(value, __u64);
} paid SEC(".maps");

/* The number of each rule; used by the loader only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_RULES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct list);
	__type(value, __u32);
} rule_names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SAMPLES_BYTES);
} samples SEC(".maps");

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

/* The generic cell rate algorithm, as for session limits. Two CPUs may each let a packet pass at the same time. */
static __always_inline int is_ahead(__u64 *paid, __u64 now, __u64 packet_ns, __u64 burst_ns)
{
	if (*paid < now) {
		*paid = now + packet_ns;
		return 0;
	}
	if (*paid > now + burst_ns)
		return 1;
	*paid += packet_ns;
	return 0;
}

/* The same with the time in a map; the entry is added if it is missing. */
static __always_inline int is_over(void *map, const void *key, __u64 packet_ns, __u64 burst_ns)
{
	__u64 now = bpf_ktime_get_ns(), paid = now + packet_ns, *known = bpf_map_lookup_elem(map, key);

	if (known)
		return is_ahead(known, now, packet_ns, burst_ns);
	bpf_map_update_elem(map, key, &paid, BPF_ANY);
	return 0;
}

static __always_inline int is_too_many(const struct settings *set, __u64 source)
{
	return set->packet_ns && is_over(&sources, &source, set->packet_ns, set->burst_ns);
}

/* The parsed packet. */
struct facts {
	__u64 source;
	struct prefix from;
	struct prefix to;
	__u32 transport_at; /* offset from the start of the frame */
	__u16 from_port; /* 0, like those below, if the packet has none */
	__u16 to_port;
	__u16 length;
	__u8 version;
	__u8 protocol;
	__u8 lifetime;
	__u8 tcp_flags;
	__u8 is_fragment;
	__u8 has_ports;
	__u8 is_odd;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct facts);
} at_hand SEC(".maps");

/* 1 if outside the range. Mismatches are added up without branches: the verifier follows each branch of each rule. */
static __always_inline __u64 is_outside(__u64 value, const __u16 *range)
{
	return (((range[1] - range[0]) & 0xffffULL) - ((value - range[0]) & 0xffffULL)) >> 63;
}

static __always_inline __u64 differs(const __u8 *address, const __u8 *wanted, const __u8 *mask)
{
	const __u32 *have = (const __u32 *)address, *want = (const __u32 *)wanted, *bits = (const __u32 *)mask;

	return ((have[0] & bits[0]) ^ want[0]) | ((have[1] & bits[1]) ^ want[1]) | ((have[2] & bits[2]) ^ want[2]) |
	       ((have[3] & bits[3]) ^ want[3]);
}

static __always_inline int is_of(const struct rule *rule, const struct facts *packet)
{
	return !(is_outside(packet->protocol, rule->protocol) | is_outside(packet->length, rule->length) |
		 is_outside(packet->lifetime, rule->lifetime) | is_outside(packet->from_port, rule->from_port) |
		 is_outside(packet->to_port, rule->to_port) | (rule->has_ports & (packet->has_ports ^ 1)) |
		 ((packet->tcp_flags & rule->tcp_mask) ^ rule->tcp_flags) |
		 ((packet->version ^ rule->version) & rule->version_mask) |
		 ((packet->is_fragment & rule->fragment_mask) ^ rule->is_fragment) |
		 differs(packet->from.address, rule->from, rule->from_mask) |
		 differs(packet->to.address, rule->to, rule->to_mask));
}

/* Return the reason of the first rule, from `first` on, that drops the packet; 0 if none does. A global function, so
 * that the verifier checks it once and not once per path to it.
 */
__attribute__((noinline)) __u32 ruled(__u32 first, __u32 count)
{
	__u32 zero = 0, place, number;
	struct facts *packet = bpf_map_lookup_elem(&at_hand, &zero);
	struct rule *rule;
	__u64 *next;

	for (__u32 i = 0; i < MAX_RULES; i++) {
		place = first + i;
		rule = bpf_map_lookup_elem(&rules, &place);
		if (i >= count || !packet || !rule)
			return 0;
		if (!is_of(rule, packet))
			continue;
		number = rule->number;
		next = bpf_map_lookup_elem(&paid, &number);
		if (!rule->packet_ns || !next || is_ahead(next, bpf_ktime_get_ns(), rule->packet_ns, 0))
			return RULES + (number & (MAX_RULES - 1));
	}
	return 0;
}

static __always_inline int is_syn(const struct facts *packet)
{
	return packet->protocol == IPPROTO_TCP && packet->has_ports && (packet->tcp_flags & 0x12) == 0x02;
}

static __always_inline int is_too_many_syns(const struct settings *set, const struct facts *packet)
{
	struct destination to = {.port = packet->to_port};

	__builtin_memcpy(to.address, packet->to.address, 16);
	return set->syn_ns && is_syn(packet) && is_over(&destinations, &to, set->syn_ns, set->syn_burst_ns);
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
		packet->is_fragment = !!(ip->frag_off & __builtin_bswap16(FRAGMENT));
		packet->is_odd = ip->ihl < 5 || packet->length < ip->ihl * 4 || ip->saddr == 0xffffffff;
		if (packet->is_odd || packet->is_fragment || ip->ihl != 5)
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
		packet->is_fragment = ip->nexthdr == IPPROTO_FRAGMENT;
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
	struct bpf_sock_tuple tuple = {};
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
	if (packet->version == 4) {
		struct iphdr *ip = at + ETH_HLEN;
		tuple.ipv4.saddr = ip->saddr;
		tuple.ipv4.daddr = ip->daddr;
		tuple.ipv4.sport = tcp->source;
		tuple.ipv4.dport = tcp->dest;
		socket = bpf_skc_lookup_tcp(context, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
		if (!socket)
			return XDP_DROP;
		cookie = bpf_tcp_gen_syncookie(socket, ip, sizeof(*ip), (struct tcphdr *)copy, tcp_bytes);
	} else {
		struct ipv6hdr *ip = at + ETH_HLEN;
		__builtin_memcpy(tuple.ipv6.saddr, &ip->saddr, 16);
		__builtin_memcpy(tuple.ipv6.daddr, &ip->daddr, 16);
		tuple.ipv6.sport = tcp->source;
		tuple.ipv6.dport = tcp->dest;
		socket = bpf_skc_lookup_tcp(context, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
		if (!socket)
			return XDP_DROP;
		cookie = bpf_tcp_gen_syncookie(socket, ip, sizeof(*ip), (struct tcphdr *)copy, tcp_bytes);
	}
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
	__u32 zero = 0, *list, reason, verdict = XDP_DROP;
	struct settings *set = bpf_map_lookup_elem(&settings, &zero);
	struct facts *packet = bpf_map_lookup_elem(&at_hand, &zero);
	__u64 bytes = context->data_end - context->data;

	if (!set || !packet)
		return XDP_PASS;
	__builtin_memset(packet, 0, sizeof(*packet));
	packet->from.bits = packet->to.bits = 128;
	if (!read_headers(context, packet))
		return XDP_PASS;
	list = bpf_map_lookup_elem(&blocked, &packet->from);
	if (bpf_map_lookup_elem(&guarded, &packet->from) || bpf_map_lookup_elem(&guarded, &packet->to)) {
		reason = GUARDED;
	} else if (list) {
		reason = *list;
	} else if (packet->is_odd) {
		reason = MALFORMED;
	} else {
		reason = set->rules ? ruled(set->first_rule, set->rules) : 0;
		if (!reason && is_too_many_syns(set, packet))
			reason = TOO_MANY_SYNS;
		if (!reason)
			reason = is_too_many(set, packet->source) ? TOO_MANY : PASSED;
	}
	if (set->sample_one_in && bpf_get_prandom_u32() % set->sample_one_in == 0)
		show(context, reason);
	if (reason == PASSED || reason == GUARDED || set->dry_run)
		verdict = XDP_PASS;
	else if (reason == TOO_MANY_SYNS && set->cookies)
		verdict = answer_syn(context, packet);
	if (verdict == XDP_TX)
		reason = SYN_COOKIES;
	else if (verdict == XDP_PASS && !set->dry_run && reason == TOO_MANY_SYNS)
		reason = PASSED;
	count(reason, bytes);
	return verdict;
}

char _license[] SEC("license") = "Dual BSD/GPL";
