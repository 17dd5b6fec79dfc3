/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The datagram that a flow program judges: filled by the filter, and with its payload by the program's wrapper. */

#ifndef SPECTRUM_JUDGING_H
#define SPECTRUM_JUDGING_H

#include "helpers.h"
#include "include/spectrum_flow.h"

struct judged {
	__u64 source; /* IPv4 address, or IPv6 /64 */
	__u32 transport_at; /* offset of the UDP header from the start of the frame */
	__u32 verdict; /* the program's; only trials read it */
	struct flow_packet packet;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct judged);
} judging SEC(".maps");

#endif
