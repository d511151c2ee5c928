/* 64-bit RISC-V, of which no more than the base is used. */
NUMBERS(221, 64, 93, 220, 260, 129, 135, 137, 172, 154, 29)
#define TIOCSPGRP 0x5410
#define START(function) __asm__(".globl _start\n_start: mv a0,sp\n\tli t0," ROOM "\n\tsub sp,sp,t0\n\tjal " #function);
static long call(long n, long a, long b, long c, long d) {
    register long a7 __asm__("a7") = n; register long a0 __asm__("a0") = a; register long a1 __asm__("a1") = b;
    register long a2 __asm__("a2") = c; register long a3 __asm__("a3") = d;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3) : "memory");
    return a0;
}
