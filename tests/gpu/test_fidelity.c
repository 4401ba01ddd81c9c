/* test_fidelity.c: the simulated driver and a GPU's own answer the same small programs alike.
 *
 * usage: test_fidelity [DRIVER [CASE]]
 *
 * DRIVER: a library; else the machine's own libcuda.so.1, or the simulated one where there is none.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/gpu/fidelity.h"

#ifndef SIM_DRIVER
#error "the build says where the simulated driver lies"
#endif

enum { CASE_LIMIT_S = 10 };

static const char *driver_path;

static void load(void *library, const char *name, void *field) {
  void *address = dlsym(library, name);
  if (address == NULL) {
    printf("  the driver has no %s   <-- FAILED\n", name);
    fflush(stdout);
    _Exit(1);
  }
  memcpy(field, &address, sizeof address);
}

static void load_driver(void) {
  void *library = dlopen(driver_path, RTLD_NOW);
  if (library == NULL) {
    printf("%s\n", dlerror());
    fflush(stdout);
    _Exit(1);
  }
#define LOAD_(name) load(library, #name, &cu.name);
#define LOAD(name) LOAD_(name)
  FIDELITY_CALLS(LOAD)
}

/* In a process of its own: some errors stay with a context, and CUDA does not outlive a fork. */
static bool passes(const fidelity_case *each) {
  printf("%s\n", each->name);
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    alarm(CASE_LIMIT_S);
    load_driver();
    each->run();
    fflush(stdout);
    _Exit(fidelity_status());
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return false;
  if (WIFSIGNALED(status)) printf("  ended by signal %d   <-- FAILED\n", WTERMSIG(status));
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool can_open(const char *path) {
  void *library = dlopen(path, RTLD_LAZY);
  if (library != NULL) dlclose(library);
  return library != NULL;
}

int main(int argument_count, char **arguments) {
  static const fidelity_case *const groups[] = {fidelity_streams, fidelity_memory, fidelity_virtual,
                                                fidelity_capture, fidelity_movement};
  driver_path = argument_count > 1         ? arguments[1]
                : can_open("libcuda.so.1") ? "libcuda.so.1"
                                           : SIM_DRIVER;
  /* Races are for other tests, and nothing here may be decided by chance. */
  setenv("CUSIM_RACES", "off", /*overwrite=*/0);
  printf("driver under test: %s\n", driver_path);
  int passed_count = 0;
  int failed_count = 0;
  for (size_t group = 0; group < FIDELITY_COUNT(groups); group++) {
    for (const fidelity_case *each = groups[group]; each->name != NULL; each++) {
      if (argument_count > 2 && strcmp(each->name, arguments[2]) != 0) continue;
      if (passes(each)) {
        passed_count++;
      } else {
        failed_count++;
        printf("FAILED %s\n", each->name);
      }
    }
  }
  printf("%d cases alike, %d not\n", passed_count, failed_count);
  return failed_count == 0 && passed_count > 0 ? 0 : 1;
}
