/* 64-bit PowerPC, little-endian, ELFv2: a function finds its table of addresses by its own address in r12. */
NUMBERS(11, 4, 1, 120, 114, 37, 174, 176, 20, 57, 54)
#define TIOCSPGRP 0x80047476
#define START(function) __asm__(".globl _start\n_start: mr 3,1\n\taddi 1,1,-" ROOM "\n\tbcl 20,31,1f\n1:\tmflr 12\n\t" \
    "addis 12,12,(" #function "-1b)@ha\n\taddi 12,12,(" #function "-1b)@l\n\tmtctr 12\n\tbctrl");
static long call(long n, long a, long b, long c, long d) {
    register long r0 __asm__("r0") = n; register long r3 __asm__("r3") = a; register long r4 __asm__("r4") = b;
    register long r5 __asm__("r5") = c; register long r6 __asm__("r6") = d;
    __asm__ volatile("sc\n\tbns 1f\n\tneg 3,3\n1:" : "+r"(r0), "+r"(r3), "+r"(r4), "+r"(r5), "+r"(r6) :
        : "r7", "r8", "r9", "r10", "r11", "r12", "cr0", "ctr", "memory");
    return r3;
}
