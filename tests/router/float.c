/* Floating point, threads, sockets and printf on a core without a floating-point unit. */
#include <complex.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static double sum;
static __thread int own;

static void *add(void *arg) {
    own = (int)(intptr_t)arg;
    for (int i = 1; i <= 1000; i++) {
        pthread_mutex_lock(&lock);
        sum += own / 4.0;
        pthread_mutex_unlock(&lock);
    }
    return (void *)(intptr_t)own;
}

static void *serve(void *arg) {
    int peer = accept(*(int *)arg, NULL, NULL);
    double value;
    if (peer >= 0 && read(peer, &value, sizeof value) == sizeof value) {
        value = sqrt(value);
        if (write(peer, &value, sizeof value) != sizeof value) return NULL;
    }
    close(peer);
    return NULL;
}

static jmp_buf back;
static void caught(int number) { longjmp(back, number); }

int main(int argc, char **argv) {
    volatile double two = argc + 1, third = 1.0 / 3;
    volatile float single = 16777216.0f;
    printf("%f %.17g %e %a\n", third, third, 6.02214076e23, -third);
    printf("%.3f %.3f %.3f %.3Lf\n", sin(two), exp(two), pow(two, 0.5), (long double)two / 3);
    printf("%d %d %d %g\n", single + 1.0f == single, (int)(two * 1e9 / 2), isnan(NAN * two), (double)(long long)(two * 4e18 / 2));
    printf("%lld %llu %lld\n", (long long)-9e18 / (long long)(two + 5), 18446744073709551615ull % (unsigned)(two + 5), (long long)(1e15 * two));
    double complex z = two + 3 * I;
    z = z * z / (1 + I);
    printf("%g %g %g\n", creal(z), cimag(z), strtod("1e-320", NULL) * 1e300);

    pthread_t threads[4];
    for (intptr_t at = 0; at < 4; at++) pthread_create(&threads[at], NULL, add, (void *)(at + 1));
    intptr_t all = 0;
    for (int at = 0; at < 4; at++) {
        void *result;
        pthread_join(threads[at], &result);
        all += (intptr_t)result;
    }
    printf("%.2f %d %d\n", sum, (int)all, own);

    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&at, size) || listen(listener, 1) || getsockname(listener, (void *)&at, &size)) return 2;
    pthread_create(&threads[0], NULL, serve, &listener);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    double value = two;
    if (connect(client, (void *)&at, size) || write(client, &value, sizeof value) != sizeof value || read(client, &value, sizeof value) != sizeof value) return 3;
    pthread_join(threads[0], NULL);
    printf("%.6f\n", value);

    signal(SIGUSR1, caught);
    int number = setjmp(back);
    if (number == 0) raise(SIGUSR1);
    printf("%d %s %s\n", number == SIGUSR1, strerror(ENOENT), argv[0] ? "named" : "nameless");
    return 0;
}
