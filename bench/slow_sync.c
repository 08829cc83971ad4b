/* Loaded with LD_PRELOAD: each fsync and fdatasync first rests SLOW_SYNC_US microseconds, as on a
 * disk that is slower than this machine's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int slowly(const char *name, int fd) {
    const char *wanted = getenv("SLOW_SYNC_US");
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (wanted)
        usleep((useconds_t)atol(wanted));
    return real(fd);
}

int fsync(int fd) { return slowly("fsync", fd); }
int fdatasync(int fd) { return slowly("fdatasync", fd); }
