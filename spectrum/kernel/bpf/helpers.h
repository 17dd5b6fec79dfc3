/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What programs share: how libbpf finds sections and maps, and the kernel's helpers by their numbers (linux/bpf.h). */

#ifndef SPECTRUM_HELPERS_H
#define SPECTRUM_HELPERS_H

#include <linux/bpf.h>
#include <linux/types.h>

#define SEC(name) __attribute__((section(name), used))
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
/* How libbpf reads the shape of a map from the types of its members (libbpf.readthedocs.io, "BTF-defined maps"). */
#define __uint(name, value) int (*name)[value]
#define __type(name, value) typeof(value) *name

/* Of the context: the compiler would join two branches by a pointer into it, which the verifier does not allow. */
#define READ(field) (*(volatile typeof(field) *)&(field))

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) =
	(void *)BPF_FUNC_map_update_elem;
static __u64 (*bpf_ktime_get_ns)(void) = (void *)BPF_FUNC_ktime_get_ns;
static long (*bpf_sk_assign)(void *packet, void *socket, __u64 flags) = (void *)BPF_FUNC_sk_assign;
static long (*bpf_sk_release)(void *socket) = (void *)BPF_FUNC_sk_release;

#endif
