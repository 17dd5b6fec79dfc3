/* Clients by the thousand, each with an address of its own, by real sockets: a crowd, which goes on as clients do, or a
 * flood of connections, which does not.
 *
 * crowd KIND ADDRESS PORT FIRST CLIENTS PER_S SECONDS
 *     Says "ready", waits for a line, opens PER_S sessions a second for SECONDS, and prints as JSON what became of them.
 *     What is sent has to come back. Kinds of crowds: web, ssh (TCP), game, dns, quic (UDP); of floods: idle, reset, slow.
 *     CLIENTS addresses from FIRST on are theirs; `ip route add local PREFIX dev lo` makes them this host's.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
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

enum {
	MOST = 65536,		/* sessions at a time */
	EVENTS = 256,
	AT_ONCE = 64,		/* sessions opened between two looks at what came */
	BYTES = 1200,		/* of the longest message */
	MS_BUCKETS = 8000,
	KEPT_IDLE = 2000,	/* connections of a flood that are kept open; the oldest are reset */
};

static const uint64_t MS = 1000000;
static const uint64_t ANSWER_MS = 4000, REPEAT_MS = 1000, SWEEP_MS = 50, AFTER_MS = 2000;

struct kind {
	const char *name;
	int type, bytes;
	int exchanges;		/* then the session ends */
	int pause_ms;		/* between two */
	const char *head;
	int head_bytes;
	int random_at, random_bytes;
};

#define HEAD(text) text, sizeof(text) - 1

static const struct kind KINDS[] = {
	{"web", SOCK_STREAM, 300, 3, 30, HEAD("GET /launch HTTP/1.1\r\n")},
	{"ssh", SOCK_STREAM, 48, 6, 300, HEAD("SSH-2.0-")},
	{"game", SOCK_DGRAM, 60, 5, 150, HEAD("GV\1"), 3, 4},
	{"dns", SOCK_DGRAM, 45, 1, 0, HEAD("\0\0\1\0\0\1\0\0\0\0\0\0\3www\7example\3com\0\0\1\0\1"), 0, 2},
	{"quic", SOCK_DGRAM, 1200, 5, 20, HEAD("\xc3\0\0\0\1\x08"), 6, 4},
	{"idle", SOCK_STREAM, 0, 0, 0, HEAD("")},
	{"reset", SOCK_STREAM, 0, 0, 0, HEAD("")},
	{"slow", SOCK_STREAM, 1, 3600, 1000, HEAD("")},
};

enum state { UNUSED, CONNECTING, WAITING, PAUSING };

struct session {
	int fd, got, exchanges, is_answered, is_repeated;
	enum state state;
	uint64_t opened_ns, asked_ns, due_ns;
};

static struct session sessions[MOST];
static uint32_t unused[MOST], unused_count;
/* Those that pause or are kept open: all pause equally long, so the first one is due first. */
static struct { uint32_t place; uint64_t due_ns; } pauses[MOST * 2];
static uint32_t first_pause, pause_count;
static uint32_t took_ms[MS_BUCKETS];
static struct { uint64_t opened, answered, failed, broken, lost, exchanges; } total;
static char message[BYTES];
static uint64_t identifier = 1;
static const struct kind *kind;
static int poll_fd;

static void end(uint32_t place, int resets)
{
	struct session *one = &sessions[place];
	struct linger hard = {1, 0};
	if (resets)
		setsockopt(one->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
	close(one->fd);
	one->state = UNUSED;
	unused[unused_count++] = place;
}

static void fell(uint32_t place)
{
	if (sessions[place].is_answered)
		total.broken++;
	else
		total.failed++;
	end(place, 1);
}

static void let_pause(uint32_t place, uint64_t due_ns)
{
	sessions[place].state = PAUSING;
	sessions[place].due_ns = due_ns;
	pauses[(first_pause + pause_count++) % (MOST * 2)] = (typeof(pauses[0])){place, due_ns};
}

static void ask(uint32_t place, uint64_t now)
{
	struct session *one = &sessions[place];
	if (kind->random_bytes) {
		identifier = identifier * 6364136223846793005u + 1442695040888963407u;
		memcpy(message + kind->random_at, (char *)&identifier + 4, kind->random_bytes);
	}
	if (send(one->fd, message, kind->bytes, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN &&
	    !(kind->type == SOCK_DGRAM && errno == ECONNREFUSED)) {
		fell(place);
		return;
	}
	one->state = WAITING;
	one->got = 0;
	one->asked_ns = now;
}

static void is_connected(uint32_t place, uint64_t now)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = place};
	if (kind->bytes) {
		epoll_ctl(poll_fd, EPOLL_CTL_MOD, sessions[place].fd, &event);
		ask(place, now);
		return;
	}
	total.answered++;
	sessions[place].is_answered = 1;
	if (!strcmp(kind->name, "reset")) {
		end(place, 1);
		return;
	}
	epoll_ctl(poll_fd, EPOLL_CTL_MOD, sessions[place].fd, &event);
	let_pause(place, now);
}

static void is_answered(uint32_t place, uint64_t now)
{
	struct session *one = &sessions[place];
	total.exchanges++;
	if (!one->is_answered) {
		uint64_t ms = (now - one->opened_ns) / MS;
		total.answered++;
		took_ms[ms < MS_BUCKETS ? ms : MS_BUCKETS - 1]++;
		one->is_answered = 1;
	}
	one->is_repeated = 0;
	if (++one->exchanges >= kind->exchanges)
		end(place, 0);
	else
		let_pause(place, now + kind->pause_ms * MS);
}

static void take(uint32_t place, uint32_t events, uint64_t now)
{
	struct session *one = &sessions[place];
	char room[BYTES];
	ssize_t count;

	if (one->state == UNUSED)
		return;
	if (one->state == CONNECTING) {
		int why = 0;
		socklen_t bytes = sizeof why;
		if (events & (EPOLLERR | EPOLLHUP))
			getsockopt(one->fd, SOL_SOCKET, SO_ERROR, &why, &bytes);
		if (why || !(events & EPOLLOUT))
			fell(place);
		else
			is_connected(place, now);
		return;
	}
	while ((count = recv(one->fd, room, sizeof room, MSG_DONTWAIT)) > 0)
		one->got += count;
	if (kind->type == SOCK_STREAM && (count == 0 || (count < 0 && errno != EAGAIN)))
		fell(place);
	else if (one->state == WAITING && one->got >= kind->bytes)
		is_answered(place, now);
}

static void open_session(const struct sockaddr_in *to, uint32_t from, uint64_t now)
{
	struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(from)};
	struct epoll_event event = {.events = kind->type == SOCK_STREAM ? EPOLLOUT : EPOLLIN};
	int fd, one = 1;
	uint32_t place;

	if (!unused_count)
		return;
	total.opened++;
	fd = socket(AF_INET, kind->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		fail("crowd: socket");
	setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof one);
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
	if (kind->type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&source, sizeof source) < 0)
		fail("crowd: bind");
	if (connect(fd, (const struct sockaddr *)to, sizeof *to) < 0 && errno != EINPROGRESS) {
		total.failed++;
		close(fd);
		return;
	}
	place = unused[--unused_count];
	sessions[place] = (struct session){.fd = fd, .state = CONNECTING, .opened_ns = now, .asked_ns = now};
	event.data.u32 = place;
	if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		fail("crowd: epoll_ctl");
	if (kind->type == SOCK_DGRAM)
		ask(place, now);
}

static void go_on(uint64_t now)
{
	while (pause_count) {
		uint32_t place = pauses[first_pause].place;
		uint64_t due_ns = pauses[first_pause].due_ns;
		int is_same = sessions[place].state == PAUSING && sessions[place].due_ns == due_ns;
		if (is_same && (kind->bytes ? due_ns > now : pause_count <= KEPT_IDLE))
			return;
		first_pause = (first_pause + 1) % (MOST * 2);
		pause_count--;
		if (!is_same)
			continue;
		if (kind->bytes)
			ask(place, now);
		else
			end(place, 1);
	}
}

/* Look for what was not answered: a datagram is sent once more. */
static void sweep(uint64_t now)
{
	for (uint32_t place = 0; place < MOST; place++) {
		struct session *one = &sessions[place];
		if (one->state != WAITING && one->state != CONNECTING)
			continue;
		if (kind->type == SOCK_DGRAM && !one->is_repeated && now > one->asked_ns + REPEAT_MS * MS) {
			total.lost += one->is_answered;
			one->is_repeated = 1;
			ask(place, now);
		} else if (now > one->asked_ns + ANSWER_MS * MS)
			fell(place);
	}
}

static uint32_t percentile_ms(double share)
{
	uint64_t seen = 0, all = 0;
	for (int ms = 0; ms < MS_BUCKETS; ms++)
		all += took_ms[ms];
	for (int ms = 0; ms < MS_BUCKETS; ms++)
		if ((seen += took_ms[ms]) >= share * all)
			return ms;
	return 0;
}

int main(int count, char **words)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	struct rlimit files = {1 << 20, 1 << 20};
	struct epoll_event events[EVENTS];
	uint64_t began, now, swept = 0, asked = 0, clients;
	double per_s, seconds;
	uint32_t first;

	if (count != 8) {
		fprintf(stderr, "usage: crowd KIND ADDRESS PORT FIRST CLIENTS PER_S SECONDS\n");
		return 2;
	}
	for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
		if (!strcmp(KINDS[i].name, words[1]))
			kind = &KINDS[i];
	if (!kind || inet_pton(AF_INET, words[2], &to.sin_addr) != 1) {
		fprintf(stderr, "crowd: no such kind, or no address\n");
		return 2;
	}
	to.sin_port = htons(atoi(words[3]));
	first = ntohl(inet_addr(words[4]));
	clients = strtoull(words[5], NULL, 10);
	per_s = atof(words[6]);
	seconds = atof(words[7]);
	if (setrlimit(RLIMIT_NOFILE, &files) < 0) {
		files.rlim_cur = files.rlim_max = 65536 + 64;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < BYTES; i++)
		message[i] = i < kind->head_bytes ? kind->head[i] : 'a' + i % 26;
	for (uint32_t place = MOST; place > 0; place--)
		unused[unused_count++] = place - 1;
	poll_fd = epoll_create1(EPOLL_CLOEXEC);
	printf("ready\n");
	fflush(stdout);
	(void)!getchar();

	began = now_ns();
	while ((now = now_ns()) < began + seconds * 1e9 + AFTER_MS * MS) {
		uint64_t due = now < began + seconds * 1e9 ? (now - began) / 1e9 * per_s : asked;
		for (int i = 0; i < AT_ONCE && asked < due; i++, asked++)
			open_session(&to, first + (asked * 2654435761u >> 16) % clients, now); /* they come in no order */
		int ready = epoll_wait(poll_fd, events, EVENTS, asked < due ? 0 : 1);
		now = now_ns();
		for (int i = 0; i < ready; i++)
			take(events[i].data.u32, events[i].events, now);
		go_on(now);
		if (now > swept + SWEEP_MS * MS) {
			swept = now;
			sweep(now);
		}
	}
	for (uint32_t place = 0; place < MOST; place++)
		if (sessions[place].state == CONNECTING || (sessions[place].state == WAITING && !sessions[place].is_answered))
			total.failed++;
	printf("{\"asked\": %lu, \"opened\": %lu, \"answered\": %lu, \"failed\": %lu, \"broken\": %lu, \"lost\": %lu, "
	       "\"exchanges\": %lu, \"p50_ms\": %u, \"p99_ms\": %u}\n",
	       asked, total.opened, total.answered, total.failed, total.broken, total.lost, total.exchanges,
	       percentile_ms(0.5), percentile_ms(0.99));
	return 0;
}
