/* What a TLS library and zlib say of `abc` and `hello`. */
#include <mbedtls/sha256.h>
#include <stdio.h>
#include <zlib.h>

int main(void) {
    unsigned char digest[32];
    if (mbedtls_sha256_ret((const unsigned char *)"abc", 3, digest, 0)) return 1;
    for (int at = 0; at < 8; at++) printf("%02x", digest[at]);
    printf(" %08lx\n", crc32(0, (const unsigned char *)"The quick brown fox jumps over the lazy dog", 43));
    return 0;
}
