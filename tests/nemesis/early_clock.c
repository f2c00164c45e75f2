/* Lets libfaketime and a program with an allocator of its own (mimalloc) begin in peace. Preloaded in front of libfaketime.
 *
 * libfaketime looks for functions that the system does not have; the loader allocates the error message; the allocator
 * begins its life with a look at the clock; that is libfaketime's, which has not begun and looks for the same functions
 * again: the allocator is entered a second time in the middle of its beginning, and what it gave out then it does not know
 * later. So until everything that was preloaded has begun, this answers from the kernel; from then on libfaketime does. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef int clock_function(clockid_t, struct timespec *);

static clock_function *next;

int clock_gettime(clockid_t clock, struct timespec *now) {
    clock_function *faked = __atomic_load_n(&next, __ATOMIC_ACQUIRE);
    return faked ? faked(clock, now) : (int)syscall(SYS_clock_gettime, clock, now);
}

__attribute__((constructor)) static void begin(void) {
    free(malloc(1)); /* The allocator's beginning, if it is not over yet. */
    clock_function *faked = (clock_function *)dlsym(RTLD_NEXT, "clock_gettime");
    __atomic_store_n(&next, faked, __ATOMIC_RELEASE);
}
