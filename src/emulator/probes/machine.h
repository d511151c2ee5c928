/* What differs from machine to machine: how a system call is made, what its number is, and how a new thread is
 * led to its function. The registers and numbers are those of the Linux kernel for each machine.
 *
 * A machine defines CALL(name, after), which makes a function of a system call with up to five arguments; `after`
 * is assembly that is executed between the call and everything that needs the stack of before. THREAD is that
 * for a clone with a stack of its own: it goes to `thread_main` in the child. FORK is that for a clone without one. */

#define FORK ""
#define STACK_ROOM 256
#define SIGUSR1 10
#define SIGCHLD 17
#define SIGSET_SIZE 8
#define ACTION(handler_, restorer_) { .handler = (handler_) }
struct action { void (*handler)(int); unsigned long flags; void (*restorer)(void); unsigned long mask[4]; };

/* The numbers of the system calls. */
#define NUMBERS(exit, read, write, getpid, kill, wait4, clone, uname, yield, sigaction) enum { NR_exit = exit, \
    NR_read = read, NR_write = write, NR_getpid = getpid, NR_kill = kill, NR_wait4 = wait4, NR_clone = clone, \
    NR_uname = uname, NR_sched_yield = yield, NR_rt_sigaction = sigaction };
/* Those of most older machines, and of all newer ones. */
#define OLD_NUMBERS NUMBERS(1, 3, 4, 20, 37, 114, 120, 122, 158, 174)
#define NEW_NUMBERS NUMBERS(93, 63, 64, 172, 129, 260, 220, 160, 124, 134)

#define ARGUMENTS long n, long a, long b, long c, long d, long e


#if defined(__x86_64__)
NUMBERS(60, 0, 1, 39, 62, 61, 56, 63, 24, 13)
/* The kernel has no way back from a handler here: the program brings one. */
#undef ACTION
#define ACTION(handler_, restorer_) { .handler = (handler_), .flags = 0x04000000, .restorer = (restorer_) }
void restorer(void);
#define RESTORER restorer
__asm__(".globl restorer\nrestorer: mov $15,%eax\n\tsyscall");
/* A function finds its stack as a call instruction leaves it. */
#undef STACK_ROOM
#define STACK_ROOM 264
#define CALL(name, after) static long name(ARGUMENTS) { \
    register long r0 __asm__("rax") = n; register long r1 __asm__("rdi") = a; register long r2 __asm__("rsi") = b; \
    register long r3 __asm__("rdx") = c; register long r4 __asm__("r10") = d; register long r5 __asm__("r8") = e; \
    __asm__ volatile("syscall\n\t" after : "+r"(r0) : "r"(r1), "r"(r2), "r"(r3), "r"(r4), "r"(r5) \
        : "rcx", "r11", "memory"); return r0; }
#define THREAD "test %%rax,%%rax\n\tjz thread_main"

#elif defined(__i386__)
OLD_NUMBERS
#undef STACK_ROOM
#define STACK_ROOM 260
#define CALL(name, after) static long name(ARGUMENTS) { \
    long r0 = n; __asm__ volatile("int $0x80\n\t" after : "+a"(r0) : "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory"); \
    return r0; }
#define THREAD "test %%eax,%%eax\n\tjz thread_main"

#elif defined(__arm__)
OLD_NUMBERS
#define CALL(name, after) static long name(ARGUMENTS) { \
    register long r7 __asm__("r7") = n; register long r0 __asm__("r0") = a; register long r1 __asm__("r1") = b; \
    register long r2 __asm__("r2") = c; register long r3 __asm__("r3") = d; register long r4 __asm__("r4") = e; \
    __asm__ volatile("svc #0\n\t" after : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2), "r"(r3), "r"(r4) : "cc", "memory"); \
    return r0; }
#define THREAD "cmp r0,#0\n\tbeq thread_main"

#elif defined(__aarch64__)
NEW_NUMBERS
#define CALL(name, after) static long name(ARGUMENTS) { \
    register long x8 __asm__("x8") = n; register long x0 __asm__("x0") = a; register long x1 __asm__("x1") = b; \
    register long x2 __asm__("x2") = c; register long x3 __asm__("x3") = d; register long x4 __asm__("x4") = e; \
    __asm__ volatile("svc #0\n\t" after : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "cc", "memory"); \
    return x0; }
#define THREAD "cbz x0, thread_main"

#elif defined(__riscv)
NEW_NUMBERS
#define CALL(name, after) static long name(ARGUMENTS) { \
    register long a7 __asm__("a7") = n; register long a0 __asm__("a0") = a; register long a1 __asm__("a1") = b; \
    register long a2 __asm__("a2") = c; register long a3 __asm__("a3") = d; register long a4 __asm__("a4") = e; \
    __asm__ volatile("ecall\n\t" after : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4) : "memory"); return a0; }
#define THREAD "bnez a0,1f\n\tj thread_main\n1:"

#elif defined(__loongarch__)
NEW_NUMBERS
#define CALL(name, after) static long name(ARGUMENTS) { \
    register long a7 __asm__("$a7") = n; register long a0 __asm__("$a0") = a; register long a1 __asm__("$a1") = b; \
    register long a2 __asm__("$a2") = c; register long a3 __asm__("$a3") = d; register long a4 __asm__("$a4") = e; \
    __asm__ volatile("syscall 0\n\t" after : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4) \
        : "$t0", "$t1", "$t2", "$t3", "$t4", "$t5", "$t6", "$t7", "$t8", "memory"); return a0; }
#define THREAD "bnez $a0,1f\n\tb thread_main\n1:"

#elif defined(__or1k__) || defined(__OR1K__)
NEW_NUMBERS
#define CALL(name, after) static long name(ARGUMENTS) { \
    register long r11 __asm__("r11") = n; register long r3 __asm__("r3") = a; register long r4 __asm__("r4") = b; \
    register long r5 __asm__("r5") = c; register long r6 __asm__("r6") = d; register long r7 __asm__("r7") = e; \
    __asm__ volatile("l.sys 1\n\tl.nop\n\t" after : "+r"(r11), "+r"(r3), "+r"(r4), "+r"(r5), "+r"(r6), "+r"(r7) : \
        : "r8", "r12", "r13", "r15", "r17", "r19", "r21", "r23", "r25", "r27", "r29", "r31", "memory"); return r11; }
#define THREAD "l.sfeqi r11,0\n\tl.bf thread_main\n\tl.nop"

#elif defined(__hexagon__)
NEW_NUMBERS
#define CALL(name, after) static long name(ARGUMENTS) { \
    register long r6 __asm__("r6") = n; register long r0 __asm__("r0") = a; register long r1 __asm__("r1") = b; \
    register long r2 __asm__("r2") = c; register long r3 __asm__("r3") = d; register long r4 __asm__("r4") = e; \
    __asm__ volatile("trap0(#1)\n\t" after : "+r"(r0) : "r"(r6), "r"(r1), "r"(r2), "r"(r3), "r"(r4) : "p0", "memory"); \
    return r0; }
#define THREAD "p0 = cmp.eq(r0,#0)\n\tif (p0) jump thread_main"

#elif defined(__mips__)
#if _MIPS_SIM == _ABIO32
NUMBERS(4001, 4003, 4004, 4020, 4037, 4114, 4120, 4122, 4162, 4194)
/* The fifth argument would be on the stack; nothing here has one. */
#define FIFTH
#else
#if _MIPS_SIM == _ABIN32
NUMBERS(6058, 6000, 6001, 6038, 6060, 6059, 6055, 6061, 6023, 6013)
#else
NUMBERS(5058, 5000, 5001, 5038, 5060, 5059, 5055, 5061, 5023, 5013)
#endif
#define FIFTH , "r"(r8)
#endif
#undef SIGUSR1
#undef SIGCHLD
#undef SIGSET_SIZE
#define SIGUSR1 16
#define SIGCHLD 18
#define SIGSET_SIZE 16
#undef ACTION
#define ACTION(handler_, restorer_) { .handler = (handler_) }
#define action mips_action
struct mips_action { unsigned flags; void (*handler)(int); unsigned long mask[4]; };
#define CALL(name, after) static long name(ARGUMENTS) { \
    register long r2 __asm__("$2") = n; register long r4 __asm__("$4") = a; register long r5 __asm__("$5") = b; \
    register long r6 __asm__("$6") = c; register long r7 __asm__("$7") = d; register long r8 __asm__("$8") = e; (void)r8; \
    __asm__ volatile("syscall\n\t" after : "+r"(r2), "+r"(r7) : "r"(r4), "r"(r5), "r"(r6) FIFTH \
        : "$1", "$3", "$9", "$10", "$11", "$12", "$13", "$14", "$15", "$24", "$25", "hi", "lo", "memory"); \
    return r7 ? -r2 : r2; }
#define THREAD "bnez $2,1f\n\tnop\n\tj thread_main\n\tnop\n1:"

#elif defined(__powerpc__)
NUMBERS(1, 3, 4, 20, 37, 114, 120, 122, 158, 173)
#define CALL(name, after) static long name(ARGUMENTS) { \
    register long r0 __asm__("r0") = n; register long r3 __asm__("r3") = a; register long r4 __asm__("r4") = b; \
    register long r5 __asm__("r5") = c; register long r6 __asm__("r6") = d; register long r7 __asm__("r7") = e; \
    __asm__ volatile("sc\n\tbns+ 2f\n\tneg 3,3\n2:\t" after : "+r"(r0), "+r"(r3), "+r"(r4), "+r"(r5), "+r"(r6), "+r"(r7) : \
        : "r8", "r9", "r10", "r11", "r12", "cr0", "ctr", "memory"); return r3; }
#define THREAD "cmpwi 3,0\n\tbne 1f\n\tb thread_main\n1:"

#elif defined(__s390x__)
OLD_NUMBERS
/* The stack comes before the flags. */
#define CLONE(call, flags, stack) call(NR_clone, (long)(stack), flags, 0, 0, 0)
#define CALL(name, after) static long name(ARGUMENTS) { \
    register long r1 __asm__("r1") = n; register long r2 __asm__("r2") = a; register long r3 __asm__("r3") = b; \
    register long r4 __asm__("r4") = c; register long r5 __asm__("r5") = d; register long r6 __asm__("r6") = e; \
    __asm__ volatile("svc 0\n\t" after : "+r"(r2) : "r"(r1), "r"(r3), "r"(r4), "r"(r5), "r"(r6) : "cc", "memory"); \
    return r2; }
#define THREAD "ltgr %%r2,%%r2\n\tjz thread_main"

#elif defined(__sparc__)
NUMBERS(1, 3, 4, 20, 37, 7, 217, 189, 245, 102)
#undef SIGUSR1
#undef SIGCHLD
#define SIGUSR1 30
#define SIGCHLD 20
#ifdef __arch64__
#define TRAP "ta 0x6d"
#define FLUSH "flushw"
#define BRANCH "bcc,pt %%xcc,2f"
/* The stack pointer is 2,047 bytes below the stack. */
#undef STACK_ROOM
#define STACK_ROOM (256 + 2047)
#else
#define TRAP "ta 0x10"
#define FLUSH "ta 3"
#define BRANCH "bcc 2f"
#endif
/* The signal's way back is the fourth argument of rt_sigaction, the size the fifth. Handlers return to eight bytes
 * behind the address that they are given. */
#define SIGACTION(call, signal, act) call(NR_rt_sigaction, signal, (long)(act), 0, (long)restorer - 8, SIGSET_SIZE)
void restorer(void);
/* SA_SIGINFO, without which the frame is that of the older sigreturn. */
#undef ACTION
#define ACTION(handler_, restorer_) { .handler = (handler_), .flags = 0x200 }
__asm__(".globl restorer\n.align 4\nrestorer: mov 101,%g1\n\t" TRAP "\n\tnop");
/* The register windows of the parent must be on its stack before there is a child. In the child, %o1 is not zero. */
#define CALL(name, after) static long name(ARGUMENTS) { \
    register long g1 __asm__("g1") = n; register long o0 __asm__("o0") = a; register long o1 __asm__("o1") = b; \
    register long o2 __asm__("o2") = c; register long o3 __asm__("o3") = d; register long o4 __asm__("o4") = e; \
    __asm__ volatile(FLUSH "\n\t" TRAP "\n\t" BRANCH "\n\tnop\n\tneg %%o0\n2:\t" after \
        : "+r"(g1), "+r"(o0), "+r"(o1), "+r"(o2), "+r"(o3), "+r"(o4) : \
        : "cc", "memory"); return o0; }
#define THREAD "cmp %%o1,0\n\tbe 1f\n\tnop\n\tba thread_main\n\tnop\n1:"
#undef FORK
#define FORK "cmp %%o1,0\n\tbe 1f\n\tnop\n\tmov 0,%%o0\n1:"

#elif defined(__m68k__)
OLD_NUMBERS
#define CALL(name, after) static long name(ARGUMENTS) { \
    register long d0 __asm__("d0") = n; register long d1 __asm__("d1") = a; register long d2 __asm__("d2") = b; \
    register long d3 __asm__("d3") = c; register long d4 __asm__("d4") = d; register long d5 __asm__("d5") = e; \
    __asm__ volatile("trap #0\n\t" after : "+r"(d0) : "r"(d1), "r"(d2), "r"(d3), "r"(d4), "r"(d5) : "cc", "memory"); \
    return d0; }
#define THREAD "tstl %%d0\n\tjeq thread_main"

#elif defined(__sh__)
OLD_NUMBERS
#define CALL(name, after) static long name(ARGUMENTS) { \
    register long r3 __asm__("r3") = n; register long r4 __asm__("r4") = a; register long r5 __asm__("r5") = b; \
    register long r6 __asm__("r6") = c; register long r7 __asm__("r7") = d; register long r0 __asm__("r0") = e; \
    __asm__ volatile("trapa #0x15\n\t" after : "+r"(r0) : "r"(r3), "r"(r4), "r"(r5), "r"(r6), "r"(r7) \
        : "r1", "t", "memory"); return r0; }
#define THREAD "tst r0,r0\n\tbf 1f\n\tmov.l 2f,r1\n\tjmp @r1\n\tnop\n\t.align 2\n2:\t.long thread_main\n1:"

#elif defined(__hppa__)
NUMBERS(1, 3, 4, 20, 37, 114, 120, 59, 158, 174)
#undef SIGUSR1
#undef SIGCHLD
#define SIGUSR1 16
#define SIGCHLD 18
/* The stack grows upwards. */
#define STACK_UP
#define NEEDS_START
__asm__(".globl _start\n_start:\n\tldil L%$global$,%r27\n\tldo R%$global$(%r27),%r27\n\tldo 128(%r30),%r30\n\tb start\n\tnop");
#define CALL(name, after) static long name(ARGUMENTS) { \
    register long r20 __asm__("r20") = n; register long r26 __asm__("r26") = a; register long r25 __asm__("r25") = b; \
    register long r24 __asm__("r24") = c; register long r23 __asm__("r23") = d; register long r22 __asm__("r22") = e; \
    register long r28 __asm__("r28"); \
    __asm__ volatile("ble 0x100(%%sr2,%%r0)\n\tnop\n\t" after : "=r"(r28), "+r"(r20), "+r"(r26), "+r"(r25), "+r"(r24), \
        "+r"(r23), "+r"(r22) : : "r1", "r2", "r19", "r21", "r29", "r31", "memory"); return r28; }
#define THREAD "comib,=,n 0,%%r28,thread_main\n\tnop"

#elif defined(__alpha__)
NUMBERS(1, 3, 4, 20, 37, 365, 312, 339, 334, 352)
#undef SIGUSR1
#undef SIGCHLD
#define SIGUSR1 30
#define SIGCHLD 20
/* A function finds its global pointer by its own address, which the kernel does not give to the first one. */
#define NEEDS_START
__asm__(".globl _start\n.ent _start\n_start: br $29,1f\n1:\tldgp $29,0($29)\n\tlda $27,start\n\tjmp $31,($27),0\n.end _start");
#define CALL(name, after) static long name(ARGUMENTS) { \
    register long r0 __asm__("$0") = n; register long r16 __asm__("$16") = a; register long r17 __asm__("$17") = b; \
    register long r18 __asm__("$18") = c; register long r19 __asm__("$19") = d; register long r20 __asm__("$20") = e; \
    __asm__ volatile("callsys\n\t" after : "+r"(r0), "+r"(r16), "+r"(r17), "+r"(r18), "+r"(r19), "+r"(r20) : \
        : "$1", "$2", "$3", "$4", "$5", "$6", "$7", "$8", "$21", "$22", "$23", "$24", "$25", "$27", "$28", "memory"); \
    return r19 ? -r0 : r0; }
#define THREAD "bne $0,1f\n\tlda $27,thread_main\n\tjmp $31,($27),0\n1:"
/* In the child, the last argument register tells. */
#undef FORK
#define FORK "cmovne $20,$31,$0"

#elif defined(__xtensa__)
NUMBERS(118, 12, 13, 120, 123, 121, 116, 208, 219, 226)
/* QEMU calls handlers as the windowed ABI has it, which this compiler does not know: `entry a1,32` and `retw` as bytes. */
#undef ACTION
#define ACTION(handler_, restorer_) { .handler = windowed }
void windowed(int);
__asm__(".text\n.globl windowed\n.align 4\nwindowed: .byte 0x36,0x41,0\n\tmov a12,a0\n\tcall0 handler\n\tmov a0,a12\n\t.byte 0x90,0,0");
#define CALL(name, after) static long name(ARGUMENTS) { \
    register long a2 __asm__("a2") = n; register long a6 __asm__("a6") = a; register long a3 __asm__("a3") = b; \
    register long a4 __asm__("a4") = c; register long a5 __asm__("a5") = d; register long a8 __asm__("a8") = e; \
    __asm__ volatile("syscall\n\t" after : "+r"(a2) : "r"(a6), "r"(a3), "r"(a4), "r"(a5), "r"(a8) : "memory"); return a2; }
#define THREAD "bnez a2,1f\n\tj thread_main\n1:"

#else
#error "this machine is not known"
#endif

#ifndef RESTORER
#define RESTORER 0
#endif
#ifndef CLONE
#define CLONE(call, flags, stack) call(NR_clone, flags, (long)(stack), 0, 0, 0)
#endif
#ifndef SIGACTION
#define SIGACTION(call, signal, act) call(NR_rt_sigaction, signal, (long)(act), 0, SIGSET_SIZE, 0)
#endif
