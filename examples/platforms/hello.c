/* Says for which machine it was made, and on which it finds itself. */
#include <stdio.h>
#include <sys/utsname.h>

int main(void) {
    struct utsname name;
    if (uname(&name)) return 1;
    unsigned one = 1;
    printf("%s: %zu bits, %s endian, 2/3 = %.3f\n", name.machine, sizeof(void *) * 8, *(char *) &one ? "little" : "big", 2 / 3.0);
    return 0;
}
