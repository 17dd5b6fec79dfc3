/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The match of a single rule on the facts of a packet: the same code in the kernel's program and in the engine of the
 * workers (spectrum/engine/lookout.pyx), so that rules mean the same in both. It calls no helpers, and has no maps.
 */

#ifndef SPECTRUM_MATCHING_H
#define SPECTRUM_MATCHING_H

#include <linux/types.h>

#ifndef offsetof
#define offsetof(type, field) __builtin_offsetof(type, field)
#endif
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))

/* The bytes of the facts that rules may look up. */
#define FACTS_MATCHED 128
#define NS_PER_S 1000000000ULL
#define MET_BITS 12
#define MET_FILTERS 4

struct prefix {
	__u32 bits;
	__u8 address[16]; /* IPv4 as ::ffff:a.b.c.d */
};

enum { WHOLE, FIRST_FRAGMENT, LATER_FRAGMENT };

/* Numbers are in host byte order, and 0 if the packet has none. Rules are matched by offsets of these fields, which the
 * loader has too (kernel/filter/vectors.py). Offsets do not change: tables of a version before hold on over an upgrade.
 */
struct facts {
	struct prefix from;
	struct prefix to;
	__u64 payload; /* its first bytes as one number, the first of them highest, padded with zeros */
	__u32 options; /* of TCP: a hash of their kinds in order, and of the MSS */
	__u32 app; /* the number of the app that is served there, plus 1 */
	__u16 from_port;
	__u16 to_port;
	__u16 length; /* of the IP packet */
	__u16 window;
	__u16 ident;
	__u8 version;
	__u8 protocol;
	__u8 lifetime; /* TTL, hop limit */
	__u8 tcp_flags;
	__u8 fragment;
	__u8 payload_bytes; /* of `payload` */
	__u8 has_ports;
	__u8 tracked; /* whether the next three are known: only while attacks are looked for */
	__u8 flow; /* 0: none, or opening; 1: handshake complete, or we have sent; 2: in use */
	__u8 known; /* its source had a flow in use recently */
	__u8 served; /* an app listens on its destination */
	__u8 kind; /* of those of few values, by slots.h */
	__u8 is_odd;
	__u64 source; /* IPv4 address, or IPv6 /64 */
	__u32 transport_at; /* offset from the start of the frame */
	__u32 bytes; /* of the frame */
	__u32 sequence; /* of TCP */
	__u32 acknowledgement;
	__u8 unused[FACTS_MATCHED - 104];
};

_Static_assert(offsetof(struct facts, payload) == 40 && offsetof(struct facts, from_port) == 56 &&
		       offsetof(struct facts, protocol) == 67 && offsetof(struct facts, kind) == 77 &&
		       offsetof(struct facts, sequence) == 96,
	       "as in kernel/filter/vectors.py");
_Static_assert(sizeof(struct facts) >= FACTS_MATCHED, "a place is within them");

enum { BLOCK, LOG, LIMIT, SOURCE_LIMIT, COOKIE, RETRY };
/* Fields whose values may be those of a set, by place in `struct keys`. */
enum { SOURCE_PREFIX, SOURCE, PAYLOAD_START, OPTIONS, LIFETIME, KEYS = 8 };

/* The conditions of a rule. Ranges are inclusive; numbers are in host byte order. The same in kernel/filter/rules.py.
*/
struct slot {
	__u32 from[4]; /* IPv4 as ::ffff:a.b.c.d */
	__u32 from_mask[4];
	__u32 to[4];
	__u32 to_mask[4];
	__u64 payload;
	__u64 payload_mask;
	__u64 set[2]; /* 0: none */
	__u64 expires_ns; /* of the monotonic clock; 0: never */
	__u64 packet_ns; /* between two packets that pass, of those that are limited */
	__u32 kinds[8]; /* a bit for each of `kind_of` */
	__u32 options;
	__u32 options_mask;
	__u16 from_port[2];
	__u16 to_port[2];
	__u16 length[2];
	__u16 window[2];
	__u16 ident[2];
	__u16 protocol[2];
	__u16 lifetime[2];
	__u8 tcp_flags;
	__u8 tcp_mask;
	__u8 set_field[2];
	__u8 set_negated[2];
	__u8 action;
	__u8 unused;
	__u32 number; /* the index of its counter */
	/* After the fields of previous versions: their slots are copied with zeros here. */
	__u32 sequence;
	__u32 sequence_mask;
	__u32 acknowledgement;
	__u32 acknowledgement_mask;
};

_Static_assert(sizeof(struct slot) == 208, "as in kernel/filter/rules.py");

/* The values of the packet that sets match. */
struct keys {
	__u64 of[KEYS];
};

/* 1 if outside the range. Mismatches are added up without branches: the verifier follows each of them. */
static __always_inline __u64 is_outside(__u64 value, const __u16 *range)
{
	return (((range[1] - range[0]) & 0xffffULL) - ((value - range[0]) & 0xffffULL)) >> 63;
}

static __always_inline __u32 differs(const __u8 *address, const __u32 *wanted, const __u32 *mask)
{
	const __u32 *have = (const __u32 *)address;

	return ((have[0] & mask[0]) ^ wanted[0]) | ((have[1] & mask[1]) ^ wanted[1]) |
	       ((have[2] & mask[2]) ^ wanted[2]) | ((have[3] & mask[3]) ^ wanted[3]);
}

/* Few-valued facts in one number: IP version, fragment, flow (3 if it is not tracked), known, served, ports. */
static __always_inline __u8 kind_of(const struct facts *packet)
{
	return (packet->version == 6) | (packet->fragment & 3) << 1 | (packet->tracked ? packet->flow & 3 : 3) << 3 |
	       (packet->known & 1) << 5 | (packet->served & 1) << 6 | (packet->has_ports & 1) << 7;
}

static __always_inline int is_of(const struct slot *slot, const struct facts *packet)
{
	return !(is_outside(packet->protocol, slot->protocol) | is_outside(packet->length, slot->length) |
		 is_outside(packet->lifetime, slot->lifetime) | is_outside(packet->from_port, slot->from_port) |
		 is_outside(packet->to_port, slot->to_port) | is_outside(packet->window, slot->window) |
		 is_outside(packet->ident, slot->ident) | ((packet->tcp_flags & slot->tcp_mask) ^ slot->tcp_flags) |
		 ((packet->options & slot->options_mask) ^ slot->options) |
		 ((packet->sequence & slot->sequence_mask) ^ slot->sequence) |
		 ((packet->acknowledgement & slot->acknowledgement_mask) ^ slot->acknowledgement) |
		 ((packet->payload & slot->payload_mask) ^ slot->payload) |
		 (~(slot->kinds[packet->kind >> 5] >> (packet->kind & 31)) & 1) |
		 differs(packet->from.address, slot->from, slot->from_mask) |
		 differs(packet->to.address, slot->to, slot->to_mask));
}

/* The same derivation of columns as core/ddos/packets.py. */
static __always_inline void note_keys(struct keys *keys, const struct facts *packet)
{
	const __u32 *words = (const __u32 *)packet->from.address;
	__u64 six = (__u64)__builtin_bswap32(words[0]) << 32 | __builtin_bswap32(words[1]);
	__u64 four = 0xffffULL << 32 | __builtin_bswap32(words[3]);

	keys->of[SOURCE_PREFIX] = packet->version == 4 ? four >> 8 : six >> 16 | 1ULL << 63;
	keys->of[SOURCE] = packet->version == 4 ? four : six | 1ULL << 63;
	keys->of[PAYLOAD_START] = packet->payload >> 48;
	keys->of[OPTIONS] = packet->options;
	keys->of[LIFETIME] = packet->lifetime;
}

static __always_inline __u64 mixed(__u64 hash, __u64 more)
{
	hash = (hash ^ more) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 32;
}

/* Set one of the two bits of a packet in this second; return by filter whether it was set before. A word has 12 bits of
 * each of four filters, and the second in which it was last written: see slots.h.
 */
static __always_inline __u32 met_in(__u64 *word, __u32 hash, __u64 second)
{
	__u32 bit = (hash >> 20) % MET_BITS, lane = second & (MET_FILTERS - 1);
	__u64 bits = *word, age = (second - (bits >> 48)) & 0xffff, found = 0;

	for (__u32 back = 0; back < MET_FILTERS; back++)
		if (back < age) /* what it has is four seconds old, or older */
			bits &= ~(0xfffULL << MET_BITS * ((lane - back) & (MET_FILTERS - 1)));
	for (__u32 back = 1; back < MET_FILTERS; back++)
		found |= (bits >> (MET_BITS * ((lane - back) & (MET_FILTERS - 1)) + bit) & 1) << back;
	*word = (bits & 0xffffffffffffULL) | 1ULL << (MET_BITS * lane + bit) | (second & 0xffff) << 48;
	return found;
}

/* A hash of the addresses, the protocol and the ports. */
static __always_inline __u64 hash_of(const struct facts *packet)
{
	const __u32 *from = (const __u32 *)packet->from.address, *to = (const __u32 *)packet->to.address;
	__u64 hash = mixed(0, packet->protocol | (__u64)packet->from_port << 16 | (__u64)packet->to_port << 32);

	for (__u32 i = 0; i < 4; i++)
		hash = mixed(hash, (__u64)from[i] << 32 | to[i]);
	return mixed(hash, 1);
}

static __always_inline int is_syn(const struct facts *packet)
{
	return packet->protocol == 6 && packet->has_ports && (packet->tcp_flags & 0x12) == 0x02;
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

#endif
