/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Bindings (sk_lookup): choose the socket for a packet by its destination address and port.
 *
 * The semantics are those of Cloudflare's Tubular: the longest prefix wins; of two prefixes of the same length the one
 * with this port wins over the one with any port (0). Without a binding the kernel does its usual lookup. If the
 * service of a binding has no socket, the packet is refused, so that it never reaches another program's socket.
 *
 * Needs Linux 5.10 (Documentation/bpf/prog_sk_lookup.rst).
 */

#include <linux/bpf.h>
#include <linux/in.h>

#include "helpers.h"

#define AF_INET 2
#define MAX_BINDINGS 1000000
#define MAX_SOCKETS 4096
/* The bits before the address in the key of a binding. */
#define FIXED_BITS 32
#define MAPPED_BITS 96

struct key {
	__u32 bits;
	__u8 protocol;
	__u8 unused;
	__u16 port;
	__u8 address[16]; /* IPv4 as ::ffff:a.b.c.d */
};

struct binding {
	__u32 service;
	__u32 bits; /* the prefix length of the key of this entry */
};

struct label {
	char name[63];
	__u8 protocol;
};

struct service {
	__u32 number;
	__u32 bindings;
};

/* Counters per CPU; the loader has their names (kernel/bindings.py). */
enum { LOOKUPS, MISSES, NO_SOCKET, BAD_SOCKET, COUNTS };

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_BINDINGS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct key);
	__type(value, struct binding);
} bindings SEC(".maps");

/* Two per service: IPv4 at 2 * service, IPv6 at 2 * service + 1. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, MAX_SOCKETS);
	__type(key, __u32);
	__type(value, __u64);
} sockets SEC(".maps");

/* The number of each label; used by the loader only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SOCKETS / 2);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct label);
	__type(value, struct service);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

static __always_inline void count(__u32 place)
{
	__u64 *value = bpf_map_lookup_elem(&counts, &place);
	if (value)
		*value += 1;
}

/* A prefix shorter than ::ffff:0:0/96, such as ::/0, matches IPv6 only. */
static __always_inline struct binding *fitting(struct bpf_sk_lookup *packet, struct binding *binding)
{
	if (binding && packet->family == AF_INET && binding->bits < FIXED_BITS + MAPPED_BITS)
		return 0;
	return binding;
}

SEC("sk_lookup")
int steer(struct bpf_sk_lookup *packet)
{
	struct key key = {.bits = FIXED_BITS + 128, .protocol = packet->protocol, .port = packet->local_port};
	__u32 *address = (__u32 *)key.address;
	struct binding *exact, *any, *binding;
	struct bpf_sock *socket;
	__u32 index, ipv4;
	long refused;

	if (packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP)
		return SK_PASS;
	ipv4 = READ(packet->local_ip4);
	address[0] = READ(packet->local_ip6[0]);
	address[1] = READ(packet->local_ip6[1]);
	address[2] = READ(packet->local_ip6[2]);
	address[3] = READ(packet->local_ip6[3]);
	if (packet->family == AF_INET) {
		address[0] = address[1] = 0;
		address[2] = __builtin_bswap32(0xffff);
		address[3] = ipv4;
	}
	count(LOOKUPS);
	exact = fitting(packet, bpf_map_lookup_elem(&bindings, &key));
	key.port = 0;
	any = fitting(packet, bpf_map_lookup_elem(&bindings, &key));
	binding = exact;
	if (!exact || (any && any->bits > exact->bits))
		binding = any;
	if (!binding) {
		count(MISSES);
		return SK_PASS;
	}
	index = 2 * binding->service + (packet->family != AF_INET);
	socket = bpf_map_lookup_elem(&sockets, &index);
	if (!socket) {
		count(NO_SOCKET);
		return SK_DROP;
	}
	refused = bpf_sk_assign(packet, socket, 0);
	bpf_sk_release(socket);
	if (refused) {
		count(BAD_SOCKET);
		return SK_DROP;
	}
	return SK_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
