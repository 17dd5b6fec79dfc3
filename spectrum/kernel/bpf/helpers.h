/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Shared by all programs: sections and maps as libbpf finds them, and the kernel's helpers by number (linux/bpf.h). */

#ifndef SPECTRUM_HELPERS_H
#define SPECTRUM_HELPERS_H

#include <linux/bpf.h>
#include <linux/types.h>

struct tcphdr;

#define SEC(name) __attribute__((section(name), used))
#define offsetof(type, field) __builtin_offsetof(type, field)
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
/* libbpf reads the definition of a map from the types of its members (libbpf.readthedocs.io, "BTF-defined maps"). */
#define __uint(name, value) int (*name)[value]
#define __type(name, value) typeof(value) *name

/* A field of the context: the compiler might merge branches by a pointer into it, which the verifier refuses. */
#define READ(field) (*(volatile typeof(field) *)&(field))

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) =
	(void *)BPF_FUNC_map_update_elem;
static long (*bpf_tail_call)(void *context, void *programs, __u32 number) = (void *)BPF_FUNC_tail_call;
static __u64 (*bpf_ktime_get_ns)(void) = (void *)BPF_FUNC_ktime_get_ns;
static long (*bpf_sk_assign)(void *packet, void *socket, __u64 flags) = (void *)BPF_FUNC_sk_assign;
static long (*bpf_sk_release)(void *socket) = (void *)BPF_FUNC_sk_release;
static long (*bpf_skb_load_bytes)(const void *packet, __u32 offset, void *to, __u32 bytes) =
	(void *)BPF_FUNC_skb_load_bytes;
static long (*bpf_skb_store_bytes)(void *packet, __u32 offset, const void *from, __u32 bytes, __u64 flags) =
	(void *)BPF_FUNC_skb_store_bytes;
static long (*bpf_skb_change_tail)(void *packet, __u32 bytes, __u64 flags) = (void *)BPF_FUNC_skb_change_tail;
static __s64 (*bpf_csum_diff)(__be32 *from, __u32 from_bytes, __be32 *to, __u32 to_bytes, __wsum seed) =
	(void *)BPF_FUNC_csum_diff;
static long (*bpf_l3_csum_replace)(void *packet, __u32 offset, __u64 from, __u64 to, __u64 size) =
	(void *)BPF_FUNC_l3_csum_replace;
static long (*bpf_l4_csum_replace)(void *packet, __u32 offset, __u64 from, __u64 to, __u64 flags) =
	(void *)BPF_FUNC_l4_csum_replace;
static long (*bpf_fib_lookup)(void *packet, struct bpf_fib_lookup *parameters, int bytes, __u32 flags) =
	(void *)BPF_FUNC_fib_lookup;
static long (*bpf_redirect)(__u32 index, __u64 flags) = (void *)BPF_FUNC_redirect;
static long (*bpf_redirect_neigh)(__u32 index, struct bpf_redir_neigh *next, int bytes, __u64 flags) =
	(void *)BPF_FUNC_redirect_neigh;
static void *(*bpf_ringbuf_reserve)(void *map, __u64 bytes, __u64 flags) = (void *)BPF_FUNC_ringbuf_reserve;
static void (*bpf_ringbuf_submit)(void *record, __u64 flags) = (void *)BPF_FUNC_ringbuf_submit;
static __u32 (*bpf_get_prandom_u32)(void) = (void *)BPF_FUNC_get_prandom_u32;
static struct bpf_sock *(*bpf_skc_lookup_tcp)(void *packet, struct bpf_sock_tuple *tuple, __u32 bytes, __u64 namespace,
					      __u64 flags) = (void *)BPF_FUNC_skc_lookup_tcp;
static long (*bpf_tcp_check_syncookie)(void *socket, void *ip, __u32 ip_bytes, struct tcphdr *tcp, __u32 tcp_bytes) =
	(void *)BPF_FUNC_tcp_check_syncookie;
static __s64 (*bpf_tcp_gen_syncookie)(void *socket, void *ip, __u32 ip_bytes, struct tcphdr *tcp, __u32 tcp_bytes) =
	(void *)BPF_FUNC_tcp_gen_syncookie;
static struct bpf_sock *(*bpf_sk_fullsock)(struct bpf_sock *socket) = (void *)BPF_FUNC_sk_fullsock;
static struct bpf_tcp_sock *(*bpf_tcp_sock)(struct bpf_sock *socket) = (void *)BPF_FUNC_tcp_sock;
static long (*bpf_xdp_adjust_tail)(void *packet, int bytes) = (void *)BPF_FUNC_xdp_adjust_tail;

/* An IPv4 address in the form of map keys: ::ffff:a.b.c.d. */
static __always_inline void map_ipv4(__u8 *address, __u32 ipv4)
{
	__u32 *words = (__u32 *)address;
	words[0] = words[1] = 0;
	words[2] = __builtin_bswap32(0xffff);
	words[3] = ipv4;
}

#endif
