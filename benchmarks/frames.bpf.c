/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What `drops.py` measures with: frames sent out of an interface, and the cheapest way to drop them. */

#include <linux/bpf.h>

#define SEC(name) __attribute__((section(name), used))

static long (*bpf_redirect)(__u32 index, __u64 flags) = (void *)BPF_FUNC_redirect;

SEC("xdp") int send(struct xdp_md *context)
{
	return bpf_redirect(context->ingress_ifindex, 0);
}

SEC("xdp") int drop(struct xdp_md *context)
{
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
