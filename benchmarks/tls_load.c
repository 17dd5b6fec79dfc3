/* Load for TLS termination: handshakes with and without resumption, and bulk each way, over blocking OpenSSL.

   tls_load origin PORT                                      what stands behind the proxy, in clear
   tls_load full|resumed|download|upload PORT SECONDS PROCESSES [1.2]

   The origin reads one byte: 'U' to read all that follows, 'D' to send zeros for ever, '.' to answer one byte and end.
   Prints handshakes (or bytes) of all processes together, and the seconds that they took. */

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 131072 };

static char chunk[CHUNK];
static SSL_SESSION *remembered;

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static struct sockaddr_in loopback(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void answer(int fd)
{
    char kind;
    if (read(fd, &kind, 1) != 1)
        return;
    if (kind == 'U')
        while (read(fd, chunk, CHUNK) > 0)
            ;
    else if (kind == 'D')
        while (write(fd, chunk, CHUNK) > 0)
            ;
    else if (write(fd, "!", 1) != 1)
        return;
}

static int origin(int port)
{
    struct sockaddr_in address = loopback(port);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0) {
        perror("tls_load origin");
        return 1;
    }
    for (int i = 0; i < 4; i++)
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            break;
        }
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0) {
            answer(fd);
            close(fd);
        }
    }
}

static int remember(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(remembered);
    remembered = session;
    return 1;
}

static SSL *connect_tls(SSL_CTX *ctx, int port)
{
    struct sockaddr_in address = loopback(port);
    struct linger hard = {1, 0};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    SSL *ssl = SSL_new(ctx);
    /* Else the ports of the load are used up within a run. */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    SSL_set_fd(ssl, fd);
    SSL_set_tlsext_host_name(ssl, "bench.example");
    if (remembered)
        SSL_set_session(ssl, remembered);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 || SSL_connect(ssl) != 1) {
        ERR_print_errors_fp(stderr);
        perror("tls_load connect");
        exit(1);
    }
    return ssl;
}

static void part(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);
    /* Else OpenSSL takes the session for broken, and resumes it no more. */
    SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(ssl);
    close(fd);
}

static uint64_t shake_hands(SSL_CTX *ctx, int port, int resumes, double until)
{
    uint64_t count = 0;
    while (now_s() < until) {
        SSL *ssl = connect_tls(ctx, port);
        if (resumes && count > 0 && !SSL_session_reused(ssl)) {
            fprintf(stderr, "tls_load: a session was not resumed\n");
            exit(1);
        }
        if (SSL_write(ssl, ".", 1) != 1 || SSL_read(ssl, chunk, 1) != 1) {
            fprintf(stderr, "tls_load: no answer\n");
            exit(1);
        }
        part(ssl);
        count++;
    }
    return count;
}

static uint64_t move(SSL_CTX *ctx, int port, int uploads, double until)
{
    uint64_t moved = 0;
    SSL *ssl = connect_tls(ctx, port);
    SSL_write(ssl, uploads ? "U" : "D", 1);
    while (now_s() < until) {
        int count = uploads ? SSL_write(ssl, chunk, CHUNK) : SSL_read(ssl, chunk, CHUNK);
        if (count <= 0)
            exit(1);
        moved += count;
    }
    part(ssl);
    return moved;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc == 3 && !strcmp(argv[1], "origin"))
        return origin(atoi(argv[2]));
    if (argc < 5) {
        fprintf(stderr, "usage: tls_load origin PORT | full|resumed|download|upload PORT SECONDS PROCESSES [1.2]\n");
        return 2;
    }
    int port = atoi(argv[2]), processes = atoi(argv[4]), resumes = !strcmp(argv[1], "resumed");
    double began = now_s(), until = began + atof(argv[3]);
    uint64_t *counts = mmap(NULL, processes * 8, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < processes; i++) {
        if (fork())
            continue;
        SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
        if (argc > 5)
            SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
        if (resumes) {
            SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
            SSL_CTX_sess_set_new_cb(ctx, remember);
        }
        if (resumes || !strcmp(argv[1], "full"))
            counts[i] = shake_hands(ctx, port, resumes, until);
        else
            counts[i] = move(ctx, port, !strcmp(argv[1], "upload"), until);
        return 0;
    }
    int failed = 0, status;
    while (wait(&status) > 0)
        failed |= status;
    uint64_t total = 0;
    for (int i = 0; i < processes; i++)
        total += counts[i];
    printf("%llu %.6f\n", (unsigned long long)total, now_s() - began);
    return failed != 0;
}
