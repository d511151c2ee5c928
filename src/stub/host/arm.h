/* ARM from v5 on, EABI. */
NUMBERS(11, 4, 1, 120, 114, 37, 175, 177, 20, 57, 54)
#define TIOCSPGRP 0x5410
#define START(function) __asm__(".globl _start\n_start: mov r0,sp\n\tsub sp,sp,#" ROOM "\n\tbl " #function);
static long call(long n, long a, long b, long c, long d) {
    register long r7 __asm__("r7") = n; register long r0 __asm__("r0") = a; register long r1 __asm__("r1") = b;
    register long r2 __asm__("r2") = c; register long r3 __asm__("r3") = d;
    __asm__ volatile("svc #0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2), "r"(r3) : "memory");
    return r0;
}
