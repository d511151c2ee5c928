/* Executes one program the first time that anybody executes this one, and another at all other times.
 *
 * The template follows the program's last byte (`src/stub/mod.rs` puts it there): the path of a file, which is there until the
 * first time; the program of that; the program of all others. The kernel lets one process alone remove the file. */

#include "host.h"

extern const char template[];

enum { AT_FDCWD = -100 };

static const char *behind(const char *text) {
    while (*text++) {}
    return text;
}

__attribute__((noreturn, used)) void first(long *stack) {
    char **args = (char **)(stack + 1), **env = args + stack[0] + 1;
    const char *path = behind(template);
    if (call(NR_unlinkat, AT_FDCWD, (long)template, 0, 0)) path = behind(path);
    not_executed(path, -call(NR_execve, (long)path, (long)args, (long)env, 0));
}

START(first)
