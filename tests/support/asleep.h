/* asleep.h: waits until another thread can go no further by itself, without guessing how long. */
#ifndef TARN_ASLEEP_H
#define TARN_ASLEEP_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What a thread says of itself: zeroed before it starts. */
typedef struct asleep_thread {
  atomic_int number; /* set by asleep_here */
  atomic_bool is_done;
} asleep_thread;

/* First and last thing that the thread does. */
static inline void asleep_here(asleep_thread *self) {
  atomic_store(&self->number, (int)syscall(SYS_gettid));
}

static inline void asleep_done(asleep_thread *self) {
  atomic_store(&self->is_done, true);
}

static inline bool asleep_now(int number) {
  char path[64];
  char text[512] = "";
  snprintf(path, sizeof path, "/proc/self/task/%d/stat", number);
  FILE *file = fopen(path, "r");
  if (file == NULL) return true; /* it has ended */
  const size_t length = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[length] = '\0';
  const char *name_end = strrchr(text, ')'); /* the state is the word behind the name */
  return name_end != NULL && name_end[1] == ' ' && name_end[2] == 'S';
}

/* Answers when the thread sleeps in the kernel, for a lock or a condition, or is done. It may have
 * been about to go on by itself: what a test concludes from this is only ever that the thread had
 * its chance. */
static inline void asleep_wait(asleep_thread *self) {
  while (!atomic_load(&self->is_done)) {
    const int number = atomic_load(&self->number);
    if (number != 0 && asleep_now(number)) return;
    sched_yield();
  }
}

#endif
