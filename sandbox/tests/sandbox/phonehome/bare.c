// A static program without a library, as Go's are: connects by raw system calls.
#include <stddef.h>

struct address {
    unsigned short family, port;
    unsigned char host[4];
    unsigned char zero[8];
};

static long call(long number, long a, long b, long c) {
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
#else
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#endif
}

#if defined(__x86_64__)
enum { SOCKET = 41, CONNECT = 42, EXIT = 60 };
#else
enum { SOCKET = 198, CONNECT = 203, EXIT = 93 };
#endif

void _start(void) {
    struct address to = {2, 0x5000, {203, 0, 113, 80}, {0}};
    long socket = call(SOCKET, 2, 1, 0);
    long result = call(CONNECT, socket, (long)&to, sizeof to);
    call(EXIT, result == -111 ? 0 : 1, 0, 0);
    for (;;) {
    }
}
