/* 64-bit ARM. */
NUMBERS(221, 64, 93, 220, 260, 129, 135, 137, 172, 154, 29)
enum { NR_unlinkat = 35 };
#define TIOCSPGRP 0x5410
#define START(function) __asm__(".globl _start\n_start: mov x0,sp\n\tsub sp,sp,#" ROOM "\n\tbl " #function);
static long call(long n, long a, long b, long c, long d) {
    register long x8 __asm__("x8") = n; register long x0 __asm__("x0") = a; register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c; register long x3 __asm__("x3") = d;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}
