/* Executes another program in this one's place, with a command line that is made from its own by a template.
 *
 * The template follows the program's last byte (`src/stub/mod.rs` puts it there): a digit, that many of the caller's
 * arguments are left out; the path to execute; then each argument that comes before the others: `=` and a text, or the digit
 * of one of the caller's. Texts end with NUL, and an empty argument without `=` ends the template.
 *
 * Neither /proc nor anything else is asked how this program was found: it may have been executed by a link, by
 * a descriptor, as a script's interpreter, or in a root without /proc. */

#include "host.h"

extern const char template[];

#define SECURE 23 /* AT_SECURE */

static const char *behind(const char *text) {
    while (*text++) {}
    return text;
}

static int is_emulators(const char *variable) {
    return variable[0] == 'Q' && variable[1] == 'E' && variable[2] == 'M' && variable[3] == 'U' && variable[4] == '_';
}

__attribute__((noreturn, used)) void stub(long *stack);
void stub(long *stack) {
    long count = stack[0];
    char **args = (char **)(stack + 1), **env = args + count + 1, **variable = env;
    const char *path = template + 1, *words = behind(path), *word;

    /* Who runs a program with rights that he has not himself must not lead its emulator by variables. */
    while (*variable) variable++;
    for (long *aux = (long *)(variable + 1); aux[0]; aux += 2) {
        if (aux[0] != SECURE || !aux[1]) continue;
        char **to = env;
        for (char **from = env; *from; from++) if (!is_emulators(*from)) *to++ = *from;
        *to = 0;
        break;
    }

    /* The vector ends where the kernel's does, so that it need not be copied, however long it is. What is put before the
     * caller's arguments takes the place of the first ones, of their count, and of what START left free. */
    char *own[3];
    for (long i = 0; i < 3; i++) own[i] = i < count ? args[i] : "";
    long skip = template[0] - '0', number = 0;
    for (word = words; *word; word = *word == '=' ? behind(word) : word + 1) number++;
    char **vector = args + (skip < count ? skip : count) - number, **to = vector;
    for (word = words; *word;) {
        if (*word == '=') {
            *to++ = (char *)word + 1;
            word = behind(word);
        } else {
            *to++ = own[*word++ - '0'];
        }
    }
    not_executed(path, -call(NR_execve, (long)path, (long)vector, (long)env, 0));
}

START(stub)
