/* hardship.h: a process on a kernel that refuses things, or whose first thread has ended. */
#ifndef TARN_TEST_HARDSHIP_H
#define TARN_TEST_HARDSHIP_H

#include <stdbool.h>

/* A sanitizer's own memory does not obey a process's limits. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { HAS_PLAIN_MEMORY = 0 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
enum { HAS_PLAIN_MEMORY = 0 };
#else
enum { HAS_PLAIN_MEMORY = 1 };
#endif
#else
enum { HAS_PLAIN_MEMORY = 1 };
#endif

/* Runs `work` in a child of fork; its exit code (tests/support/child.h). */
int hardship_in_child(int (*work)(void));
/* The same in a second thread of a child whose first thread has ended. */
int hardship_without_first_thread(int (*work)(void));

/* From here on the calling thread, and those it makes, get `error` for these system calls, as in a
 * container whose filter knows of them. False where no filter can be set. */
bool hardship_refuse(int error, const long *calls, int count);
/* From here on the process sees an empty folder there. False where it may not do that. */
bool hardship_hide(const char *folder);

#endif
