/* npy_image.h: .npy files written by hand, as bytes and as files that have no name. */
#ifndef TESTS_NPY_IMAGE_H
#define TESTS_NPY_IMAGE_H

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/support/test.h"

enum { IMAGE_BYTES_MAX = 70000 };

typedef struct npy_image {
  char bytes[IMAGE_BYTES_MAX];
  size_t size;
} npy_image;

/* The prefix of a version, and the dictionary as it stands. */
static inline void image_begin(npy_image *image, int major, const char *dictionary,
                               size_t dictionary_bytes) {
  const size_t length_bytes = major == 1 ? 2 : 4;
  memcpy(image->bytes, "\x93NUMPY", 6);
  image->bytes[6] = (char)major;
  image->bytes[7] = 0;
  for (size_t i = 0; i < length_bytes; i++) {
    image->bytes[8 + i] = (char)(dictionary_bytes >> (8 * i));
  }
  memcpy(image->bytes + 8 + length_bytes, dictionary, dictionary_bytes);
  image->size = 8 + length_bytes + dictionary_bytes;
}

/* The same padded as NumPy does, so that data begins on a multiple of 64. */
static inline void image_begin_aligned(npy_image *image, const char *dictionary) {
  char text[4096];
  const int used = snprintf(text, sizeof text, "%s", dictionary);
  const int length = (used + 1 + 10 + 63) / 64 * 64 - 10;
  snprintf(text, sizeof text, "%-*s\n", length - 1, dictionary);
  image_begin(image, 1, text, (size_t)length);
}

static inline void image_add(npy_image *image, const void *bytes, size_t size) {
  memcpy(image->bytes + image->size, bytes, size);
  image->size += size;
}

/* A file without a name that holds the image; `path` leads there as long as it is open. */
static inline int image_open(const npy_image *image, char path[64]) {
  const int file = memfd_create("npy", MFD_CLOEXEC);
  assert_true(file >= 0);
  assert_int_equal(write(file, image->bytes, image->size), image->size);
  snprintf(path, 64, "/proc/self/fd/%d", file);
  return file;
}

#endif
