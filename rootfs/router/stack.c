/* Where the compiler guards the stack, code for PowerPC that may move calls this one by its own name in each object; the C library has the other. */
void __stack_chk_fail(void);
__attribute__((visibility("hidden"))) void __stack_chk_fail_local(void) { __stack_chk_fail(); }
