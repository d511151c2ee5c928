/* 32-bit x86, as far back as the i486. Functions get their argument in a register (-mregparm=3). */
NUMBERS(11, 4, 1, 120, 114, 37, 175, 177, 20, 57, 54)
#define TIOCSPGRP 0x5410
#define START(function) __asm__(".globl _start\n_start: mov %esp,%eax\n\tsub $" ROOM ",%esp\n\tand $-16,%esp\n\tcall " #function);
static long call(long n, long a, long b, long c, long d) {
    long r0 = n;
    __asm__ volatile("int $0x80" : "+a"(r0) : "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
    return r0;
}
