/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What the offload program and the UDP engine both read and write: the one place where its layout is said. */

#ifndef SPECTRUM_OFFLOAD_H
#define SPECTRUM_OFFLOAD_H

#include <linux/types.h>

#define OFFLOAD_HEADER_BYTES 64
#define OFFLOAD_MAX_WORKERS 256

/* Who sends to whom. Addresses as 16 bytes, IPv4 mapped; ports in network order. */
struct offload_tuple {
	__u8 from[16];
	__u8 to[16];
	__u16 from_port;
	__u16 to_port;
};

enum {
	OFFLOAD_KEEPS,   /* the payload is passed on as it is */
	OFFLOAD_PUTS,    /* the header is put before it */
	OFFLOAD_STRIPS,  /* it must begin with the header, which is taken off */
	OFFLOAD_LENIENT, /* the header is taken off where there is one */
};

/* What becomes of a datagram. */
struct offload_way {
	struct offload_tuple becomes;
	__u32 place;  /* of its tally */
	__u32 worker; /* whose lease it lives by */
	__u8 what;
	__u8 header_bytes; /* even: the checksum is of 16-bit words */
	__u8 header[OFFLOAD_HEADER_BYTES]; /* zeros behind it */
	__u8 unused[2];
};

/* What one direction of a flow has moved; the payload's bytes, without the header. */
struct offload_tally {
	__u64 datagrams;
	__u64 bytes;
	__u64 last_ns; /* CLOCK_MONOTONIC */
	__u64 unused;
};

#endif
