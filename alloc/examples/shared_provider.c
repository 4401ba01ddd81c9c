/* shared_provider.c: a provider of one's own: memory of a memory file, which other processes map.
 *
 *     cc -Wall -Wextra shared_provider.c $(pkg-config --cflags --libs tarn) -o shared_provider
 *
 * prints
 *
 *     the child read: weights
 *     the parent reads: WEIGHTS
 *
 * What it shows of tarn_provider_ops: granules and flags, out of memory as an answer that is not
 * sticky, memory that is really given back, and `share`, by which tarn_storage_export hands bytes
 * of any pool over this provider to another process without a copy.
 *
 * tarn_pages.h with TARN_PAGES_SHARED shares the same way, with huge pages and growth in place; a
 * provider like this one is for a file that is mapped in a way of its own, or a driver's memory.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memfd_create */
#endif
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_provider.h"
#include "alloc/tarn_share.h"

/* What a header of your own declares. capacity_bytes of address space and of the file; memory is
 * there as it is touched. */
tarn_status shared_provider_create(size_t capacity_bytes, tarn_provider **provider);

enum { GRANULE_BYTES = 65536 };

typedef struct shared {
  pthread_mutex_t lock; /* of is_lent */
  int descriptor;
  char *base;
  size_t granule_count;
  bool is_lent[]; /* each granule */
} shared;

static tarn_status shared_attributes(void *context, tarn_provider_attributes *attributes) {
  (void)context;
  attributes->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  attributes->granularity_bytes = GRANULE_BYTES;
  attributes->alignment_bytes = 4096; /* mmap's, which the whole file is mapped with */
  /* A file reads as zero where it has a hole; and a child of fork would write to the parent's. */
  attributes->flags = TARN_PROVIDER_ZEROED | TARN_PROVIDER_OF_PROCESS;
  return TARN_OK; /* the node is -1 already */
}

static void mark(shared *self, size_t first, size_t count, bool is_lent) {
  for (size_t i = first; i < first + count; i++) self->is_lent[i] = is_lent;
}

static tarn_status shared_alloc(void *context, size_t size_bytes, void **address) {
  shared *self = context;
  const size_t wanted = size_bytes / GRANULE_BYTES; /* a multiple, as tarn has checked */
  size_t run = 0, largest = 0;
  pthread_mutex_lock(&self->lock);
  for (size_t i = 0; i < self->granule_count && run < wanted; i++) {
    run = self->is_lent[i] ? 0 : run + 1;
    if (run > largest) largest = run;
    if (run == wanted) {
      mark(self, i + 1 - wanted, wanted, /*is_lent=*/true);
      *address = self->base + (i + 1 - wanted) * GRANULE_BYTES;
    }
  }
  pthread_mutex_unlock(&self->lock);
  if (run == wanted) return TARN_OK;
  return tarn_fail(TARN_OUT_OF_MEMORY, "shared: %zu bytes asked for, the largest run has %zu",
                   size_bytes, largest * GRANULE_BYTES);
}

/* Gives the memory back to the system before anybody is lent the place again. */
static tarn_status shared_release(void *context, void *address, size_t size_bytes) {
  shared *self = context;
  if (madvise(address, size_bytes, MADV_REMOVE) != 0) {
    return tarn_fail_native(TARN_SYSTEM_ERROR, "madvise", errno, "shared: %zu bytes at %p: %s",
                            size_bytes, address, strerror(errno));
  }
  pthread_mutex_lock(&self->lock);
  mark(self, (size_t)((char *)address - self->base) / GRANULE_BYTES, size_bytes / GRANULE_BYTES,
       /*is_lent=*/false);
  pthread_mutex_unlock(&self->lock);
  return TARN_OK;
}

static tarn_status shared_share(void *context, const void *address, int *descriptor,
                                int64_t *offset_bytes) {
  shared *self = context;
  const uintptr_t offset = (uintptr_t)address - (uintptr_t)self->base;
  if (offset >= self->granule_count * GRANULE_BYTES) {
    return tarn_fail(TARN_NOT_FOUND, "shared: %p is none of its addresses", address);
  }
  const int copy = fcntl(self->descriptor, F_DUPFD_CLOEXEC, 0); /* the caller's own to close */
  if (copy < 0) {
    return tarn_fail_native(TARN_SYSTEM_ERROR, "fcntl", errno, "shared: no descriptor: %s",
                            strerror(errno));
  }
  *descriptor = copy;
  *offset_bytes = (int64_t)offset;
  return TARN_OK;
}

/* Every pool over the provider is gone. What other processes have mapped stays theirs. */
static void shared_destroy(void *context) {
  shared *self = context;
  if (self->base != NULL) munmap(self->base, self->granule_count * GRANULE_BYTES);
  if (self->descriptor >= 0) close(self->descriptor);
  pthread_mutex_destroy(&self->lock);
  free(self);
}

/* Makes the file and maps it; what is there when it fails is shared_destroy's. */
static tarn_status map_file(shared *self) {
  const size_t size_bytes = self->granule_count * GRANULE_BYTES;
  self->descriptor = memfd_create("shared_provider", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (self->descriptor < 0) {
    return tarn_fail_native(TARN_SYSTEM_ERROR, "memfd_create", errno, "no memory file: %s",
                            strerror(errno));
  }
  /* Nobody who maps the file wants to find it cut short, and tarn_storage_import insists. */
  if (ftruncate(self->descriptor, (off_t)size_bytes) != 0 ||
      fcntl(self->descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return tarn_fail_native(TARN_SYSTEM_ERROR, "ftruncate", errno, "a memory file of %zu bytes: %s",
                            size_bytes, strerror(errno));
  }
  void *base = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, self->descriptor, 0);
  if (base == MAP_FAILED) {
    return tarn_fail_native(TARN_OUT_OF_MEMORY, "mmap", errno, "a memory file of %zu bytes: %s",
                            size_bytes, strerror(errno));
  }
  self->base = base;
  return TARN_OK;
}

tarn_status shared_provider_create(size_t capacity_bytes, tarn_provider **provider) {
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  *provider = NULL;
  const size_t granule_count = capacity_bytes / GRANULE_BYTES;
  if (granule_count == 0) return tarn_fail(TARN_INVALID_ARGUMENT, "less than a granule");
  shared *self = calloc(1, sizeof *self + granule_count * sizeof *self->is_lent);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a shared provider");
  pthread_mutex_init(&self->lock, NULL);
  self->descriptor = -1;
  self->granule_count = granule_count;
  /* Left out: reserve, commit and decommit, which a pool grows in place with. */
  const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                 .name = "shared",
                                 .attributes = shared_attributes,
                                 .alloc = shared_alloc,
                                 .release = shared_release,
                                 .destroy = shared_destroy,
                                 .share = shared_share};
  tarn_status status = map_file(self);
  if (status == TARN_OK) status = tarn_provider_create(&ops, self, provider);
  if (status != TARN_OK) shared_destroy(self);
  return status;
}

/* --- a program that uses it --- */

#define TRY(call)                                                   \
  do {                                                              \
    if ((call) == TARN_OK) break;                                   \
    fprintf(stderr, "%s: %s\n", #call, tarn_last_error()->message); \
    return 1;                                                       \
  } while (0)

/* The other process: writes into what it has read, and that is its answer. */
static int be_child(int socket) {
  tarn_parcel *parcel = NULL;
  tarn_storage *storage = NULL;
  TRY(tarn_share_receive(socket, /*timeout_ms=*/-1, &parcel));
  TRY(tarn_storage_import(parcel, NULL, NULL, &storage));
  char *text = tarn_storage_data_mutable(storage);
  printf("the child read: %s\n", text);
  fflush(stdout);
  for (; *text != '\0'; text++) *text = (char)toupper((unsigned char)*text);
  tarn_storage_release(storage);
  return 0;
}

static int be_parent(int socket, pid_t child) {
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL;
  tarn_storage *storage = NULL;
  tarn_parcel *parcel = NULL;
  TRY(shared_provider_create((size_t)64 << 20, &provider));
  TRY(tarn_caching_pool_create(provider, NULL, &pool));
  TRY(tarn_storage_create(pool, 1000, NULL, &storage));
  memcpy(tarn_storage_data_mutable(storage), "weights", sizeof "weights");
  TRY(tarn_storage_export(storage, NULL, &parcel));
  TRY(tarn_share_send(socket, parcel, /*timeout_ms=*/-1));
  int how = 0;
  if (waitpid(child, &how, 0) != child || how != 0) return 1;
  printf("the parent reads: %s\n", (const char *)tarn_storage_data(storage));
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  return 0;
}

int main(void) {
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets) != 0) return 1;
  const pid_t child = fork();
  if (child < 0) return 1;
  close(sockets[child == 0 ? 0 : 1]);
  return child == 0 ? be_child(sockets[1]) : be_parent(sockets[0], child);
}
