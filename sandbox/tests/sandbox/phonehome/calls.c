// One way to reach somebody a verb: what a program can do with the C library, or around it.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static struct sockaddr_storage to;
static socklen_t length;

static void address(const char *host, int port) {
    struct sockaddr_in *v4 = (void *)&to;
    struct sockaddr_in6 *v6 = (void *)&to;
    memset(&to, 0, sizeof to);
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        length = sizeof *v4;
    } else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        length = sizeof *v6;
    } else {
        exit(9);
    }
}

static int made(int kind, int protocol) {
    int s = socket(to.ss_family, kind, protocol);
    if (s < 0) {
        printf("socket: %s\n", strerrorname_np(errno));
        exit(3);
    }
    return s;
}

static void say(const char *what, long result) {
    printf("%s: %s\n", what, result < 0 ? strerrorname_np(errno) : "ok");
}

static int connected(int kind, int protocol) {
    int s = made(kind, protocol);
    say("connect", connect(s, (void *)&to, length));
    return s;
}

static void question(char *into, size_t *size, const char *name) {
    static const char head[12] = {0, 7, 1, 0, 0, 1};
    char *at = into;
    memcpy(at, head, sizeof head);
    at += sizeof head;
    for (;;) {
        const char *dot = strchrnul(name, '.');
        *at++ = dot - name;
        memcpy(at, name, dot - name);
        at += dot - name;
        if (!*dot) break;
        name = dot + 1;
    }
    *at++ = 0;
    memcpy(at, "\0\1\0\1", 4);
    *size = at + 4 - into;
}

static int unix_socket(const char *name, int kind) {
    struct sockaddr_un *un = (void *)&to;
    memset(&to, 0, sizeof to);
    un->sun_family = AF_UNIX;
    strncpy(un->sun_path, name, sizeof un->sun_path - 1);
    length = offsetof(struct sockaddr_un, sun_path) + strlen(name) + 1;
    if (name[0] == '@') {
        un->sun_path[0] = 0;
        length--;
    }
    return socket(AF_UNIX, kind, 0);
}

static int count_processes(void) {
    int count = 0;
    char path[32];
    for (int pid = 1; pid < 200; pid++) {
        snprintf(path, sizeof path, "/proc/%d", pid);
        count += access(path, F_OK) == 0;
    }
    return count;
}

static char *content(const char *path) {
    static char text[65536];
    int file = open(path, O_RDONLY);
    ssize_t size = file < 0 ? 0 : read(file, text, sizeof text - 1);
    if (file >= 0) close(file);
    text[size > 0 ? size : 0] = 0;
    return text;
}

// What of the sandbox a program can tell, by the names of the crate's list.
static int traits(int print) {
    int seen = 0;
#define TRAIT(name, so) if (so) { seen++; if (print) puts(name); }
    TRAIT("seccomp", strstr(content("/proc/self/status"), "Seccomp:\t2"));
    TRAIT("no-new-privileges", strstr(content("/proc/self/status"), "NoNewPrivs:\t1"));
    TRAIT("user-map", !strstr(content("/proc/self/uid_map"), "4294967295"));
    TRAIT("few-processes", getppid() == 1 && count_processes() <= 3);
    TRAIT("machine-id", !strncmp(content("/etc/machine-id"), "0000000000000000", 16));
    char *cards = content("/proc/self/net/dev");
    int lines = 0;
    for (char *at = cards; (at = strchr(at, '\n')); at++) lines++;
    TRAIT("only-loopback", lines == 3 && strstr(cards, "lo:"));
    TRAIT("memory-root", strstr(content("/proc/self/mountinfo"), " / / ") && strstr(content("/proc/self/mountinfo"), "tmpfs"));
    TRAIT("no-io-uring", syscall(SYS_io_uring_setup, 1, 0) < 0 && errno == ENOSYS);
    struct addrinfo hint = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found = 0;
    int same = getaddrinfo("no-such-name.invalid", "9", &hint, &found) == 0;
    TRAIT("every-name-resolves", same);
    address("192.0.2.1", 9);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    TRAIT("instant-refusal", connect(s, (void *)&to, length) < 0 && errno == ECONNREFUSED);
    return seen;
}

int main(int count, char **words) {
    const char *verb = count > 1 ? words[1] : "";
    const char *host = count > 2 ? words[2] : "";
    int port = count > 3 ? atoi(words[3]) : 0;
    if (port && strcmp(verb, "family")) address(host, port);
    int s, one = 1, pipes[2];
    struct iovec part = {"secret", 6};
    setvbuf(stdout, 0, _IONBF, 0);
#define IS(name) (!strcmp(verb, name))
    if (IS("tcp")) {
        connected(SOCK_STREAM, 0);
    } else if (IS("nonblocking")) {
        s = connected(SOCK_STREAM | SOCK_NONBLOCK, 0);
        struct pollfd one_fd = {s, POLLOUT, 0};
        poll(&one_fd, 1, 10000);
    } else if (IS("send")) {
        say("send", send(connected(SOCK_DGRAM, 0), "secret", 6, 0));
    } else if (IS("write")) {
        say("write", write(connected(SOCK_DGRAM, 0), "secret", 6));
    } else if (IS("sendto") || IS("broadcast") || IS("multicast")) {
        s = made(SOCK_DGRAM, 0);
        setsockopt(s, SOL_SOCKET, SO_BROADCAST, &one, sizeof one);
        say("sendto", sendto(s, "secret", 6, 0, (void *)&to, length));
    } else if (IS("sendmsg")) {
        struct msghdr message = {&to, length, &part, 1, 0, 0, 0};
        say("sendmsg", sendmsg(made(SOCK_DGRAM, 0), &message, 0));
    } else if (IS("sendmmsg")) {
        struct sockaddr_storage other = to;
        ((struct sockaddr_in *)&other)->sin_port = htons(port + 1);
        struct mmsghdr messages[2] = {
            {{&to, length, &part, 1, 0, 0, 0}, 0},
            {{&other, length, &part, 1, 0, 0, 0}, 0},
        };
        say("sendmmsg", sendmmsg(made(SOCK_DGRAM, 0), messages, 2, 0));
    } else if (IS("fastopen")) {
        say("sendto", sendto(made(SOCK_STREAM, 0), "secret", 6, MSG_FASTOPEN, (void *)&to, length));
    } else if (IS("fastopen-connect")) {
        s = made(SOCK_STREAM, 0);
        setsockopt(s, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof one);
        say("connect", connect(s, (void *)&to, length));
        say("write", write(s, "secret", 6));
    } else if (IS("mptcp")) {
        connected(SOCK_STREAM, IPPROTO_MPTCP);
    } else if (IS("getaddrinfo")) {
        struct addrinfo hint = {.ai_socktype = SOCK_STREAM}, *found;
        int failed = getaddrinfo(host, "443", &hint, &found);
        printf("getaddrinfo: %d\n", failed);
        if (!failed) connect(socket(found->ai_family, SOCK_STREAM, 0), found->ai_addr, found->ai_addrlen);
    } else if (IS("dns") || IS("dns-tcp")) {
        char bytes[300];
        size_t size;
        question(bytes + 2, &size, words[4]);
        bytes[0] = size >> 8;
        bytes[1] = size;
        s = connected(IS("dns") ? SOCK_DGRAM : SOCK_STREAM, 0);
        if (IS("dns")) say("send", send(s, bytes + 2, size, 0));
        else say("send", send(s, bytes, size + 2, 0));
        say("answer", recv(s, bytes, sizeof bytes, 0));
    } else if (IS("https")) {
        // The beginning of a TLS 1.2 hello, with a name in it.
        static const unsigned char hello[] = {
            22, 3, 1, 0, 71, 1, 0, 0, 67, 3, 3,
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
            0, 0, 2, 0x13, 1, 1, 0, 0, 24, 0, 0, 0, 20, 0, 18, 0, 0, 15,
            'd', 'n', 's', '.', 'e', 'x', 'a', 'm', 'p', 'l', 'e', '.', 'o', 'r', 'g',
        };
        s = connected(SOCK_STREAM, 0);
        if (send(s, hello, sizeof hello, MSG_NOSIGNAL) > 0) {
            char answer;
            recv(s, &answer, 1, 0);
        }
    } else if (IS("splice") || IS("vmsplice")) {
        s = connected(SOCK_STREAM, 0);
        pipe(pipes);
        if (IS("splice")) write(pipes[1], "spliced secret", 14);
        else {
            struct iovec pages = {"gifted secret", 13};
            vmsplice(pipes[1], &pages, 1, 0);
        }
        say("splice", splice(pipes[0], 0, s, 0, 14, 0));
    } else if (IS("sendfile")) {
        s = connected(SOCK_STREAM, 0);
        say("sendfile", sendfile(s, open("/etc/hostname", O_RDONLY), 0, 11));
    } else if (IS("uring")) {
        char parameters[120] = {0};
        say("io_uring_setup", syscall(SYS_io_uring_setup, 8, parameters));
        say("io_uring_enter", syscall(SYS_io_uring_enter, 3, 1, 0, 0, 0, 0));
    } else if (IS("suicide")) {
        s = made(SOCK_STREAM, 0);
        connect(s, (void *)&to, length);
        kill(getpid(), SIGKILL);
    } else if (IS("suicide-nonblocking")) {
        s = made(SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(s, (void *)&to, length);
        kill(getpid(), SIGKILL);
    } else if (IS("many")) {
        for (int n = atoi(words[4]); n > 0; n--) {
            s = made(SOCK_STREAM, 0);
            connect(s, (void *)&to, length);
            close(s);
        }
    } else if (IS("many-datagrams")) {
        s = made(SOCK_DGRAM, 0);
        for (int n = atoi(words[4]); n > 0; n--) sendto(s, "x", 1, 0, (void *)&to, length);
    } else if (!strncmp(verb, "time-", 5)) {
        struct timespec from, until;
        int all = atoi(words[4]);
        int udp = IS("time-udp") ? made(SOCK_DGRAM, 0) : -1;
        int null = open("/dev/null", O_WRONLY);
        clock_gettime(CLOCK_MONOTONIC, &from);
        for (int n = all; n > 0; n--) {
            if (IS("time-tcp")) {
                s = made(SOCK_STREAM, 0);
                connect(s, (void *)&to, length);
                close(s);
            } else if (udp >= 0) {
                sendto(udp, "x", 1, 0, (void *)&to, length);
            } else {
                write(null, "x", 1);
            }
        }
        clock_gettime(CLOCK_MONOTONIC, &until);
        long long spent = (until.tv_sec - from.tv_sec) * 1000000000LL + until.tv_nsec - from.tv_nsec;
        printf("%lld\n", spent / all);
    } else if (IS("daemon")) {
        int gone[2];
        pipe(gone);
        if (!fork()) {
            setsid();
            if (fork()) _exit(0);
            execl("/proc/self/exe", "helper", "tcp", host, words[3], (char *)0);
            _exit(1);
        }
        close(gone[1]);
        read(gone[0], &one, 1);
        wait(0);
    } else if (IS("threads") || IS("late")) {
        struct timespec some = {0, 1000000L * atoi(words[4])};
        nanosleep(&some, 0);
        connected(SOCK_STREAM, 0);
    } else if (IS("if-real")) {
        if (traits(0) == 0) connected(SOCK_STREAM, 0);
        else puts("this is no real machine");
    } else if (IS("traits")) {
        traits(1);
    } else if (IS("unix")) {
        s = unix_socket(host, SOCK_STREAM);
        say("connect", connect(s, (void *)&to, length));
    } else if (IS("unix-datagram")) {
        s = unix_socket(host, SOCK_DGRAM);
        say("sendto", sendto(s, "x", 1, 0, (void *)&to, length));
    } else if (IS("unix-own")) {
        for (const char *const *name = (const char *const[]){"/tmp/own", "@own", 0}; *name; name++) {
            // Too early, as a client may be.
            s = unix_socket(*name, SOCK_STREAM);
            say("early", connect(s, (void *)&to, length));
            int server = unix_socket(*name, SOCK_STREAM);
            say("bind", bind(server, (void *)&to, length));
            listen(server, 1);
            chdir("/tmp");
            if (**name == '/') {
                s = unix_socket("../tmp/own", SOCK_STREAM);
            } else {
                s = unix_socket(*name, SOCK_STREAM);
            }
            say("connect", connect(s, (void *)&to, length));
        }
    } else if (IS("family")) {
        say("socket", socket(atoi(host), atoi(words[3]), atoi(words[4])));
    } else if (IS("quiet")) {
        getpid();
    } else if (IS("own-name")) {
        // What every program does to learn its own address: nothing is sent.
        s = connected(SOCK_DGRAM, 0);
    } else {
        return 8;
    }
    return 0;
}
