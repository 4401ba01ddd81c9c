/* transfer_memory.c: makes buffers of every kind of memory, fills them and reads them back. */
#include "bench/transfer_memory.h"

#include <stdio.h>
#include <string.h>

#include "alloc/tarn_pages.h"
#include "bench/affinity.h"

enum { HUGE_BYTES = 2 << 20 };

/* --- making --- */

/* A node's pages, or any where no node is asked for; touched before the first copy. */
static tarn_status make_pages(tarn_topology *topology, int32_t node, size_t page_bytes,
                              tarn_pages_huge huge, tarn_provider **provider) {
  if (node < 0 || topology == NULL) {
    const tarn_pages_options options = {.struct_size = sizeof options,
                                        .huge = huge,
                                        .page_bytes = page_bytes,
                                        .flags = TARN_PAGES_POPULATE};
    return tarn_pages_provider_create(&options, provider);
  }
  tarn_node_options options = tarn_node_options_on(node);
  options.flags = TARN_PAGES_POPULATE;
  options.page_bytes = page_bytes;
  options.huge = huge;
  return tarn_node_provider_create(topology, &options, provider);
}

static tarn_status take_block(transfer_buffer *buffer) {
  void *address = NULL;
  const tarn_status status = tarn_provider_alloc(buffer->provider, buffer->size_bytes, &address);
  buffer->address = address;
  return status;
}

static tarn_status make_registered(const where_place *where, tarn_topology *topology,
                                   transfer_buffer *buffer) {
  const bool is_huge = buffer->memory == TRANSFER_HUGEPAGES;
  tarn_status status = TARN_OK;
  if (is_huge) { /* explicit pages where the administrator has set some aside */
    status =
        make_pages(topology, buffer->node, HUGE_BYTES, TARN_PAGES_HUGE_DEFAULT, &buffer->provider);
    if (status == TARN_OK) status = take_block(buffer);
  }
  if (!is_huge || status != TARN_OK) {
    tarn_provider_release(buffer->provider);
    buffer->provider = NULL;
    status =
        make_pages(topology, buffer->node, 0,
                   is_huge ? TARN_PAGES_HUGE_ADVISE : TARN_PAGES_HUGE_NEVER, &buffer->provider);
    if (status == TARN_OK) status = take_block(buffer);
  }
  if (status != TARN_OK) return status;
  return tarn_cuda_pin_create(where->cuda, buffer->address, buffer->size_bytes, 0, &buffer->pin);
}

/* The driver takes pages where the calling thread runs: so it runs on the node meanwhile. */
static tarn_status make_host_alloc(const tarn_topology *topology, transfer_buffer *buffer) {
  affinity_saved saved;
  void *address = NULL;
  affinity_enter(topology, buffer->node, &saved);
  const tarn_status status = transfer_driver_host_alloc(
      buffer->driver, buffer->size_bytes, buffer->memory == TRANSFER_WRITE_COMBINED, &address);
  affinity_leave(&saved);
  buffer->address = address;
  return status;
}

static tarn_status make_block(const where_place *where, tarn_topology *topology,
                              transfer_buffer *buffer) {
  tarn_status status = TARN_OK;
  switch (buffer->memory) {
    case TRANSFER_DEVICE:
      buffer->provider = where->provider;
      tarn_provider_retain(where->provider);
      return take_block(buffer);
    case TRANSFER_PAGEABLE:
      status = make_pages(topology, buffer->node, 0, TARN_PAGES_HUGE_DEFAULT, &buffer->provider);
      return status == TARN_OK ? take_block(buffer) : status;
    case TRANSFER_PINNED:
    case TRANSFER_WRITE_COMBINED:
      return make_host_alloc(topology, buffer);
    case TRANSFER_REGISTERED:
    case TRANSFER_HUGEPAGES:
      return make_registered(where, topology, buffer);
  }
  return tarn_fail(TARN_INVALID_ARGUMENT, "no such memory");
}

/* --- where it lies --- */

static void tell_pages(const transfer_buffer *buffer, char *text, size_t text_bytes) {
  tarn_pages_state state = {.struct_size = sizeof state};
  text[0] = '\0';
  if (buffer->memory == TRANSFER_PINNED || buffer->memory == TRANSFER_WRITE_COMBINED ||
      tarn_pages_inspect(buffer->address, buffer->size_bytes, &state) != TARN_OK) {
    return;
  }
  snprintf(text, text_bytes, ", %.0f %% on huge pages",
           100 * (double)state.huge_bytes / (double)buffer->size_bytes);
}

static void tell_placement(transfer_buffer *buffer) {
  tarn_placement_pages pages = {.struct_size = sizeof pages};
  char on_pages[48];
  if (buffer->memory == TRANSFER_DEVICE) return;
  tell_pages(buffer, on_pages, sizeof on_pages);
  const tarn_status status = tarn_placement_verify(buffer->address, buffer->size_bytes, &pages);
  if (status != TARN_OK || pages.node_count == 0) {
    snprintf(buffer->placed, sizeof buffer->placed, "the kernel does not tell the node%s",
             on_pages);
    return;
  }
  size_t on_node = 0;
  size_t all = pages.other_pages;
  const int32_t wanted = buffer->node < 0 ? pages.nodes[0] : buffer->node;
  for (int32_t i = 0; i < pages.node_count; i++) {
    all += pages.node_pages[i];
    if (pages.nodes[i] == wanted) on_node += pages.node_pages[i];
  }
  buffer->is_misplaced = on_node != all;
  if (on_node == all) {
    snprintf(buffer->placed, sizeof buffer->placed, "node %d%s", (int)wanted, on_pages);
  } else {
    snprintf(buffer->placed, sizeof buffer->placed, "%.1f %% on node %d%s",
             100 * (double)on_node / (double)all, (int)wanted, on_pages);
  }
}

static tarn_status wrap_bytes(transfer_buffer *buffer) {
  const tarn_device_type types[] = {
      [TRANSFER_PAGEABLE] = TARN_DEVICE_CPU,
      [TRANSFER_PINNED] = TARN_DEVICE_CUDA_HOST,
      [TRANSFER_WRITE_COMBINED] = TARN_DEVICE_CUDA_HOST,
      [TRANSFER_REGISTERED] = TARN_DEVICE_CUDA_HOST,
      [TRANSFER_HUGEPAGES] = TARN_DEVICE_CUDA_HOST,
  };
  const tarn_blob blob = {.struct_size = sizeof blob,
                          .address = buffer->address,
                          .size_bytes = buffer->size_bytes,
                          .device = buffer->memory == TRANSFER_DEVICE
                                        ? tarn_provider_attributes_of(buffer->provider)->device
                                        : tarn_device_make(types[buffer->memory], 0)};
  const int64_t size = (int64_t)buffer->size_bytes;
  return tarn_tensor_wrap(&blob, TARN_U8, 1, &size, NULL, 0, &buffer->bytes);
}

tarn_status transfer_buffer_create(const where_place *where, transfer_driver *driver,
                                   tarn_topology *topology, transfer_memory memory, int32_t node,
                                   size_t size_bytes, transfer_buffer *buffer) {
  *buffer =
      (transfer_buffer){.memory = memory, .node = node, .size_bytes = size_bytes, .driver = driver};
  tarn_status status = make_block(where, topology, buffer);
  if (status == TARN_OK) status = wrap_bytes(buffer);
  if (status != TARN_OK) {
    transfer_buffer_destroy(buffer);
    return status;
  }
  tell_placement(buffer);
  return TARN_OK;
}

void transfer_buffer_destroy(transfer_buffer *buffer) {
  tarn_status status = TARN_OK;
  tarn_tensor_release(&buffer->bytes);
  tarn_cuda_pin_destroy(buffer->pin);
  if (buffer->address != NULL) {
    status = buffer->provider == NULL
                 ? transfer_driver_host_free(buffer->driver, buffer->address)
                 : tarn_provider_free(buffer->provider, buffer->address, buffer->size_bytes);
  }
  (void)status; /* memory that the machine does not take back is lost; there is nothing to do */
  tarn_provider_release(buffer->provider);
  memset(buffer, 0, sizeof *buffer);
}

/* --- bytes --- */

/* Of each 8 bytes at a multiple of 8: differs from its neighbours, from the same place of another
 * stretch, and, in every byte, from that of the inverted seed. */
static uint64_t word_at(size_t offset, uint64_t seed) {
  uint64_t word = (offset >> 3) * 0x9E3779B97F4A7C15u;
  word ^= word >> 29;
  return word ^ seed;
}

/* Bytes until the next multiple of 8, at most `left`. */
static size_t step_at(size_t offset, size_t left) {
  const size_t step = 8 - (offset & 7);
  return step < left ? step : left;
}

static void write_pattern(char *at, size_t offset, size_t size_bytes, uint64_t seed) {
  size_t done = 0;
  while (done < size_bytes) {
    for (; ((offset + done) & 7) == 0 && size_bytes - done >= 8; done += 8) {
      const uint64_t word = word_at(offset + done, seed);
      memcpy(at + done, &word, sizeof word);
    }
    if (done == size_bytes) break;
    const uint64_t word = word_at(offset + done, seed);
    const size_t step = step_at(offset + done, size_bytes - done);
    memcpy(at + done, (const char *)&word + ((offset + done) & 7), step);
    done += step;
  }
}

/* The first byte that is not as write_pattern writes it; size_bytes where there is none. */
static size_t find_difference(const char *at, size_t offset, size_t size_bytes, uint64_t seed) {
  size_t done = 0;
  while (done < size_bytes) {
    for (; ((offset + done) & 7) == 0 && size_bytes - done >= 8; done += 8) {
      uint64_t found;
      memcpy(&found, at + done, sizeof found);
      if (found != word_at(offset + done, seed)) break;
    }
    if (done == size_bytes) break;
    const uint64_t word = word_at(offset + done, seed);
    const char *expected = (const char *)&word + ((offset + done) & 7);
    const size_t step = step_at(offset + done, size_bytes - done);
    for (size_t i = 0; i < step; i++, done++) {
      if (at[done] != expected[i]) return done;
    }
  }
  return size_bytes;
}

/* The next piece of a range that goes through the stage; all of it where the CPU reaches it. */
static size_t piece_bytes(const transfer_bytes *bytes, bool is_staged, size_t left) {
  return !is_staged || left < bytes->stage_bytes ? left : bytes->stage_bytes;
}

static tarn_status copy_and_wait(const transfer_bytes *bytes, void *dst, const void *src,
                                 size_t size_bytes) {
  const tarn_status status =
      transfer_driver_copy(bytes->driver, dst, src, size_bytes, bytes->stream);
  const tarn_status waited = transfer_stream_synchronize(bytes->driver, bytes->stream);
  return status == TARN_OK ? waited : status;
}

tarn_status transfer_bytes_write(const transfer_bytes *bytes, const transfer_buffer *buffer,
                                 size_t offset, size_t size_bytes, uint64_t seed) {
  const bool is_device = buffer->memory == TRANSFER_DEVICE;
  tarn_status status = TARN_OK;
  for (size_t done = 0; status == TARN_OK && done < size_bytes;) {
    const size_t step = piece_bytes(bytes, is_device, size_bytes - done);
    char *at = buffer->address + offset + done;
    write_pattern(is_device ? bytes->stage : at, offset + done, step, seed);
    if (is_device) status = copy_and_wait(bytes, at, bytes->stage, step);
    done += step;
  }
  return status;
}

tarn_status transfer_bytes_compare(const transfer_bytes *bytes, const transfer_buffer *buffer,
                                   size_t offset, size_t size_bytes, size_t src_offset,
                                   uint64_t seed, size_t *wrong_at) {
  const bool is_bounced = buffer->memory == TRANSFER_WRITE_COMBINED && bytes->bounce != NULL;
  const bool is_staged = buffer->memory == TRANSFER_DEVICE || is_bounced;
  tarn_status status = TARN_OK;
  *wrong_at = size_bytes;
  for (size_t done = 0; status == TARN_OK && done < size_bytes;) {
    const size_t step = piece_bytes(bytes, is_staged, size_bytes - done);
    const char *at = buffer->address + offset + done;
    if (is_bounced) status = copy_and_wait(bytes, bytes->bounce, at, step);
    if (is_staged && status == TARN_OK) {
      status = copy_and_wait(bytes, bytes->stage, is_bounced ? bytes->bounce : at, step);
    }
    if (status != TARN_OK) return status;
    const size_t wrong =
        find_difference(is_staged ? bytes->stage : at, src_offset + done, step, seed);
    if (wrong < step) {
      *wrong_at = done + wrong;
      return TARN_OK;
    }
    done += step;
  }
  return status;
}

tarn_status transfer_bytes_spoil(const transfer_bytes *bytes, const transfer_buffer *buffer) {
  const uint8_t value = 0xCA;
  if (buffer->memory != TRANSFER_DEVICE) {
    memset(buffer->address, value, buffer->size_bytes);
    return TARN_OK;
  }
  const tarn_status status = transfer_driver_fill(bytes->driver, buffer->address, value,
                                                  buffer->size_bytes, bytes->stream);
  const tarn_status waited = transfer_stream_synchronize(bytes->driver, bytes->stream);
  return status == TARN_OK ? waited : status;
}
