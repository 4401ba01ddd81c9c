/* guest_init.c: the first process of a virtual machine: runs programs, tells how each ended, ends.
 *
 * /programs holds one program per line: seconds at most, name, path, arguments; spaces part them.
 * What it prints on the console is read by run_vm.py.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { WORDS_MAX = 16, KERNEL_LOG_BYTES = 1 << 20 };

static void mount_all(void) {
  const struct {
    const char *type;
    const char *where;
  } mounts[] = {{"proc", "/proc"}, {"sysfs", "/sys"},     {"devtmpfs", "/dev"},
                {"tmpfs", "/tmp"}, {"tmpfs", "/dev/shm"}, {"cgroup2", "/sys/fs/cgroup"}};
  for (size_t i = 0; i < sizeof mounts / sizeof *mounts; ++i) {
    mkdir(mounts[i].where, 0755);
    if (mount(mounts[i].type, mounts[i].where, mounts[i].type, 0, NULL) != 0) {
      printf("vm: failed: mount %s: %s\n", mounts[i].where, strerror(errno));
    }
  }
}

/* After fragmentation the kernel keeps more of a node back for a while, up to two and a half times
 * as much: tests that fill nodes up would not know what is left. */
static void keep_reserves_steady(void) {
  FILE *setting = fopen("/proc/sys/vm/watermark_boost_factor", "w");
  if (setting == NULL || fputs("0", setting) < 0 || fclose(setting) != 0) {
    printf("vm: failed: watermark_boost_factor: %s\n", strerror(errno));
  }
}

static double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Runs the program in a session of its own, so that what it leaves behind can be ended with it. */
static void run(char **words, int seconds) {
  const char *name = words[0];
  printf("vm: begin %s\n", name);
  const double start_s = now_s();
  const pid_t child = fork();
  if (child == 0) {
    setsid();
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(words[1], words + 1);
    _exit(127);
  }
  sigset_t ended;
  sigemptyset(&ended);
  sigaddset(&ended, SIGCHLD);
  int result = 0;
  const char *how = "exit";
  while (waitpid(child, &result, WNOHANG) != child) {
    const double left_s = start_s + seconds - now_s();
    if (left_s <= 0) {
      how = "timeout";
      kill(-child, SIGKILL);
      waitpid(child, &result, 0);
      break;
    }
    const struct timespec pause = {.tv_sec = (time_t)left_s + 1};
    sigtimedwait(&ended, NULL, &pause);
  }
  kill(-child, SIGKILL);
  while (waitpid(-1, NULL, WNOHANG) > 0) continue; /* orphans */
  if (*how == 'e' && WIFSIGNALED(result)) how = "signal";
  const int number = WIFSIGNALED(result) ? WTERMSIG(result) : WEXITSTATUS(result);
  printf("\nvm: end %s %s %d %.1f\n", name, how, number, now_s() - start_s);
}

static void run_all(void) {
  FILE *list = fopen("/programs", "r");
  char line[1024];
  while (list != NULL && fgets(line, sizeof line, list) != NULL) {
    char *words[WORDS_MAX + 1] = {NULL};
    char *rest = NULL;
    int word_count = 0;
    const char *seconds = strtok_r(line, " \n", &rest);
    while (word_count < WORDS_MAX && (words[word_count] = strtok_r(NULL, " \n", &rest)) != NULL) {
      ++word_count;
    }
    if (word_count >= 2) run(words, atoi(seconds));
  }
  if (list != NULL) fclose(list);
}

/* A kill for lack of memory is one even where no program died of it, as in a child of a test. */
static void tell_kills(void) {
  FILE *counters = fopen("/proc/vmstat", "r");
  char line[256];
  while (counters != NULL && fgets(line, sizeof line, counters) != NULL) {
    if (strncmp(line, "oom_kill ", 9) == 0) printf("vm: %s", line);
  }
  if (counters != NULL) fclose(counters);
}

static void tell_kernel_troubles(void) {
  /* The last two are what the kernel says of each node's memory when it kills. */
  static const char *troubles[] = {"BUG:",         "WARNING:",     "oom-kill",    "Out of memory",
                                   "general prot", "active_anon:", "Normal free:"};
  enum { READ_ALL = 3 };
  static char log[KERNEL_LOG_BYTES];
  const int length = klogctl(READ_ALL, log, sizeof log - 1);
  char *rest = NULL;
  for (char *line = length > 0 ? strtok_r(log, "\n", &rest) : NULL; line != NULL;
       line = strtok_r(NULL, "\n", &rest)) {
    for (size_t i = 0; i < sizeof troubles / sizeof *troubles; ++i) {
      if (strstr(line, troubles[i]) != NULL) {
        printf("vm: kernel %s\n", line);
        break;
      }
    }
  }
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  sigset_t ended;
  sigemptyset(&ended);
  sigaddset(&ended, SIGCHLD);
  sigprocmask(SIG_BLOCK, &ended, NULL);
  mount_all();
  keep_reserves_steady();
  run_all();
  tell_kills();
  tell_kernel_troubles();
  printf("vm: done\n");
  fflush(stdout);
  tcdrain(STDOUT_FILENO); /* the switch goes faster than the serial line */
  reboot(RB_POWER_OFF);
  return 0;
}
