/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The tables that the offload program and the UDP engine share: their only definition. */

#ifndef SPECTRUM_OFFLOAD_H
#define SPECTRUM_OFFLOAD_H

#include <linux/types.h>

#define OFFLOAD_HEADER_BYTES 64
#define OFFLOAD_MAX_WORKERS 256

/* Source and destination. Addresses as 16 bytes, IPv4 mapped; ports in network byte order. */
struct offload_tuple {
	__u8 from[16];
	__u8 to[16];
	__u16 from_port;
	__u16 to_port;
};

enum {
	OFFLOAD_KEEPS,   /* forward the payload unchanged */
	OFFLOAD_PUTS,    /* insert the header before it */
	OFFLOAD_STRIPS,  /* it must begin with the header, which is removed */
	OFFLOAD_LENIENT, /* remove the header if there is one */
};

/* What to do with a datagram. */
struct offload_way {
	struct offload_tuple becomes;
	__u32 place;  /* index of its tally */
	__u32 worker; /* whose lease must hold */
	__u8 what;
	__u8 header_bytes; /* even: the checksum is of 16-bit words */
	__u8 header[OFFLOAD_HEADER_BYTES]; /* zero-padded */
	__u8 unused[2];
};

/* What was forwarded in one direction of a flow; bytes of payload, without the header. */
struct offload_tally {
	__u64 datagrams;
	__u64 bytes;
	__u64 last_ns; /* CLOCK_MONOTONIC */
	__u64 unused;
};

#endif
