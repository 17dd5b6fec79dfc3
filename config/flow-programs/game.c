/* SPDX-License-Identifier: MIT
 *
 * A flow program for a game whose protocol is RakNet, as Minecraft Bedrock Edition: who connects says so in two steps,
 * both with the same 16 bytes, and only who did both may send datagrams of a session.
 *
 *     0x01  ping of the list of servers        time, magic, client
 *     0x05  open connection request 1          magic, version, zeros up to the size that is tried
 *     0x07  open connection request 2          magic, address, size, client
 *     0x80 to 0x8d, 0xa0, 0xc0                 sets of frames, and which ones came or did not, of a session
 *
 * The first request has to come twice: clients repeat it each half second until there is an answer. Who forges addresses
 * would have to go through all of it for each of them, at the right times. Players whose flow is in use are not judged at all (docs/flow-programs.md).
 */

#include <spectrum_flow.h>

#define MAGIC_FIRST 0x00ffff00fefefefeULL
#define MAGIC_LAST 0xfdfdfdfd12345678ULL
#define SMALLEST_TRIED 400
#define PINGS_IN_SECOND 10

/* What is kept of a source. */
#define STEP 0 /* of u8: how far it has connected */
#define PINGS 1 /* of u8: pings in the second below */
#define SECOND 1 /* of u32 */

static inline int has_magic(const struct flow_packet *packet, __u32 at)
{
	return flow_u64(packet, at) == MAGIC_FIRST && flow_u64(packet, at + 8) == MAGIC_LAST;
}

FLOW_PROGRAM_WITH_STATE(packet, state)
{
	__u32 kind = flow_u8(packet, 0), second = packet->now_ms / 1000;

	switch (kind) {
	case 0x01:
		if (packet->length != 33 || !has_magic(packet, 9))
			return FLOW_DROP;
		if (state->u32[SECOND] != second) {
			state->u32[SECOND] = second;
			state->u8[PINGS] = 0;
		}
		if (state->u8[PINGS] >= PINGS_IN_SECOND)
			return FLOW_DROP;
		state->u8[PINGS]++;
		return FLOW_PASS;
	case 0x05:
		if (packet->length < SMALLEST_TRIED || !has_magic(packet, 1))
			return FLOW_DROP;
		if (state->u8[STEP] < 1)
			state->u8[STEP] = 1;
		return packet->flow == FLOW_OPENING && state->u8[STEP] == 1 ? FLOW_CHALLENGE : FLOW_PASS;
	case 0x07:
		/* It comes after an answer to the first one. */
		if (!has_magic(packet, 1) || state->u8[STEP] < 1)
			return FLOW_DROP;
		state->u8[STEP] = 2;
		return FLOW_PASS;
	case 0x80 ... 0x8d:
	case 0xa0:
	case 0xc0:
		return state->u8[STEP] == 2 || packet->flow == FLOW_ANSWERED ? FLOW_PASS : FLOW_DROP;
	default:
		return FLOW_DROP;
	}
}
