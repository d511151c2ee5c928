/* 32-bit MIPS of both byte orders, o32: a caller leaves 16 bytes above the stack pointer for the function. */
NUMBERS(4011, 4004, 4001, 4120, 4114, 4037, 4195, 4197, 4020, 4057, 4054)
#define TIOCSPGRP 0x80047476
#define SIGCHLD 18
#define SIGPWR 19
#define SIGSET_SIZE 16
#define SIG_SETMASK 3
#define START(function) __asm__(".set noreorder\n.globl _start\n_start: move $4,$29\n\taddiu $29,$29,-" ROOM "-16\n\t" \
    "jal " #function "\n\tnop\n.set reorder");
static long call(long n, long a, long b, long c, long d) {
    register long r2 __asm__("$2") = n; register long r4 __asm__("$4") = a; register long r5 __asm__("$5") = b;
    register long r6 __asm__("$6") = c; register long r7 __asm__("$7") = d;
    __asm__ volatile("syscall" : "+r"(r2), "+r"(r7) : "r"(r4), "r"(r5), "r"(r6)
        : "$1", "$3", "$8", "$9", "$10", "$11", "$12", "$13", "$14", "$15", "$24", "$25", "hi", "lo", "memory");
    return r7 ? -r2 : r2;
}
