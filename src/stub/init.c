/* The first process of a container: executes the program that its arguments name, passes signals on to it, buries orphans,
 * and ends with the program's status. Without a program it stays until it is told to end. */

#include "host.h"

enum { SIGHUP = 1, SIGINT = 2, SIGQUIT = 3, SIGTERM = 15, WNOHANG = 1, LONGEST = 2048 };

struct signals { unsigned char bytes[SIGSET_SIZE]; };

static const char *path_of(char **env) {
    for (; *env; env++) {
        const char *at = *env;
        if (at[0] == 'P' && at[1] == 'A' && at[2] == 'T' && at[3] == 'H' && at[4] == '=') return at + 5;
    }
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

static __attribute__((noreturn)) void execute(char **args, char **env) {
    long error = ENOENT;
    const char *slash = args[0];
    while (*slash && *slash != '/') slash++;
    if (*slash) not_executed(args[0], -call(NR_execve, (long)args[0], (long)args, (long)env, 0));
    for (const char *folder = path_of(env);;) {
        char file[LONGEST], *to = file, *last = file + sizeof file - 1;
        while (*folder && *folder != ':') {
            if (to < last) *to++ = *folder;
            folder++;
        }
        if (to > file && to < last) *to++ = '/';
        for (const char *name = args[0]; *name && to < last; name++) *to++ = *name;
        *to = 0;
        /* A name that was cut is another one. */
        if (to < last) {
            long failed = -call(NR_execve, (long)file, (long)args, (long)env, 0);
            if (failed != ENOENT && failed != ENOTDIR) error = failed;
            if (failed != ENOENT && failed != ENOTDIR && failed != EACCES) break;
        }
        if (!*folder++) break;
    }
    not_executed(args[0], error);
}

__attribute__((noreturn, used)) void init(long *stack);
void init(long *stack) {
    long count = stack[0], child = 0;
    char **args = (char **)(stack + 1), **env = args + count + 1;
    struct signals all, before;
    for (int i = 0; i < SIGSET_SIZE; i++) all.bytes[i] = 0xff;
    call(NR_rt_sigprocmask, SIG_SETMASK, (long)&all, (long)&before, SIGSET_SIZE);
    if (count > 1) {
        child = FORK(call, SIGCHLD);
        if (child == 0) {
            /* A group of its own, in the foreground of the terminal if there is one: what is typed reaches it once. */
            int group = call(NR_getpid, 0, 0, 0, 0);
            call(NR_setpgid, 0, 0, 0, 0);
            call(NR_ioctl, 0, TIOCSPGRP, (long)&group, 0);
            call(NR_rt_sigprocmask, SIG_SETMASK, (long)&before, 0, SIGSET_SIZE);
            execute(args + 1, env);
        }
        if (child < 0) not_executed(args[1], -child);
    }
    for (int ending = 0;;) {
        long signal = call(NR_rt_sigtimedwait, (long)&all, 0, 0, SIGSET_SIZE);
        if (signal <= 0) continue;
        if (signal != SIGCHLD && child) {
            call(NR_kill, child, signal, 0, 0);
            continue;
        }
        if (signal == SIGTERM || signal == SIGINT || signal == SIGQUIT || signal == SIGHUP || signal == SIGPWR) {
            ending = 1;
            /* Only as a container's first process: anywhere else that would be all of a user's processes. */
            if (call(NR_getpid, 0, 0, 0, 0) == 1) call(NR_kill, -1, SIGTERM, 0, 0);
        }
        for (;;) {
            int status = 0;
            long gone = call(NR_wait4, -1, (long)&status, WNOHANG, 0);
            if (gone > 0 && gone == child) end(status & 127 ? 128 + (status & 127) : status >> 8 & 255);
            if (gone < 0 && ending) end(0);
            if (gone <= 0) break;
        }
    }
}

START(init)
