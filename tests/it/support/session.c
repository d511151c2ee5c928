/* A program for tests of terminals, signals and pipes: it does one small thing for each word that it is given. */

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static pid_t job;
static volatile sig_atomic_t resized, got;

/* Told here, for it may come a moment before the next line is waited for. */
static void on_resize(int signal) {
    (void)signal;
    resized = 1;
    if (write(1, "resized> ", 9) != 9) _exit(51);
}
static void on_signal(int signal) { got = signal; }

static const char *name(int signal) {
    switch (signal) {
    case SIGINT: return "INT";
    case SIGQUIT: return "QUIT";
    case SIGTSTP: return "TSTP";
    default: return "another";
    }
}

/* As a shell waits for the job in its foreground. */
static void attend(void) {
    int status;
    tcsetpgrp(0, job);
    waitpid(job, &status, WUNTRACED);
    tcsetpgrp(0, getpgrp());
    if (WIFSTOPPED(status)) printf("stopped %s\n", name(WSTOPSIG(status)));
    else if (WIFSIGNALED(status)) printf("killed %s\n", name(WTERMSIG(status)));
    else printf("exited %d\n", WEXITSTATUS(status));
}

/* A shell with one job. */
static int shell(void) {
    signal(SIGTTOU, SIG_IGN);
    signal(SIGTSTP, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
    struct sigaction action = { .sa_handler = on_resize };
    sigaction(SIGWINCH, &action, NULL);
    char line[100];
    for (;;) {
        printf("ready> ");
        fflush(stdout);
        while (!fgets(line, sizeof line, stdin)) {
            if (!resized) return 50;
            resized = 0;
            clearerr(stdin);
        }
        if (!strncmp(line, "exit ", 5)) return atoi(line + 5);
        if (!strcmp(line, "size\n")) {
            struct winsize size;
            ioctl(0, TIOCGWINSZ, &size);
            printf("%d rows %d columns\n", size.ws_row, size.ws_col);
        } else if (!strcmp(line, "where\n")) {
            struct stat in, console;
            fstat(0, &in);
            stat("/dev/console", &console);
            int own = open("/dev/tty", O_RDWR);
            printf("%s session %d own %d console %d mine %d\n", ttyname(0), getsid(0) == getpid(), own >= 0,
                   in.st_rdev == console.st_rdev, in.st_uid == getuid());
            close(own);
        } else if (!strcmp(line, "run\n")) {
            job = fork();
            if (job == 0) {
                setpgid(0, 0);
                tcsetpgrp(0, getpid());
                signal(SIGINT, SIG_DFL);
                signal(SIGQUIT, SIG_DFL);
                signal(SIGTSTP, SIG_DFL);
                puts("running");
                fflush(stdout);
                for (;;) pause();
            }
            setpgid(job, job);
            attend();
        } else if (!strcmp(line, "fg\n")) {
            tcsetpgrp(0, job);
            puts("continued");
            fflush(stdout);
            kill(-job, SIGCONT);
            attend();
        }
    }
}

static int copy(void) {
    static char buffer[1 << 16];
    ssize_t count;
    while ((count = read(0, buffer, sizeof buffer)) > 0)
        for (ssize_t done = 0; done < count;) {
            ssize_t wrote = write(1, buffer + done, count - done);
            if (wrote < 0) return 9;
            done += wrote;
        }
    return count < 0 ? 8 : 0;
}

static void wait_for_ever(void) {
    puts("ready");
    fflush(stdout);
    for (;;) pause();
}

int main(int argc, char **argv) {
    const char *word = argc > 1 ? argv[1] : "";
    int number = argc > 2 ? atoi(argv[2]) : 0;
    if (!strcmp(word, "shell")) return shell();
    if (!strcmp(word, "copy")) return copy();
    if (!strcmp(word, "exit")) return number;
    if (!strcmp(word, "raise")) { raise(number); return 3; }
    if (!strcmp(word, "wait")) wait_for_ever();
    if (!strcmp(word, "catch")) {
        /* Each signal once by number, from wherever it comes. */
        for (int signal = 1; signal < NSIG; signal++) {
            struct sigaction action = { .sa_handler = on_signal };
            if (signal != SIGSEGV && signal != SIGCHLD) sigaction(signal, &action, NULL);
        }
        puts("ready");
        fflush(stdout);
        sigset_t none, all;
        sigemptyset(&none);
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, NULL);
        while (!got) sigsuspend(&none);
        printf("%d\n", (int)got);
        return 0;
    }
    if (!strcmp(word, "flood")) {
        /* The last byte is written in the moment of its end. */
        static char piece[4096];
        for (unsigned at = 0; at < sizeof piece; at++) piece[at] = 'a' + at % 26;
        for (int left = number; left > 0; left -= sizeof piece)
            for (int done = 0, all = left < (int)sizeof piece ? left : (int)sizeof piece; done < all;) {
                ssize_t wrote = write(1, piece + done, all - done);
                if (wrote < 0) _exit(9);
                done += wrote;
            }
        _exit(5);
    }
    if (!strcmp(word, "endless")) for (;;) if (write(1, word, 7) < 0) return errno == EPIPE ? 32 : errno == EIO ? 5 : 99;
    if (!strcmp(word, "streams")) {
        for (int at = 0; at < 3; at++) printf("%d", isatty(at));
        printf(" %zd %s\n", read(0, &word, 1), getenv("TERM") ? getenv("TERM") : "-");
        for (int at = 3; at < 1024; at++) if (fcntl(at, F_GETFD) >= 0) printf("descriptor %d is open\n", at);
    }
    if (!strcmp(word, "close")) {
        /* Lets go of one stream and lives on until the other moves. */
        close(number);
        char byte;
        if (number == 1) return read(0, &byte, 1) == 1 ? 0 : 7;
        wait_for_ever();
    }
    if (!strcmp(word, "fetch")) {
        /* One connection; what comes over it. */
        struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[3])) };
        inet_pton(AF_INET, argv[2], &to.sin_addr);
        int connection = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(connection, (struct sockaddr *)&to, sizeof to)) { puts(errno == ECONNREFUSED || errno == ENETUNREACH ? "unreachable" : strerror(errno)); return 1; }
        if (write(connection, "GET /file HTTP/1.0\r\n\r\n", 22) != 22) return 2;
        dup2(connection, 0);
        return copy();
    }
    if (!strcmp(word, "serve")) {
        /* Greets who comes first, over a stream or by a datagram. */
        int udp = argc > 3;
        struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(number) };
        int listener = socket(AF_INET, udp ? SOCK_DGRAM : SOCK_STREAM, 0);
        if (bind(listener, (struct sockaddr *)&at, sizeof at)) { puts(strerror(errno)); return 1; }
        if (!udp) listen(listener, 1);
        puts("ready");
        fflush(stdout);
        char byte;
        if (udp) {
            struct sockaddr_in from;
            socklen_t size = sizeof from;
            recvfrom(listener, &byte, 1, 0, (struct sockaddr *)&from, &size);
            return sendto(listener, "hello\n", 6, 0, (struct sockaddr *)&from, size) != 6;
        }
        int connection = accept(listener, NULL, NULL);
        return write(connection, "hello\n", 6) != 6;
    }
    if (!strcmp(word, "ping")) {
        int echo = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
        puts(echo >= 0 ? "may ping" : strerror(errno));
    }
    if (!strcmp(word, "read")) {
        int file = open(argv[2], O_RDONLY);
        if (file < 0) { puts(strerror(errno)); return 4; }
        dup2(file, 0);
        return copy();
    }
    if (!strcmp(word, "orphans")) {
        /* Children whose parent ends before them: whose are they then, and does anybody reap them? */
        for (int count = 0; count < number; count++) {
            if (fork() == 0) {
                pid_t grandchild = fork();
                if (grandchild == 0) { while (getppid() != 1) sched_yield(); _exit(0); }
                _exit(0);
            }
            wait(NULL);
        }
        printf("pid %d\n", getpid());
        for (time_t end = time(NULL) + (argc > 3 ? atoi(argv[3]) : 0); time(NULL) <= end; sched_yield()) {
            int left = 0;
            DIR *all = opendir("/proc");
            for (struct dirent *entry; (entry = readdir(all));)
                if (atoi(entry->d_name) > 1 && atoi(entry->d_name) != getpid()) left++;
            closedir(all);
            if (left == 0) { puts("none left"); return 0; }
        }
        puts("some left");
        return 1;
    }
    return 0;
}
