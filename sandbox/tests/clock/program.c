/* What a program can do with the wall clock; linked statically by the tests beside it. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct timespec now(clockid_t clock) {
    struct timespec t = {-1, 0};
    clock_gettime(clock, &t);
    return t;
}

/* Every way to read the time, with the name of the way. */
static void readings(void) {
    struct timeval day = {-1, 0};
    struct timex adjust = {0};
    printf("realtime %ld\n", (long)now(CLOCK_REALTIME).tv_sec);
    printf("coarse %ld\n", (long)now(CLOCK_REALTIME_COARSE).tv_sec);
    printf("tai %ld\n", (long)now(CLOCK_TAI).tv_sec);
    gettimeofday(&day, NULL);
    printf("gettimeofday %ld\n", (long)day.tv_sec);
    printf("time %ld\n", (long)time(NULL));
#ifdef SYS_time
    printf("time-call %ld\n", (long)syscall(SYS_time, NULL));
#endif
    printf("adjtimex %s\n", adjtimex(&adjust) < 0 ? "refused" : "answered");
    printf("null %ld\n", (long)syscall(SYS_clock_gettime, CLOCK_REALTIME, NULL));
}

static int interruptions;
static void interrupt(int signal) { interruptions += signal != 0; }

static struct timespec begun;
static struct timespec soon(clockid_t clock) {
    begun = now(CLOCK_MONOTONIC);
    struct timespec t = now(clock);
    t.tv_nsec += 200 * 1000 * 1000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}
static void waited(const char *how) {
    struct timespec t = now(CLOCK_MONOTONIC);
    printf("%s %ld\n", how,
           (t.tv_sec - begun.tv_sec) * 1000 + (t.tv_nsec - begun.tv_nsec) / 1000000);
}

/* Waits of 200 ms, each until a moment of the wall clock, with the milliseconds that they took. */
static void waits(void) {
    /* Interrupted again and again: a call that is made anew must mean the same moment. */
    struct sigaction restart = {.sa_handler = interrupt, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 30000}, {0, 30000}};
    sigaction(SIGALRM, &restart, NULL);
    setitimer(ITIMER_REAL, &often, NULL);

    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    pthread_mutex_lock(&mutex);
    struct timespec at = soon(CLOCK_REALTIME);
    while (pthread_cond_timedwait(&condition, &mutex, &at) == 0) {}
    waited("condition");

    at = soon(CLOCK_REALTIME);
    pthread_mutex_timedlock(&mutex, &at);
    waited("mutex");

    sem_t semaphore;
    sem_init(&semaphore, 0, 0);
    at = soon(CLOCK_REALTIME);
    while (sem_timedwait(&semaphore, &at) < 0 && errno == EINTR) {}
    waited("semaphore");

    at = soon(CLOCK_REALTIME);
    while (clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &at, NULL)) {}
    waited("sleep");

    at = soon(CLOCK_TAI);
    while (clock_nanosleep(CLOCK_TAI, TIMER_ABSTIME, &at, NULL)) {}
    waited("sleep-tai");

    uint64_t times;
    int descriptor = dup(timerfd_create(CLOCK_REALTIME, 0));
    struct itimerspec setting = {.it_value = soon(CLOCK_REALTIME)};
    timerfd_settime(descriptor, TFD_TIMER_ABSTIME, &setting, NULL);
    if (read(descriptor, &times, sizeof times) == sizeof times) waited("descriptor");

    descriptor = timerfd_create(CLOCK_MONOTONIC, 0);
    setting.it_value = soon(CLOCK_MONOTONIC);
    timerfd_settime(descriptor, TFD_TIMER_ABSTIME, &setting, NULL);
    if (read(descriptor, &times, sizeof times) == sizeof times) waited("descriptor-monotonic");

    sigset_t expired;
    sigemptyset(&expired);
    sigaddset(&expired, SIGUSR1);
    sigprocmask(SIG_BLOCK, &expired, NULL);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t timer;
    timer_create(CLOCK_REALTIME, &event, &timer);
    setting.it_value = soon(CLOCK_REALTIME);
    timer_settime(timer, TIMER_ABSTIME, &setting, NULL);
    while (sigwaitinfo(&expired, NULL) < 0) {}
    waited("timer");
    printf("interruptions %d\n", interruptions);
}

static void *reader(void *count) {
    for (int i = 0; i < 100; i++) *(int *)count += now(CLOCK_REALTIME).tv_sec > 0;
    return NULL;
}

/* 40 threads and 200 processes at once, all of which read the clock. */
static void crowd(void) {
    int counts[40] = {0}, sum = 0, status;
    pthread_t threads[40];
    for (int i = 0; i < 200; i++)
        if (fork() == 0) _exit(now(CLOCK_REALTIME).tv_sec > 0 ? 3 : 4);
    for (int i = 0; i < 40; i++) pthread_create(&threads[i], NULL, reader, &counts[i]);
    for (int i = 0; i < 40; i++) pthread_join(threads[i], NULL), sum += counts[i];
    printf("readings %d\n", sum);
    for (sum = 0; wait(&status) > 0;) sum += WIFEXITED(status) && WEXITSTATUS(status) == 3;
    printf("children %d\n", sum);
}

/* What a parent hears of a child that is stopped, continued and killed, and a process of itself. */
static void signals(void) {
    int status, numbers[] = {SIGTRAP, SIGUSR1, SIGCONT, SIGRTMIN + 3};
    pid_t child = fork();
    if (child == 0)
        for (;;) pause();
    kill(child, SIGSTOP);
    waitpid(child, &status, WUNTRACED);
    printf("stopped %d\n", WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    printf("stays %d\n", waitpid(child, &status, WNOHANG | WCONTINUED) == 0);
    kill(child, SIGCONT);
    waitpid(child, &status, WCONTINUED);
    printf("continued %d\n", WIFCONTINUED(status));
    kill(child, SIGTRAP);
    waitpid(child, &status, 0);
    printf("killed %d\n", WIFSIGNALED(status) && WTERMSIG(status) == SIGTRAP);
    for (int i = 0; i < 4; i++) {
        signal(numbers[i], interrupt);
        raise(numbers[i]);
    }
    printf("delivered %d\n", interruptions);
}

int main(int count, char **arguments) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *what = count > 1 ? arguments[1] : "";
    if (!strcmp(what, "read")) readings();
    else if (!strcmp(what, "wait")) waits();
    else if (!strcmp(what, "crowd")) crowd();
    else if (!strcmp(what, "signals")) signals();
    else if (!strcmp(what, "hide")) prctl(PR_SET_DUMPABLE, 0), readings();
    else if (!strcmp(what, "exit")) exit(42);
    else if (!strcmp(what, "die")) raise(SIGTERM);
    else return 2;
    return 0;
}
