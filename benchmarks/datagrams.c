/* The UDP load and its origin, in C so that the measurement is of the proxy.
 *
 * datagrams echo ADDRESS PORT
 *     Returns every datagram as it came, which is also what Simple Proxy Protocol asks of an origin.
 * datagrams load ADDRESS PORT FLOWS OUTSTANDING SIZE SECONDS
 *     Keeps OUTSTANDING datagrams of SIZE bytes under way on each of FLOWS sockets, and prints JSON: round trips, lost,
 *     wrong, seconds, p50_us, p99_us. A datagram without an answer for 200 ms is lost and replaced.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

enum { BATCH = 64, ROOM = 2048, MAX_OUTSTANDING = 64, BUCKETS = 100000, LOST_NS = 200000000 };

struct stamp {
	uint32_t run, flow, number, unused;
	uint64_t sent_ns;
};

struct flow {
	int fd;
	uint32_t next_number;
	uint32_t waiting;
	uint64_t heard_ns;
};

static char buffers[BATCH][ROOM];
static struct iovec parts[BATCH];
static struct mmsghdr messages[BATCH];
static struct sockaddr_in names[BATCH];
static uint32_t this_run; /* answers to an earlier one may still come, to a port that is ours now */
static uint32_t latency[BUCKETS]; /* per microsecond */

static struct sockaddr_in address_of(const char *host, const char *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
	if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
		fail("address");
	return address;
}

static int open_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), size = 4 << 20;
	if (fd < 0)
		fail("socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	return fd;
}

static void echo(struct sockaddr_in address)
{
	int fd = open_socket();
	struct epoll_event event = {.events = EPOLLIN};
	int epoll = epoll_create1(0);
	if (bind(fd, (struct sockaddr *)&address, sizeof address) || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
		fail("bind");
	for (;;) {
		for (int i = 0; i < BATCH; i++) {
			parts[i].iov_len = ROOM;
			messages[i].msg_hdr.msg_name = &names[i];
			messages[i].msg_hdr.msg_namelen = sizeof names[i];
		}
		int count = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
		if (count <= 0) {
			epoll_wait(epoll, &event, 1, -1);
			continue;
		}
		for (int i = 0; i < count; i++)
			parts[i].iov_len = messages[i].msg_len;
		for (int done = 0; done < count;) {
			int sent = sendmmsg(fd, messages + done, count - done, 0);
			done += sent > 0 ? sent : 1;
		}
	}
}

static void send_some(struct flow *flow, uint32_t index, int count, int size)
{
	uint64_t now = now_ns();
	for (int i = 0; i < count; i++) {
		struct stamp stamp = {this_run, index, flow->next_number++, 0, now};
		memcpy(buffers[i], &stamp, sizeof stamp);
		parts[i].iov_len = size;
		messages[i].msg_hdr.msg_name = NULL;
		messages[i].msg_hdr.msg_namelen = 0;
	}
	/* What the kernel does not take is lost like any other. */
	for (int done = 0; done < count;) {
		int sent = sendmmsg(flow->fd, messages + done, count - done, 0);
		done += sent > 0 ? sent : 1;
	}
	flow->waiting += count;
}

static double percentile(uint64_t total, double part)
{
	uint64_t seen = 0;
	for (int i = 0; i < BUCKETS; i++)
		if ((seen += latency[i]) >= total * part)
			return i;
	return BUCKETS;
}

static void load(struct sockaddr_in address, uint32_t flows, int outstanding, int size, double seconds)
{
	struct flow *all = calloc(flows, sizeof *all);
	struct epoll_event events[BATCH];
	int epoll = epoll_create1(0);
	uint64_t trips = 0, lost = 0, wrong = 0, began, looked, now;
	for (uint32_t i = 0; i < flows; i++) {
		all[i].fd = open_socket();
		struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
		if (connect(all[i].fd, (struct sockaddr *)&address, sizeof address) ||
		    epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event))
			fail("connect");
	}
	began = looked = now_ns();
	for (uint32_t i = 0; i < flows; i++) {
		all[i].heard_ns = now_ns();
		send_some(&all[i], i, outstanding, size);
	}
	while ((now = now_ns()) - began < seconds * 1e9) {
		int ready = epoll_wait(epoll, events, BATCH, 50);
		for (int e = 0; e < ready; e++) {
			uint32_t index = events[e].data.u32;
			struct flow *flow = &all[index];
			for (int i = 0; i < BATCH; i++) {
				parts[i].iov_len = ROOM;
				messages[i].msg_hdr.msg_name = NULL;
				messages[i].msg_hdr.msg_namelen = 0;
			}
			int count = recvmmsg(flow->fd, messages, BATCH, MSG_DONTWAIT, NULL), good = 0;
			now = now_ns();
			for (int i = 0; i < count; i++) {
				struct stamp stamp;
				memcpy(&stamp, buffers[i], sizeof stamp);
				if (messages[i].msg_len >= sizeof stamp && stamp.run != this_run)
					continue;
				if (messages[i].msg_len != (unsigned)size || stamp.flow != index) {
					wrong++;
					continue;
				}
				/* One that was given up for lost: its replacement is under way already. */
				if (flow->next_number - stamp.number > flow->waiting)
					continue;
				uint64_t us = (now - stamp.sent_ns) / 1000;
				latency[us < BUCKETS ? us : BUCKETS - 1]++;
				good++;
			}
			if (good > 0) {
				if ((uint32_t)good > flow->waiting)
					good = flow->waiting;
				trips += good;
				flow->heard_ns = now;
				flow->waiting -= good;
				send_some(flow, index, good, size);
			}
		}
		if (now - looked < 50000000)
			continue;
		looked = now;
		for (uint32_t i = 0; i < flows; i++)
			if (now - all[i].heard_ns > LOST_NS && all[i].waiting) {
				lost += all[i].waiting;
				int again = all[i].waiting;
				all[i].waiting = 0;
				all[i].heard_ns = now;
				send_some(&all[i], i, again, size);
			}
	}
	/* Those whose place was taken by later answers of the same flow. */
	for (uint32_t i = 0; i < flows; i++)
		if (all[i].waiting < (uint32_t)outstanding)
			lost += outstanding - all[i].waiting;
	printf("{\"round_trips\": %llu, \"lost\": %llu, \"wrong\": %llu, \"seconds\": %.6f, \"p50_us\": %.0f, "
	       "\"p99_us\": %.0f}\n",
	       (unsigned long long)trips, (unsigned long long)lost, (unsigned long long)wrong, (now - began) / 1e9,
	       percentile(trips, 0.5), percentile(trips, 0.99));
}

int main(int count, char **words)
{
	struct rlimit limit;
	this_run = (uint32_t)now_ns();
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	for (int i = 0; i < BATCH; i++) {
		parts[i].iov_base = buffers[i];
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	if (count == 4 && strcmp(words[1], "echo") == 0)
		echo(address_of(words[2], words[3]));
	else if (count == 8 && strcmp(words[1], "load") == 0 && atoi(words[5]) <= MAX_OUTSTANDING)
		load(address_of(words[2], words[3]), atoi(words[4]), atoi(words[5]), atoi(words[6]), atof(words[7]));
	else
		return fprintf(stderr, "usage: see the comment in the source\n"), 2;
	return 0;
}
