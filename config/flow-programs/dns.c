/* SPDX-License-Identifier: MIT
 *
 * A flow program for an authoritative DNS server or a resolver: it lets through what is a query, by RFC 1035, RFC 6891
 * and RFC 8482, and drops the rest: answers that nobody asked for (reflection), noise, and queries that are cut off.
 * A query of type ANY, which is used to get large answers sent to forged addresses, has to come twice from one port.
 */

#include <spectrum_flow.h>

#define HEADER 12
#define LONGEST_NAME 255
#define MOST_LABELS 127
#define IN 1
#define ANY_CLASS 255
#define OPT 41
#define ANY 255

/* What is set in the second word of a header. */
#define IS_ANSWER 0x8000
#define OPERATION 0x7800
#define NOTIFY 0x2000

/* Return where the name that begins there ends; 0 if it is none. */
static inline __u32 end_of_name(const struct flow_packet *packet, __u32 at)
{
	__u32 start = at;

	for (__u32 label = 0; label < MOST_LABELS + 1; label++) {
		__u32 bytes = flow_u8(packet, at);

		if (!flow_has(packet, at, 1) || bytes > 63) /* questions have no pointers */
			return 0;
		at += bytes + 1;
		if (at - start > LONGEST_NAME)
			return 0;
		if (bytes == 0)
			return at;
	}
	return 0;
}

FLOW_PROGRAM(packet)
{
	__u32 flags = flow_u16(packet, 2), more = flow_u16(packet, 10), type, kind, at;

	if (packet->length < HEADER + 5 || flags & IS_ANSWER)
		return FLOW_DROP;
	if (flags & OPERATION & ~NOTIFY) /* updates come by TCP, if at all */
		return FLOW_DROP;
	if (flow_u16(packet, 4) != 1) /* one question */
		return FLOW_DROP;
	if (!(flags & OPERATION) && (flow_u16(packet, 6) || flow_u16(packet, 8))) /* and nothing that answers it */
		return FLOW_DROP;
	at = flow_forgotten(packet, end_of_name(packet, HEADER));
	if (!at || !flow_has(packet, at, 4))
		return FLOW_DROP;
	type = flow_u16(packet, at);
	kind = flow_u16(packet, at + 2);
	if (type == 0 || (kind != IN && kind != ANY_CLASS))
		return FLOW_DROP;
	at += 4;
	if (!(flags & OPERATION)) {
		if (more > 2) /* EDNS and a signature */
			return FLOW_DROP;
		if (more == 0 && at != packet->length) /* something is behind it that no header speaks of */
			return FLOW_DROP;
		/* A signature alone has the name of its key there. */
		if (more == 2 && (flow_u8(packet, at) != 0 || flow_u16(packet, at + 1) != OPT))
			return FLOW_DROP;
	}
	return type == ANY ? FLOW_CHALLENGE : FLOW_PASS;
}
