/* The guest program that `polyarch emulator verify` runs: it reads one letter, does the check that it stands for, writes
 * what it found, and exits with status 0. It needs no C library, and what it writes is judged by who runs it. */

#include "machine.h"

#ifdef WITHOUT_DIVISION
/* Where the machine has no instruction for it, and the compiler no library. */
static __attribute__((noinline)) unsigned quotient(unsigned a, unsigned b) {
    unsigned quotient = 0, rest = 0;
    for (int bit = 31; bit >= 0; bit--) {
        rest = rest << 1 | (a >> bit & 1);
        if (rest >= b) { rest -= b; quotient |= 1u << bit; }
    }
    return quotient;
}
#else
static inline unsigned quotient(unsigned a, unsigned b) { return a / b; }
#endif

#ifdef WITHOUT_WIDE
/* The same for multiplication to 64 bits. */
unsigned long long __muldi3(unsigned long long a, unsigned long long b) {
    unsigned long long product = 0;
    for (; b; a <<= 1, b >>= 1) if (b & 1) product += a;
    return product;
}
#endif

__attribute__((noreturn, used)) void thread_main(void);

CALL(call, "")
CALL(fork_call, FORK)
CALL(thread_call, THREAD)

static char text[400];
static unsigned length;

static void put(char letter) { if (length < sizeof text) text[length++] = letter; }
static void hex(unsigned value) { for (int shift = 28; shift >= 0; shift -= 4) put("0123456789abcdef"[value >> shift & 15]); }

static __attribute__((noreturn)) void end(long status) {
    for (;;) call(NR_exit, status, 0, 0, 0, 0);
}

/* The same sums are made by who runs this. */
static void arithmetic(void) {
    volatile unsigned start = 0x2545f491;
    unsigned x = start, sum = 0;
    int negative = -(int)(x >> 1);
    unsigned long long wide = (unsigned long long)x << 29 | x;
    for (unsigned i = 1; i <= 1000; i++) {
        x = x * 1664525u + 1013904223u;
        sum = (sum << 5 | sum >> 27) ^ quotient(x, i | 1);
        sum += x - quotient(x, i + 7) * (i + 7);
        negative = (negative >> 1) - (int)(x >> 3);
        sum ^= (unsigned)negative;
        wide = wide * 6364136223846793005ull + x;
        wide ^= wide >> 23;
    }
    hex(sum);
    hex((unsigned)(wide >> 32));
    hex((unsigned)wide);
}

static volatile int handled;
__attribute__((used)) void handler(int signal);
void handler(int signal) { handled = signal == SIGUSR1 ? 1 : 2; }

static void signals(void) {
    static struct action act = ACTION(handler, RESTORER);
    long set = SIGACTION(call, SIGUSR1, &act);
    long sent = call(NR_kill, call(NR_getpid, 0, 0, 0, 0, 0), SIGUSR1, 0, 0, 0);
    /* It is delivered before the call returns. */
    put(set == 0 && sent == 0 && handled == 1 ? 'y' : 'n');
}

static volatile unsigned from_thread;
static volatile unsigned for_thread;
static char stack[16384] __attribute__((aligned(64)));

void thread_main(void) {
    from_thread = for_thread + 1;
    end(0);
}

static void thread(void) {
    /* VM, FS, FILES, SIGHAND, THREAD and SYSVSEM, as every C library asks for. */
    const long flags = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000;
    for_thread = 0x7ead;
#ifdef STACK_UP
    char *top = stack + STACK_ROOM;
#else
    char *top = stack + sizeof stack - STACK_ROOM;
#endif
    if (CLONE(thread_call, flags, top) <= 0) { put('n'); return; }
    unsigned seen = 0;
    while (seen == 0) {
        call(NR_sched_yield, 0, 0, 0, 0, 0);
        seen = from_thread;
        /* GCC 12 loses the comparison with a volatile variable on SH-4. */
        __asm__ volatile("" : "+r"(seen));
    }
    put(seen == 0x7eae ? 'y' : 'n');
}

static void fork(void) {
    static volatile int mine = 1;
    long child = CLONE(fork_call, SIGCHLD, 0);
    if (child == 0) {
        mine = 2;
        end(mine + 40);
    }
#ifdef WITHOUT_WAIT4
    /* waitid(P_PID, child, info, WEXITED). */
    static int info[32];
    long gone = child > 0 && call(95, 1, child, (long)info, 4, 0) == 0 && info[3] == child ? child : -1;
    int status = info[5] << 8;
#else
    int status = 0;
    long gone = child > 0 ? call(NR_wait4, child, (long)&status, 0, 0, 0) : -1;
#endif
    put(child > 0 && gone == child && status == 42 << 8 && mine == 1 ? 'y' : 'n');
}

static void names(void) {
    static char fields[6 * 65];
    if (call(NR_uname, (long)fields, 0, 0, 0, 0) != 0) { put('n'); return; }
    for (unsigned i = 4 * 65; i < 5 * 65 && fields[i]; i++) put(fields[i]);
}

#ifdef NEEDS_START
__attribute__((noreturn)) void start(void)
#else
#if defined(__x86_64__) || defined(__i386__)
__attribute__((force_align_arg_pointer))
#endif
__attribute__((noreturn)) void _start(void)
#endif
{
    char letter = 0;
    call(NR_read, 0, (long)&letter, 1, 0, 0);
    switch (letter) {
    case 'a': arithmetic(); break;
    case 's': signals(); break;
    case 't': thread(); break;
    case 'f': fork(); break;
    case 'u': names(); break;
    default: end(3);
    }
    put('\n');
    end(call(NR_write, 1, (long)text, length, 0, 0) == (long)length ? 0 : 4);
}
