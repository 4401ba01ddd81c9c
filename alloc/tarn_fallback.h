/* tarn_fallback.h: memory from the first of several pools that has some, and never silently.
 *
 * Whoever can live with slower memory says so once, as a list in the order of preference, such as
 * the GPU's own, pinned on its node, pinned anywhere, pageable. A request gets the first that
 * works, together with which one that was and why each one before it was refused:
 *
 *     tarn_fallback_choice choices[] = {
 *         {.struct_size = sizeof *choices, .name = "device", .pool = device_pool},
 *         {.struct_size = sizeof *choices, .name = "pinned near", .status = TARN_UNAVAILABLE,
 *          .reason = "this machine has no node 1"},
 *         {.struct_size = sizeof *choices, .name = "pageable", .pool = pages_pool},
 *     };
 *     tarn_fallback_create(choices, 3, &fallback);
 *     ...
 *     tarn_fallback_alloc(fallback, size_bytes, stream, &grant);
 *     if (grant.choice != 0) complain(grant.name, grant.refusals, grant.refusal_count);
 *
 * A choice that the machine does not offer stays in the list as the reason why, so that the answer
 * is the same wherever it runs.
 *
 * A fallback is no tarn_pool. A pool has one device, and whoever uses its memory goes by that; here
 * it is the grant that says where the memory lies, and which pool takes it back.
 */
#ifndef TARN_FALLBACK_H
#define TARN_FALLBACK_H

#include "alloc/tarn_pool.h"
#include "alloc/tarn_storage.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_fallback tarn_fallback;

enum {
  TARN_FALLBACK_CHOICES_MAX = 8,
  TARN_FALLBACK_NAME_BYTES = 32, /* with its end */
};

typedef struct tarn_fallback_choice {
  size_t struct_size;
  const char *name;   /* copied; 1 to TARN_FALLBACK_NAME_BYTES - 1 bytes */
  tarn_pool *pool;    /* retained; NULL: there is none, and the rest says why */
  tarn_status status; /* not TARN_OK where there is no pool, TARN_OK where there is one */
  const char *reason; /* copied; NULL: the status's own words */
} tarn_fallback_choice;

typedef struct tarn_fallback_refusal {
  tarn_status status;
  char message[TARN_ERROR_MESSAGE_BYTES]; /* the last error of the attempt, or the reason, cut */
} tarn_fallback_refusal;

/* What a request got: some 4 KiB. refusals[i] belongs to choice i, for all that were asked before
 * the one that gave: there are as many as `choice`, or where all refused as there are choices. */
typedef struct tarn_fallback_grant {
  size_t struct_size;
  void *address;      /* NULL: nothing was granted, or 0 bytes */
  tarn_pool *pool;    /* that takes it back; borrowed: its block keeps it. NULL: none gave */
  tarn_device device; /* where it lies */
  const char *name;   /* of the choice that gave; borrowed from the fallback; NULL: none gave */
  size_t choice;      /* its place in the list; the number of choices: none gave */
  size_t refusal_count;
  tarn_fallback_refusal refusals[TARN_FALLBACK_CHOICES_MAX];
} tarn_fallback_grant;

/* TARN_INVALID_ARGUMENT where there are no choices or more than TARN_FALLBACK_CHOICES_MAX, or one
 * of them is neither a pool nor a reason; the message names it. */
TARN_API TARN_NODISCARD tarn_status tarn_fallback_create(const tarn_fallback_choice *choices,
                                                         size_t choice_count,
                                                         tarn_fallback **fallback);
/* Shared ownership; release accepts NULL. What was granted outlives the fallback, but for the name
 * in the grant. */
TARN_API void tarn_fallback_retain(tarn_fallback *fallback);
TARN_API void tarn_fallback_release(tarn_fallback *fallback);

TARN_API size_t tarn_fallback_choice_count(const tarn_fallback *fallback);

/* Asks the pools in order, and each one as tarn_pool_alloc does: all that it may do to find memory
 * it has done before the next is asked. The caller sets grant->struct_size; the rest is written
 * whatever the answer. TARN_OK leaves the thread's last error as it was before the call. Where all
 * refuse, the status is that of the last one and the message tells what each one said. A stream
 * must be good for whatever is in the list: a CUDA stream reaches all memory that is. */
TARN_API TARN_NODISCARD tarn_status tarn_fallback_alloc(tarn_fallback *fallback, size_t size_bytes,
                                                        tarn_stream *stream,
                                                        tarn_fallback_grant *grant);
/* Gives a grant's block back to its pool as tarn_pool_free does, and clears address and pool. A
 * grant of nothing is left alone. */
TARN_API TARN_NODISCARD tarn_status tarn_fallback_free(tarn_fallback_grant *grant,
                                                       tarn_stream *stream);

/* A storage instead of a bare block: it gives itself back, and tarn_storage_device says where it
 * lies. `grant` says the rest, with the storage's address, and is not to be freed; NULL where
 * nobody wants to know. A tensor on it: tarn_tensor_of_storage. */
TARN_API TARN_NODISCARD tarn_status tarn_fallback_storage_create(tarn_fallback *fallback,
                                                                 size_t size_bytes,
                                                                 tarn_stream *stream,
                                                                 tarn_storage **storage,
                                                                 tarn_fallback_grant *grant);

#ifdef __cplusplus
}
#endif
#endif
