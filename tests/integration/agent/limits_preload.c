/* CRIU asks for the limits of the processes it dumps, which takes CAP_SYS_RESOURCE where they are another user's. Machines that are
 * containers themselves lack it. For tests there, the same question is answered from /proc/<pid>/limits, which anybody may read. */
#define syscall their_syscall
#include <unistd.h>
#undef syscall
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static const char *names[] = {
    "Max cpu time",     "Max file size",     "Max data size",     "Max stack size",      "Max core file size",
    "Max resident set", "Max processes",     "Max open files",    "Max locked memory",   "Max address space",
    "Max file locks",   "Max pending signals", "Max msgqueue size", "Max nice priority", "Max realtime priority",
    "Max realtime timeout",
};

static long raw(long n, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long answer;
    __asm__ volatile("syscall"
                     : "=a"(answer)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    if ((unsigned long)answer > -4096UL) {
        errno = -answer;
        return -1;
    }
    return answer;
}

static unsigned long long bound(const char *text)
{
    return strncmp(text, "unlimited", 9) ? strtoull(text, 0, 10) : RLIM_INFINITY;
}

static long from_proc(long pid, long kind, unsigned long long *limit)
{
    char path[64], line[256], soft[64], hard[64];
    long answer = -1;
    snprintf(path, sizeof path, "/proc/%ld/limits", pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        size_t length = strlen(names[kind]);
        if (!strncmp(line, names[kind], length) && sscanf(line + length, "%63s %63s", soft, hard) == 2) {
            limit[0] = bound(soft);
            limit[1] = bound(hard);
            answer = 0;
        }
    }
    if (file)
        fclose(file);
    if (answer)
        errno = EPERM;
    return answer;
}

long syscall(long n, long a, long b, long c, long d, long e, long f)
{
    long answer = raw(n, a, b, c, d, e, f);
    if (n == SYS_prlimit64 && answer && errno == EPERM && !c && d && b >= 0 && b < 16)
        return from_proc(a, b, (unsigned long long *)d);
    return answer;
}
