/* program_isolate.c: runs a program in a process of its own, which may crash or hang. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/tarn_barrier.h"
#include "tests/sim/program_isolate.h"

/* The last words of a process that crashed: an assertion, a sanitizer's finding. */
static void read_last_words(int file, char *text, size_t text_bytes) {
  const off_t end = lseek(file, 0, SEEK_END);
  const off_t start = end > (off_t)text_bytes - 1 ? end - (off_t)text_bytes + 1 : 0;
  const ssize_t length = pread(file, text, text_bytes - 1, start);
  text[length > 0 ? length : 0] = '\0';
  for (char *at = text; *at != '\0'; at++) {
    if (*at == '\n') *at = ' ';
  }
}

static void explain_end(int status, int words, program_verdict *verdict) {
  const bool is_hang = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
  verdict->failing = is_hang ? PROGRAM_HANG : PROGRAM_CRASH;
  char text[400] = "";
  if (words >= 0) read_last_words(words, text, sizeof text);
  if (WIFSIGNALED(status)) {
    snprintf(verdict->text, sizeof verdict->text, "ended by signal %d (%s): %s", WTERMSIG(status),
             strsignal(WTERMSIG(status)), text);
  } else {
    snprintf(verdict->text, sizeof verdict->text, "ended with status %d: %s", WEXITSTATUS(status),
             text);
  }
}

bool program_isolate(program_job *job, void *context, program_verdict *verdict,
                     unsigned seconds_max) {
  const int words = memfd_create("words", MFD_CLOEXEC);
  /* The child inherits the registration, which takes some 13 ms: longer than a program. */
  (void)tarn_barrier_is_one_sided();
  fflush(NULL);
  const pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) {
    if (words >= 0) dup2(words, STDERR_FILENO);
    signal(SIGALRM, SIG_DFL);
    alarm(seconds_max);
    job(context);
    _exit(0);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
  }
  const bool is_clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (!is_clean) explain_end(status, words, verdict);
  if (words >= 0) close(words);
  return true;
}

typedef struct single_run {
  const program *run;
  program_verdict *shared;
} single_run;

static void run_single(void *context) {
  const single_run *single = context;
  program_run(single->run, single->shared);
}

void program_run_isolated(const program *run, program_verdict *verdict) {
  memset(verdict, 0, sizeof *verdict);
  program_verdict *shared =
      mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return;
  single_run single = {run, shared};
  program_verdict ended = {.failing = PROGRAM_FINE};
  const bool has_run = program_isolate(run_single, &single, &ended, PROGRAM_SECONDS_MAX);
  *verdict = *shared;
  munmap(shared, sizeof *shared);
  if (!has_run) {
    verdict->failing = PROGRAM_CRASH;
    snprintf(verdict->text, sizeof verdict->text, "no process could be made");
  } else if (ended.failing != PROGRAM_FINE) {
    verdict->failing = ended.failing;
    memcpy(verdict->text, ended.text, sizeof verdict->text);
  }
}
