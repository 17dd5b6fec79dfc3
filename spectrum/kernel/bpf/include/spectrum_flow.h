/* SPDX-License-Identifier: MIT */
/* For flow programs: the properties of a datagram for an operator's program, and its possible verdicts.
 *
 *     #include <spectrum_flow.h>
 *
 *     FLOW_PROGRAM(packet)
 *     {
 *         return flow_u32(packet, 0) == 0x47414d45 ? FLOW_PASS : FLOW_DROP;
 *     }
 *
 * docs/flow-programs.md has the rest. What is here stays as it is: fields are only added, in place of those that are
 * reserved.
 */

#ifndef SPECTRUM_FLOW_H
#define SPECTRUM_FLOW_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;

/* What a program returns. All other numbers are as FLOW_PASS. */
#define FLOW_PASS 0
#define FLOW_DROP 1
/* Drop it, unless one of the same addresses and ports came in one of the three seconds before this one: clients that
 * repeat what is not answered get through at the second try, and senders of forged addresses do not.
 */
#define FLOW_CHALLENGE 2

/* So many bytes of a payload can be read. A power of two. */
#define FLOW_PAYLOAD_BYTES 512

/* Of `flow`. */
#define FLOW_OPENING 0
#define FLOW_ANSWERED 1 /* we have sent something back */
#define FLOW_IN_USE 2	/* and its sender went on: judged with `in_use: true` only */

struct flow_packet {
	__u64 now_ms; /* milliseconds since the machine was started */
	__u8 from[16]; /* IPv4 as ::ffff:a.b.c.d */
	__u8 to[16];
	__u16 from_port;
	__u16 to_port;
	__u16 length; /* of the payload */
	__u16 bytes; /* so many of them are here: 512 at most */
	__u8 version; /* 4 or 6 */
	__u8 lifetime; /* TTL, hop limit */
	__u8 flow; /* FLOW_OPENING, FLOW_ANSWERED, FLOW_IN_USE */
	__u8 known; /* whether its source had a flow in use in the last 24 hours */
	__u32 zero;
	__u8 reserved[8];
	/* Read it by the functions below: behind `bytes` is what was there before. */
	__u8 payload[FLOW_PAYLOAD_BYTES];
};

/* What a program keeps of a source, an IPv4 address or IPv6 /64: zero at first. Of 65,536 sources at most; those that
 * were seen least recently are forgotten. Two CPUs may change it at the same time: one of the changes is lost then.
 */
union flow_state {
	__u64 u64[2];
	__u32 u32[4];
	__u16 u16[8];
	__u8 u8[16];
};

#define FLOW_PROGRAM(packet) \
	__attribute__((section("flow/plain"), used)) __u32 flow_judge(const struct flow_packet *packet)

#define FLOW_PROGRAM_WITH_STATE(packet, state) \
	__attribute__((section("flow/state"), used)) __u32 flow_judge(const struct flow_packet *packet, union flow_state *state)

/* Whether so many bytes are there from a place on. */
static inline __attribute__((always_inline)) int flow_has(const struct flow_packet *packet, __u32 at, __u32 bytes)
{
	return at < FLOW_PAYLOAD_BYTES && at + bytes <= packet->bytes;
}

/* The byte at a place of the payload; 0 where there is none. The mask is what the kernel's verifier goes by. */
static inline __attribute__((always_inline)) __u8 flow_u8(const struct flow_packet *packet, __u32 at)
{
	if (!flow_has(packet, at, 1))
		return 0;
	asm volatile("%0 &= 511" : "+r"(at));
	return packet->payload[at];
}

/* Numbers of several bytes in network byte order, the first byte highest; 0 where not all of them are there. */
static inline __attribute__((always_inline)) __u16 flow_u16(const struct flow_packet *packet, __u32 at)
{
	return flow_has(packet, at, 2) ? flow_u8(packet, at) << 8 | flow_u8(packet, at + 1) : 0;
}

static inline __attribute__((always_inline)) __u32 flow_u32(const struct flow_packet *packet, __u32 at)
{
	return flow_has(packet, at, 4) ? (__u32)flow_u16(packet, at) << 16 | flow_u16(packet, at + 2) : 0;
}

static inline __attribute__((always_inline)) __u64 flow_u64(const struct flow_packet *packet, __u32 at)
{
	return flow_has(packet, at, 8) ? (__u64)flow_u32(packet, at) << 32 | flow_u32(packet, at + 4) : 0;
}

/* A number as it is, of which the verifier forgets what it knew: what follows a loop is followed once then, and not once
 * for each way out of the loop. For programs that it finds too long.
 */
static inline __attribute__((always_inline)) __u32 flow_forgotten(const struct flow_packet *packet, __u32 number)
{
	return number ^ *(const volatile __u32 *)&packet->zero;
}

#endif
