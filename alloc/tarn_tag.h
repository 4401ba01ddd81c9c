/* tarn_tag.h: names that a thread gives to what it allocates, so that somebody can be asked.
 *
 * A block carries the tag that its thread had on top when it was lent out, until it is taken back.
 * An out-of-memory answer and a snapshot then say who holds what.
 *
 *     tarn_tag_push("kv cache");
 *     ... allocations of this thread ...
 *     tarn_tag_pop();
 */
#ifndef TARN_TAG_H
#define TARN_TAG_H

#include "alloc/tarn_status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  TARN_TAGS_MAX = 256,     /* different names in a process, with "" that stands for no tag */
  TARN_TAG_BYTES_MAX = 48, /* of a name, with its end */
  TARN_TAG_DEPTH_MAX = 32, /* pushed and not yet popped, per thread */
};

/* Names what the calling thread allocates from now on, until the matching pop. The name is copied,
 * and kept as long as the process: use few. With its pop it took 70 to 90 nanoseconds; no lock for
 * a name that is known. TARN_NOT_SUPPORTED beyond TARN_TAGS_MAX names or TARN_TAG_DEPTH_MAX pushes,
 * TARN_INVALID_ARGUMENT for NULL, "" or a longer name; then there is nothing to pop. */
TARN_API TARN_NODISCARD tarn_status tarn_tag_push(const char *name);
/* Goes back to the tag before the last push; without one it does nothing. */
TARN_API void tarn_tag_pop(void);

/* The calling thread's tag: a number below TARN_TAGS_MAX, 0 for none. */
TARN_API uint32_t tarn_tag_current(void);
/* A tag's name, which lives as long as the process: "" for 0 and for a number that is none. */
TARN_API const char *tarn_tag_name(uint32_t tag);

#ifdef __cplusplus
}
#endif
#endif
