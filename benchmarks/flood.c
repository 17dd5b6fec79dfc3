/* Send one frame again and again: `flood INTERFACE HEX SECONDS`; prints how many went. */
#define _GNU_SOURCE
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

enum { BATCH = 64 };

static double now(void)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec + at.tv_nsec / 1e9;
}

int main(int count, char **words)
{
	static unsigned char frame[2048];
	struct mmsghdr messages[BATCH] = {0};
	struct iovec part = {frame, 0};
	struct sockaddr_ll to = {.sll_family = AF_PACKET};
	int sock = socket(AF_PACKET, SOCK_RAW, 0), ignored = 1, sent;
	long total = 0;
	double end;

	if (count != 4 || sock < 0)
		return 2;
	for (const char *hex = words[2]; sscanf(hex, "%2hhx", &frame[part.iov_len]) == 1; hex += 2)
		part.iov_len++;
	to.sll_ifindex = (int)if_nametoindex(words[1]);
	setsockopt(sock, SOL_PACKET, PACKET_QDISC_BYPASS, &ignored, sizeof(ignored));
	for (int i = 0; i < BATCH; i++)
		messages[i].msg_hdr = (struct msghdr){.msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &part, .msg_iovlen = 1};
	for (end = now() + atof(words[3]); now() < end; total += sent > 0 ? sent : 0)
		sent = sendmmsg(sock, messages, BATCH, 0);
	printf("%ld\n", total);
	return 0;
}
