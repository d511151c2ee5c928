/* 64-bit x86. The stack is aligned to 16 bytes where a process starts; a call instruction takes 8. */
NUMBERS(59, 1, 60, 56, 61, 62, 14, 128, 39, 109, 16)
enum { NR_unlinkat = 263 };
#define TIOCSPGRP 0x5410
#define START(function) __asm__(".globl _start\n_start: mov %rsp,%rdi\n\tsub $" ROOM ",%rsp\n\tcall " #function);
static long call(long n, long a, long b, long c, long d) {
    register long r0 __asm__("rax") = n; register long r1 __asm__("rdi") = a; register long r2 __asm__("rsi") = b;
    register long r3 __asm__("rdx") = c; register long r4 __asm__("r10") = d;
    __asm__ volatile("syscall" : "+r"(r0) : "r"(r1), "r"(r2), "r"(r3), "r"(r4) : "rcx", "r11", "memory");
    return r0;
}
