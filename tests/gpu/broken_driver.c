/* broken_driver.c: the simulated driver, of which one call fails, hangs or crashes, as the
 * environment says: what a run on a GPU machine tells of that.
 *
 * BROKEN_CALL: its name, without the version behind it. BROKEN_ANSWER: the number that it answers,
 * or "hang" or "crash". */
#include <dlfcn.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BROKEN __attribute__((visibility("default")))

BROKEN int cusim_is_simulated(void);
BROKEN int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags,
                               int *reason);

/* The call that never comes back has a name, for whoever looks where a program is. */
__attribute__((noinline)) static void call_that_hangs(void) {
  for (;;) pause();
}

static int broken_call(void) {
  const char *answer = getenv("BROKEN_ANSWER");
  if (answer == NULL) return 999;
  if (strcmp(answer, "hang") == 0) call_that_hangs();
  if (strcmp(answer, "crash") == 0) raise(SIGSEGV);
  return atoi(answer);
}

int cusim_is_simulated(void) {
  return 1;
}

int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags,
                        int *reason) {
  int (*find)(const char *, void **, int, uint64_t, int *) = NULL;
  int (*broken)(void) = broken_call;
  void *sim = dlopen(SIM_DRIVER, RTLD_NOW | RTLD_LOCAL);
  void *address = sim == NULL ? NULL : dlsym(sim, "cuGetProcAddress_v2");
  const char *call = getenv("BROKEN_CALL");
  if (address == NULL) return 999;
  memcpy(&find, &address, sizeof find);
  const int code = find(name, function, version, flags, reason);
  if (code == 0 && call != NULL && strcmp(name, call) == 0)
    memcpy(function, &broken, sizeof broken);
  return code;
}
