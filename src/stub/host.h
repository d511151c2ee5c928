/* What differs from host to host: how a process starts, how a system call is made, and the numbers of the calls. The
 * registers and numbers are those of the Linux kernel for each machine; none is newer than Linux 3.10. */

#define NUMBERS(execve, write, exit, clone, wait4, kill, sigprocmask, sigtimedwait, getpid, setpgid, ioctl) enum { \
    NR_execve = execve, NR_write = write, NR_exit = exit, NR_clone = clone, NR_wait4 = wait4, NR_kill = kill, \
    NR_rt_sigprocmask = sigprocmask, NR_rt_sigtimedwait = sigtimedwait, NR_getpid = getpid, NR_setpgid = setpgid, \
    NR_ioctl = ioctl };

/* What START leaves free below the stack that the kernel made, in bytes. */
#define ROOM "4096"

#include HOST

#ifndef FORK
#define FORK(call, flags) call(NR_clone, flags, 0, 0, 0)
#endif
#ifndef SIGCHLD
#define SIGCHLD 17
#define SIGPWR 30
#define SIGSET_SIZE 8
#define SIG_SETMASK 2
#endif

enum { ENOENT = 2, EACCES = 13, ENOTDIR = 20 };

static __attribute__((noreturn)) void end(long status) {
    for (;;) call(NR_exit, status, 0, 0, 0);
}

static char *put(char *to, const char *text) {
    while (*text) *to++ = *text++;
    return to;
}

/* Tells in one short line that `path` was not executed, for some hosts cut lines. */
static __attribute__((noreturn)) void not_executed(const char *path, long error) {
    long status = error == ENOENT ? 127 : 126;
    char line[256], *to = put(line, "polyarch: cannot execute ");
    for (int most = 180; *path && most; most--) *to++ = *path++;
    to = put(to, ": error ");
    /* Not every host has an instruction that divides. */
    int is_begun = 0;
    for (long unit = 1000; unit; unit = unit == 1000 ? 100 : unit == 100 ? 10 : unit == 10 ? 1 : 0) {
        char digit = '0';
        while (error >= unit && digit < '9') { error -= unit; digit++; }
        if (digit != '0' || is_begun || unit == 1) { *to++ = digit; is_begun = 1; }
    }
    *to++ = '\n';
    call(NR_write, 2, (long)line, to - line, 0);
    end(status);
}
