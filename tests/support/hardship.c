/* hardship.c: children of fork whose kernel is made to refuse. */
#include "tests/support/hardship.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#include "tests/support/child.h"

int hardship_in_child(int (*work)(void)) {
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child != 0) return exit_code_of(child);
  alarm(CHILD_SECONDS);
  _exit(work());
}

/* Where the kernel tells of a process what it tells of its first thread, it has no memory now. */
static void *run_alone(void *context) {
  int (*const *work)(void) = context;
  char byte;
  ssize_t count = 1;
  while (count > 0) {
    sched_yield();
    const int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    /* Some kernels do not even open it then. */
    count = maps >= 0 ? read(maps, &byte, 1) : errno == ESRCH ? 0 : -1;
    if (maps >= 0) close(maps);
  }
  _exit(count == 0 ? (*work)() : 2);
}

int hardship_without_first_thread(int (*work)(void)) {
  static int (*works[1])(void);
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child != 0) return exit_code_of(child);
  alarm(CHILD_SECONDS);
  works[0] = work;
  pthread_t second;
  if (pthread_create(&second, NULL, run_alone, (void *)works) != 0) _exit(3);
  pthread_exit(NULL);
}

bool hardship_refuse(int error, const long *calls, int count) {
  enum { CALLS_MAX = 16 };
  struct sock_filter rules[CALLS_MAX + 3] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
  if (count > CALLS_MAX) return false;
  for (int i = 0; i < count; i++) { /* each jumps to the last rule */
    rules[1 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i],
                                                (unsigned char)(count - i), 0);
  }
  rules[1 + count] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  rules[2 + count] =
      (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error);
  const struct sock_fprog filter = {(unsigned short)(count + 3), rules};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

bool hardship_hide(const char *folder) {
  static bool is_apart;
  is_apart = is_apart || unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0;
  return is_apart && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
         mount("none", folder, "tmpfs", 0, NULL) == 0;
}
