/* A flood of connections that say nothing, from many addresses: handshakes without sockets, of frames.
 *
 * openings idle|reset INTERFACE LINK ADDRESS PORT FIRST CLIENTS PER_S SECONDS
 *     Says "ready", waits for a line, sends PER_S SYNs a second for SECONDS, answers each SYN-ACK by an ACK, or for `reset`
 *     by an ACK and a RST, and prints how many SYNs and ACKs went. LINK has both addresses of Ethernet, the destination's
 *     first, in hex. The CLIENTS addresses from FIRST on must not be this host's: its kernel would answer with RSTs.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64, FIRST_PORT = 1024, PORTS = 64000, QUEUE_BYTES = 32 << 20 };

struct segment {
	uint8_t link[12];
	uint16_t type;
	struct iphdr ip;
	struct tcphdr tcp;
	uint8_t options[4];	/* of a SYN: MSS */
} __attribute__((packed));

static struct segment out[2 * BATCH];
static struct iovec out_parts[2 * BATCH];
static struct mmsghdr out_messages[2 * BATCH];
static uint8_t in[BATCH][128];
static struct iovec in_parts[BATCH];
static struct mmsghdr in_messages[BATCH];
static struct segment pattern;
static int sock, held;

static double now_s(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static uint32_t sum_of(const void *data, int bytes, uint32_t sum)
{
	const uint8_t *at = data;
	for (int i = 0; i + 1 < bytes; i += 2)
		sum += at[i] << 8 | at[i + 1];
	return sum;
}

static uint16_t folded(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons(~sum & 0xffff);
}

static long flush(void)
{
	long sent = 0;
	for (int at = 0; at < held;) {
		int went = sendmmsg(sock, out_messages + at, held - at, 0);
		if (went > 0)
			sent += went;
		at += went > 0 ? went : 1; /* what there is no room for is lost, as on a wire */
	}
	held = 0;
	return sent;
}

static void put(uint32_t from, uint16_t port, uint32_t sequence, uint32_t answered, uint8_t flags)
{
	struct segment *one = &out[held];
	int bytes = sizeof one->tcp + (flags & TH_SYN ? 4 : 0);

	*one = pattern;
	one->ip.saddr = from;
	one->ip.tot_len = htons(sizeof one->ip + bytes);
	one->ip.check = folded(sum_of(&one->ip, sizeof one->ip, 0));
	one->tcp.source = port;
	one->tcp.seq = htonl(sequence);
	one->tcp.ack_seq = htonl(answered);
	one->tcp.doff = bytes / 4;
	((uint8_t *)&one->tcp)[13] = flags;
	one->tcp.check = folded(sum_of(&one->tcp, bytes, sum_of(&one->ip.saddr, 8, IPPROTO_TCP + bytes)));
	out_parts[held++].iov_len = 14 + sizeof one->ip + bytes;
}

/* Answer the SYN-ACKs that have come; return how many. */
static long shake(int resets)
{
	long answered = 0;
	int came = recvmmsg(sock, in_messages, BATCH, MSG_DONTWAIT, NULL);

	for (int i = 0; i < came; i++) {
		struct segment *one = (struct segment *)in[i];
		if (in_messages[i].msg_len < 54 || one->type != htons(ETHERTYPE_IP) || one->ip.protocol != IPPROTO_TCP ||
		    one->ip.ihl != 5 || one->ip.saddr != pattern.ip.daddr || !one->tcp.syn || !one->tcp.ack)
			continue;
		uint32_t sequence = ntohl(one->tcp.ack_seq), next = ntohl(one->tcp.seq) + 1;
		put(one->ip.daddr, one->tcp.dest, sequence, next, TH_ACK);
		if (resets)
			put(one->ip.daddr, one->tcp.dest, sequence, next, TH_RST | TH_ACK);
		answered++;
	}
	flush();
	return answered;
}

int main(int count, char **words)
{
	struct sockaddr_ll here = {.sll_family = AF_PACKET, .sll_protocol = htons(ETHERTYPE_IP)};
	int on = 1, room = QUEUE_BYTES;
	long sent = 0, asked = 0, shaken = 0;

	if (count != 10) {
		fprintf(stderr, "usage: openings idle|reset INTERFACE LINK ADDRESS PORT FIRST CLIENTS PER_S SECONDS\n");
		return 2;
	}
	int resets = !strcmp(words[1], "reset");
	for (int i = 0; i < 12; i++)
		sscanf(words[3] + 2 * i, "%2hhx", &pattern.link[i]);
	pattern.type = htons(ETHERTYPE_IP);
	pattern.ip = (struct iphdr){.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP, .daddr = inet_addr(words[4])};
	pattern.tcp.dest = htons(atoi(words[5]));
	pattern.tcp.window = htons(64240);
	memcpy(pattern.options, "\2\4\5\xb4", 4);
	uint32_t first = ntohl(inet_addr(words[6]));
	long clients = atol(words[7]);
	double per_s = atof(words[8]), seconds = atof(words[9]);

	sock = socket(AF_PACKET, SOCK_RAW, htons(ETHERTYPE_IP));
	here.sll_ifindex = (int)if_nametoindex(words[2]);
	if (sock < 0 || bind(sock, (struct sockaddr *)&here, sizeof here) < 0) {
		perror("openings");
		return 1;
	}
	setsockopt(sock, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
	setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
	for (int i = 0; i < 2 * BATCH; i++) {
		out_parts[i].iov_base = &out[i];
		out_messages[i].msg_hdr = (struct msghdr){.msg_iov = &out_parts[i], .msg_iovlen = 1};
	}
	for (int i = 0; i < BATCH; i++) {
		in_parts[i] = (struct iovec){in[i], sizeof in[i]};
		in_messages[i].msg_hdr = (struct msghdr){.msg_iov = &in_parts[i], .msg_iovlen = 1};
	}
	printf("ready\n");
	fflush(stdout);
	(void)!getchar();

	double began = now_s(), now;
	while ((now = now_s()) < began + seconds) {
		long due = (now - began) * per_s;
		if (due - asked > 4 * BATCH)
			asked = due - 4 * BATCH; /* what this core cannot do is left out */
		for (int i = 0; i < BATCH && asked < due; i++, asked++)
			put(htonl(first + asked % clients), htons(FIRST_PORT + asked / clients % PORTS), asked * 2654435761u, 0, TH_SYN);
		sent += flush();
		shaken += shake(resets);
	}
	printf("%ld %ld\n", shaken, sent);
	return 0;
}
