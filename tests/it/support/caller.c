/* Executes programs in every way that there is, and says what came of it. One copy for each machine. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static char *machine, path[4096], script[4096];

static const char *reason(void) { return strerrorname_np(errno) ? strerrorname_np(errno) : "?"; }
static char *program(void) { sprintf(path, "/t/%s", machine); return path; }
static char *in_scripts(const char *name) { sprintf(script, "/s/%s/%s", machine, name); return script; }

static void *in_thread(void *argv) { execv(((char **)argv)[0], argv); printf("%s\n", reason()); _exit(99); }
static void leave(int signal) { (void)signal; _exit(7); }
static void nothing(int signal) { (void)signal; }
static void *wait_for_ever(void *nothing) { for (;;) pause(); return nothing; }
static pthread_barrier_t begin;
static void *races(void *argv) { pthread_barrier_wait(&begin); return in_thread(argv); }
static int ended_well(const char *what, int status) {
    int right = WIFEXITED(status) && WEXITSTATUS(status) == 4;
    if (!right) printf("%s: status %x\n", what, status);
    return right;
}
static void *starts(void *file) {
    char *argv[] = {file, "exit", "4", NULL};
    long right = 0;
    int status;
    for (int i = 0; i < 10; i++) {
        pid_t child;
        int error = posix_spawn(&child, file, NULL, NULL, argv, environ);
        if (error == 0 && waitpid(child, &status, 0) == child) right += ended_well("spawn", status);
        else printf("spawn: %s\n", strerrorname_np(error));
        child = fork();
        if (child == 0) { execv(file, argv); _exit(99); }
        waitpid(child, &status, 0);
        right += ended_well("fork", status);
    }
    return (void *)right;
}
static int execat(int folder, const char *file, char **argv, int flags) {
    return syscall(SYS_execveat, folder, file, argv, environ, flags);
}

/* What one line of the transcript is about; in a child of its own. */
static void one(const char *name) {
    char *me = program();
    char *argv[] = {"zero", "args", "", "a b", NULL};
    if (!strcmp(name, "plain")) execv(me, argv);
    if (!strcmp(name, "relative")) { chdir("/t"); execv(machine, argv); }
    if (!strcmp(name, "dots")) { chdir("/s"); sprintf(path, ".././s/../t//%s", machine); execv(path, argv); }
    if (!strcmp(name, "search")) { setenv("PATH", "/none:/t/folder:/t/closed:/t", 1); execvp(machine, argv); }
    if (!strcmp(name, "option")) { /* In no list: with a handler of the kernel's the emulator takes the name for an option. */ chdir("/t"); sprintf(path, "-%s", machine); execv(path, argv); }
    if (!strcmp(name, "link")) { sprintf(path, "/t/link-%s", machine); execv(path, argv); }
    if (!strcmp(name, "no environment")) { char *none[] = {NULL}; execve(me, argv, none); }
    if (!strcmp(name, "no arguments")) { char *none[] = {NULL}; execve(me, none, environ); }
    if (!strcmp(name, "null arguments")) syscall(SYS_execve, me, NULL, environ);
    if (!strcmp(name, "self")) execv("/proc/self/exe", argv);
    if (!strcmp(name, "script")) execv(in_scripts("script"), argv);
    if (!strcmp(name, "script with an argument")) execv(in_scripts("argument"), argv);
    if (!strcmp(name, "script of scripts")) execv(in_scripts("3"), argv);
    if (!strcmp(name, "scripts as deep as may be")) execv(in_scripts("4"), argv);
    if (!strcmp(name, "scripts too deep")) execv(in_scripts("5"), argv);
    if (!strcmp(name, "scripts much too deep")) execv(in_scripts("6"), argv);
    if (!strcmp(name, "script that names itself")) execv(in_scripts("loop"), argv);
    if (!strcmp(name, "script by a relative path")) { chdir("/s"); sprintf(path, "%s/near", machine); execv(path, argv); }
    if (!strcmp(name, "script through env")) execv(in_scripts("env"), argv);
    if (!strcmp(name, "script without an interpreter")) execv(in_scripts("gone"), argv);
    if (!strcmp(name, "script with a closed interpreter")) execv(in_scripts("closed"), argv);
    if (!strcmp(name, "script that is empty")) execv(in_scripts("empty"), argv);
    if (!strcmp(name, "closed script")) execv(in_scripts("mode"), argv);
    if (!strcmp(name, "descriptor")) execat(open(me, O_RDONLY), "", argv, AT_EMPTY_PATH);
    if (!strcmp(name, "descriptor that closes")) execat(open(me, O_RDONLY | O_CLOEXEC), "", argv, AT_EMPTY_PATH);
    if (!strcmp(name, "path descriptor")) execat(open(me, O_PATH), "", argv, AT_EMPTY_PATH);
    if (!strcmp(name, "descriptor of a script")) execat(open(in_scripts("script"), O_RDONLY), "", argv, AT_EMPTY_PATH);
    if (!strcmp(name, "descriptor of a script that closes"))
        execat(open(in_scripts("script"), O_RDONLY | O_CLOEXEC), "", argv, AT_EMPTY_PATH);
    if (!strcmp(name, "in a folder")) execat(open("/t", O_RDONLY | O_DIRECTORY), machine, argv, 0);
    if (!strcmp(name, "in a folder that closes")) execat(open("/t", O_PATH | O_CLOEXEC), machine, argv, 0);
    if (!strcmp(name, "at the working directory")) { chdir("/t"); execat(AT_FDCWD, machine, argv, 0); }
    if (!strcmp(name, "at a folder of no matter")) execat(-77, me, argv, 0);
    if (!strcmp(name, "at no folder")) execat(-77, machine, argv, 0);
    if (!strcmp(name, "empty path")) execat(AT_FDCWD, "", argv, 0);
    if (!strcmp(name, "no link is followed")) { sprintf(path, "/t/link-%s", machine); execat(AT_FDCWD, path, argv, AT_SYMLINK_NOFOLLOW); }
    if (!strcmp(name, "no link is there")) execat(AT_FDCWD, me, argv, AT_SYMLINK_NOFOLLOW);
    if (!strcmp(name, "unknown flag")) execat(AT_FDCWD, me, argv, 0x4000000);
    if (!strcmp(name, "file in memory")) {
        int in = open(me, O_RDONLY), out = syscall(SYS_memfd_create, "made", 0), count;
        char buffer[65536];
        while ((count = read(in, buffer, sizeof buffer)) > 0) write(out, buffer, count);
        close(in);
        sprintf(path, "/proc/self/fd/%d", out);
        execv(path, argv);
    }
    if (!strcmp(name, "made a moment ago")) {
        int in = open(me, O_RDONLY), out = open("/made", O_WRONLY | O_CREAT | O_TRUNC, 0755), count;
        char buffer[65536];
        while ((count = read(in, buffer, sizeof buffer)) > 0) write(out, buffer, count);
        close(in), close(out);
        execv("/made", argv);
    }
    if (!strcmp(name, "missing")) execv("/t/none", argv);
    if (!strcmp(name, "empty name")) execv("", argv);
    if (!strcmp(name, "beneath a file")) { sprintf(path, "/t/%s/x", machine); execv(path, argv); }
    if (!strcmp(name, "with a slash behind")) { sprintf(path, "/t/%s/", machine); execv(path, argv); }
    if (!strcmp(name, "folder")) execv("/t", argv);
    if (!strcmp(name, "device")) execv("/dev/null", argv);
    if (!strcmp(name, "closed")) { sprintf(path, "/t/closed/%s", machine); execv(path, argv); }
    if (!strcmp(name, "no kind")) execv("/t/text", argv);
    if (!strcmp(name, "nothing in it")) execv("/t/nothing", argv);
    if (!strcmp(name, "links without an end")) execv("/t/circle", argv);
    if (!strcmp(name, "long name")) { memset(path, 'x', 300); path[0] = '/'; path[300] = 0; execv(path, argv); }
    if (!strcmp(name, "long path")) { for (int i = 0; i < 4095; i++) path[i] = i % 2 ? 'x' : '/'; path[4095] = 0; execv(path, argv);  }
    if (!strcmp(name, "path too long")) { char *long_path = malloc(5000); memset(long_path, '/', 4999); long_path[4999] = 0; execv(long_path, argv); }
    if (!strcmp(name, "no exec mount")) {
        int in = open(me, O_RDONLY), out = open("/dev/shm/made", O_WRONLY | O_CREAT | O_TRUNC, 0755), count;
        char buffer[65536];
        while ((count = read(in, buffer, sizeof buffer)) > 0) write(out, buffer, count);
        close(in), close(out);
        execv("/dev/shm/made", argv);
    }
    if (!strcmp(name, "being written")) { open(me, O_WRONLY | O_APPEND); execv(me, argv); }
    if (!strcmp(name, "interpreter being written")) { open(me, O_WRONLY | O_APPEND); execv(in_scripts("script"), argv); }
    if (!strcmp(name, "bad address")) syscall(SYS_execve, (char *)8, argv, environ);
    if (!strcmp(name, "bad arguments")) syscall(SYS_execve, me, (char *)8, environ);
    if (!strcmp(name, "setuid")) { char *words[] = {"zero", "ids", NULL}; sprintf(path, "/t/setuid-%s", machine); execv(path, words); }
    if (!strcmp(name, "exe")) { char *words[] = {"zero", "exe", NULL}; execv(me, words); }
    if (!strcmp(name, "comm")) { char *words[] = {"zero", "comm", NULL}; sprintf(path, "/t/name-longer-than-fifteen-%s", machine); execv(path, words); }
    if (!strcmp(name, "closes what is to be closed")) {
        int gone = open("/t", O_RDONLY | O_CLOEXEC), kept = open("/t", O_RDONLY);
        char *words[] = {"zero", "descriptors", script, path, NULL};
        sprintf(script, "%d", gone), sprintf(path + 2048, "%d", kept);
        words[3] = path + 2048;
        execv(me, words);
    }
    if (!strcmp(name, "many arguments")) {
        int count = 30000;
        char **words = calloc(count + 1, sizeof *words);
        for (int i = 0; i < count; i++) words[i] = "w";
        words[1] = "count";
        execv(me, words);
    }
    if (!strcmp(name, "long argument")) {
        char *words[] = {"zero", "lengths", malloc(100001), NULL};
        memset(words[2], 'x', 100000), words[2][100000] = 0;
        execv(me, words);
    }
    if (!strcmp(name, "too long an argument")) {
        char *words[] = {"zero", "lengths", malloc(200001), NULL};
        memset(words[2], 'x', 200000), words[2][200000] = 0;
        execv(me, words);
    }
    if (!strcmp(name, "too many arguments")) {
        int count = 600000;
        char **words = calloc(count + 1, sizeof *words);
        for (int i = 0; i < count; i++) words[i] = "too many of these";
        execv(me, words);
    }
    if (!strcmp(name, "thread")) {
        pthread_t thread;
        pthread_create(&thread, NULL, wait_for_ever, NULL);
        pthread_create(&thread, NULL, in_thread, (char *[]){me, "args", "", "a b", NULL});
        for (;;) pause();
    }
    if (!strcmp(name, "first of threads")) {
        pthread_t thread;
        pthread_create(&thread, NULL, wait_for_ever, NULL);
        execv(me, argv);
    }
    if (!strcmp(name, "vfork")) {
        volatile int before = 1234;
        pid_t child = vfork();
        if (child == 0) { execv(me, argv); _exit(99); }
        int status;
        waitpid(child, &status, 0);
        printf("%d, status %d\n", before, WEXITSTATUS(status));
        fflush(stdout), _exit(0);
    }
    if (!strcmp(name, "spawn")) {
        pid_t child;
        int error = posix_spawn(&child, me, NULL, NULL, argv, environ), status;
        waitpid(child, &status, 0);
        printf("%d, status %d\n", error, WEXITSTATUS(status));
        error = posix_spawn(&child, "/t/none", NULL, NULL, argv, environ);
        printf("%s\n", strerrorname_np(error));
        fflush(stdout), _exit(0);
    }
    if (!strcmp(name, "stopped and continued")) {
        char *words[] = {"zero", "stop", NULL};
        pid_t child = fork();
        if (child == 0) { execv(me, words); _exit(99); }
        int status;
        waitpid(child, &status, WUNTRACED);
        printf("stopped %d\n", WIFSTOPPED(status) ? WSTOPSIG(status) == SIGSTOP : -1);
        kill(child, SIGCONT);
        waitpid(child, &status, WCONTINUED);
        printf("continued %d\n", !!WIFCONTINUED(status));
        kill(child, SIGUSR1);
        waitpid(child, &status, 0);
        printf("exited %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
        fflush(stdout), _exit(0);
    }
    if (!strcmp(name, "killed")) {
        for (int number = 0; number < 3; number++) {
            char *words[] = {"zero", "die", number == 0 ? "term" : number == 1 ? "kill" : "fault", NULL};
            pid_t child = fork();
            if (child == 0) { execv(me, words); _exit(99); }
            int status;
            waitpid(child, &status, 0);
            printf("%s %s\n", words[2], WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : "no");
        }
        fflush(stdout), _exit(0);
    }
    if (!strcmp(name, "signals while executing")) {
        signal(SIGUSR1, SIG_IGN);
        int status, wrong = 0;
        for (int turn = 0; turn < 20; turn++) {
            pid_t child = fork();
            if (child == 0) { char *words[] = {"zero", "exit", "5", NULL}; execv(me, words); _exit(99); }
            for (int i = 0; i < 200; i++) kill(child, SIGUSR1), kill(child, SIGCONT), sched_yield();
            waitpid(child, &status, 0);
            wrong += !WIFEXITED(status) || WEXITSTATUS(status) != 5;
        }
        printf("%d wrong\n", wrong);
        fflush(stdout), _exit(0);
    }
    if (!strcmp(name, "killed while executing")) {
        int status;
        for (int turn = 0; turn < 12; turn++) {
            pid_t child = fork();
            if (child == 0) for (;;) if (fork() == 0) execv(me, (char *[]){"zero", "exit", "0", NULL}); else wait(NULL);
            for (int i = 0; i < turn * 60; i++) sched_yield();
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            if (!WIFSIGNALED(status)) printf("not killed\n");
        }
        printf("all killed\n");
        fflush(stdout), _exit(0);
    }
    if (!strcmp(name, "pipe")) {
        int ends[2], status;
        pipe(ends);
        pid_t from = fork();
        if (from == 0) { dup2(ends[1], 1); close(ends[0]), close(ends[1]); execv(me, (char *[]){"zero", "pour", "3000000", NULL}); _exit(99); }
        pid_t to = fork();
        if (to == 0) { dup2(ends[0], 0); close(ends[0]), close(ends[1]); execv(me, (char *[]){"zero", "drain", NULL}); _exit(99); }
        close(ends[0]), close(ends[1]);
        waitpid(from, &status, 0), waitpid(to, &status, 0);
        fflush(stdout), _exit(0);
    }
    if (!strcmp(name, "at once")) {
        int status, right = 0;
        for (int i = 0; i < 60; i++) if (fork() == 0) { execv(me, (char *[]){"zero", "exit", "6", NULL}); _exit(99); }
        while (wait(&status) > 0) right += WIFEXITED(status) && WEXITSTATUS(status) == 6;
        printf("%d right\n", right);
        fflush(stdout), _exit(0);
    }
    printf("%s\n", reason());
    fflush(stdout);
    _exit(1);
}

static const char *all[] = {
    "plain", "relative", "dots", "search", "link", "no environment", "no arguments", "null arguments", "self", "script",
    "script with an argument", "script of scripts", "scripts as deep as may be", "scripts too deep", "scripts much too deep",
    "script that names itself", "script by a relative path", "script through env", "script without an interpreter",
    "script with a closed interpreter", "script that is empty", "closed script", "descriptor", "descriptor that closes",
    "path descriptor", "descriptor of a script", "descriptor of a script that closes", "in a folder", "in a folder that closes",
    "at the working directory", "at a folder of no matter", "at no folder", "empty path", "no link is followed",
    "no link is there", "unknown flag", "file in memory", "made a moment ago", "missing", "empty name", "beneath a file",
    "with a slash behind", "folder", "device", "closed", "no kind", "nothing in it", "links without an end", "long name", "long path",
    "path too long", "no exec mount", "being written", "interpreter being written", "bad address", "bad arguments", "setuid", "exe", "comm",
    "closes what is to be closed", "many arguments", "long argument", "too long an argument", "too many arguments", "thread",
    "first of threads", "vfork", "spawn", "stopped and continued", "killed", "signals while executing", "killed while executing",
    "pipe", "at once", NULL};

int main(int argc, char **argv) {
    const char *word = argc > 1 ? argv[1] : "";
    if (argc > 0 && strstr(argv[0], "/env-")) {
        /* As env(1), for `#!` lines. */
        setenv("PATH", "/t", 1);
        execvp(argv[1], argv + 1);
        printf("env: %s\n", reason());
    } else if (!strcmp(word, "args") || !*word || strpbrk(word, "/ ")) {
        struct utsname name;
        uname(&name);
        printf("%s", name.machine);
        for (int i = 0; i < argc; i++) printf(" [%s]", argv[i]);
        printf("%s\n", environ[0] ? "" : " no environment");
    } else if (!strcmp(word, "exit")) return atoi(argv[2]);
    else if (!strcmp(word, "ids")) printf("uid %d euid %d\n", getuid(), geteuid());
    else if (!strcmp(word, "count")) printf("%d [%s] [%s]\n", argc, argv[0], argv[argc - 1]);
    else if (!strcmp(word, "lengths")) printf("%zu\n", strlen(argv[2]));
    else if (!strcmp(word, "stop")) { signal(SIGUSR1, leave); raise(SIGSTOP); for (;;) pause(); }
    else if (!strcmp(word, "descriptors")) printf("%d %d\n", fcntl(atoi(argv[2]), F_GETFD), fcntl(atoi(argv[3]), F_GETFD));
    else if (!strcmp(word, "exe")) {
        char link[4096] = "";
        readlink("/proc/self/exe", link, sizeof link - 1);
        puts(link);
    } else if (!strcmp(word, "comm")) {
        char name[64] = "";
        int file = open("/proc/self/comm", O_RDONLY);
        read(file, name, sizeof name - 1);
        fputs(name, stdout);
    } else if (!strcmp(word, "die")) {
        if (argv[2][0] == 't') raise(SIGTERM);
        if (argv[2][0] == 'k') raise(SIGKILL);
        *(volatile int *)8 = 1;
    } else if (!strcmp(word, "pour")) {
        char *buffer = malloc(1000);
        memset(buffer, 'p', 1000);
        for (int i = atoi(argv[2]) / 1000; i > 0; i--) if (write(1, buffer, 1000) != 1000) return 3;
    } else if (!strcmp(word, "drain")) {
        char buffer[4096];
        long total = 0, count;
        while ((count = read(0, buffer, sizeof buffer)) > 0) total += count;
        printf("drained %ld\n", total);
    } else if (!strcmp(word, "storm")) {
        int right = 0, status;
        for (int i = atoi(argv[2]); i > 0; i--) {
            pid_t child = fork();
            if (child == 0) { execv(argv[3], (char *[]){argv[3], "exit", "4", NULL}); _exit(99); }
            waitpid(child, &status, 0);
            right += WIFEXITED(status) && WEXITSTATUS(status) == 4;
        }
        printf("%d\n", right);
    } else if (!strcmp(word, "orphan")) {
        if (fork() == 0) { setsid(); if (fork() == 0) { signal(SIGHUP, nothing); puts("ready"); fflush(stdout); for (;;) execv(argv[2], (char *[]){argv[2], "sleep", NULL}); } _exit(0); }
        wait(NULL);
        for (;;) pause();
    } else if (!strcmp(word, "sleep")) for (;;) pause();
    else if (!strcmp(word, "threads")) {
        /* Many threads, each of which starts programs, in one memory (posix_spawn) and in copies of it (fork). */
        pthread_t threads[8];
        for (int i = 0; i < 8; i++) pthread_create(&threads[i], NULL, starts, argv[2]);
        long right = 0;
        for (int i = 0; i < 8; i++) { void *count; pthread_join(threads[i], &count); right += (long)count; }
        printf("%ld\n", right);
    }
    else if (!strcmp(word, "race")) {
        /* All threads of a process execute a program at the same moment, and one of them wins. */
        int right = 0, status;
        for (int i = atoi(argv[2]); i > 0; i--) {
            pid_t child = fork();
            if (child == 0) {
                char *words[] = {argv[3], "exit", "4", NULL};
                pthread_t thread;
                pthread_barrier_init(&begin, NULL, 8);
                for (int j = 0; j < 7; j++) pthread_create(&thread, NULL, races, words);
                races(words);
            }
            waitpid(child, &status, 0);
            right += ended_well("race", status);
        }
        printf("%d\n", right);
    }
    else if (!strcmp(word, "root")) { if (chroot("/c") || chdir("/")) return 9; execv(argv[2], (char *[]){"zero", "args", NULL}); printf("%s\n", reason()); }
    else if (!strcmp(word, "case")) { machine = argv[2]; one(argv[3]); }
    else if (!strcmp(word, "cases")) {
        for (char **next = argv + 2; *next; next++)
        for (const char **name = all; *name; name++) {
            machine = *next;
            printf("%s: ", *name);
            fflush(stdout);
            int status;
            pid_t child = fork();
            if (child == 0) one(*name);
            waitpid(child, &status, 0);
            if (WIFSIGNALED(status)) printf("signal %s\n", sigabbrev_np(WTERMSIG(status)));
            fflush(stdout);
        }
    } else return 98;
    return 0;
}
