/* 64-bit IBM Z. A caller leaves 160 bytes above the stack pointer for the function; clone has its first two arguments
 * the other way round. */
NUMBERS(11, 4, 1, 120, 114, 37, 175, 177, 20, 57, 54)
#define TIOCSPGRP 0x5410
#define FORK(call, flags) call(NR_clone, 0, flags, 0, 0)
#define START(function) __asm__(".globl _start\n_start: lgr %r2,%r15\n\taghi %r15,-" ROOM "-160\n\tbrasl %r14," #function);
static long call(long n, long a, long b, long c, long d) {
    register long r1 __asm__("r1") = n; register long r2 __asm__("r2") = a; register long r3 __asm__("r3") = b;
    register long r4 __asm__("r4") = c; register long r5 __asm__("r5") = d;
    __asm__ volatile("svc 0" : "+d"(r2) : "d"(r1), "d"(r3), "d"(r4), "d"(r5) : "cc", "memory");
    return r2;
}
