/* Stands before the C library's fsync and fdatasync and adds 2 ms to each, as a commodity disk
   takes: loaded with LD_PRELOAD by `cargo bench --bench store -- slow-sync`. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

static void wait_a_little(void) {
    struct timespec left = {0, 2000000};
    while (nanosleep(&left, &left) != 0) {
    }
}

static int (*next(const char *name))(int) { return (int (*)(int))dlsym(RTLD_NEXT, name); }

int fsync(int file) {
    wait_a_little();
    return next("fsync")(file);
}

int fdatasync(int file) {
    wait_a_little();
    return next("fdatasync")(file);
}
