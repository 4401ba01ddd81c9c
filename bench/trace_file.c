/* trace_file.c: feeds a file, plain or gzip, to the trace parser. */
#include "bench/trace_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { READ_BYTES = 1 << 16 };

static tarn_status open_file(const char *path, gzFile *out) {
  *out = NULL;
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat about;
  if (fd < 0 || fstat(fd, &about) != 0) {
    const int cause = errno;
    if (fd >= 0) close(fd);
    return tarn_fail_native(cause == ENOENT ? TARN_NOT_FOUND : TARN_SYSTEM_ERROR, "open", cause,
                            "%s: %s", path, strerror(cause));
  }
  if (S_ISDIR(about.st_mode)) {
    close(fd);
    return tarn_fail(TARN_INVALID_ARGUMENT, "%s: is a directory", path);
  }
  gzFile file = gzdopen(fd, "rb");
  if (file == NULL) {
    close(fd);
    return tarn_fail(TARN_OUT_OF_MEMORY, "%s: no memory to read it", path);
  }
  if (gzbuffer(file, READ_BYTES) != 0) {
    gzclose(file);
    return tarn_fail(TARN_OUT_OF_MEMORY, "%s: no memory to read it", path);
  }
  *out = file;
  return TARN_OK;
}

/* What zlib says of the piece just read, in words; TARN_OK where all is well. */
static tarn_status check_gzip(const trace_parser *parser, gzFile file, int read_bytes) {
  const int cause = errno;
  int code = Z_OK;
  const char *text = gzerror(file, &code);
  if (read_bytes >= 0 && code == Z_OK) return TARN_OK;
  switch (code) {
    case Z_BUF_ERROR:
      return trace_parser_fail(parser, "the gzip data ends too early");
    case Z_DATA_ERROR:
      return trace_parser_fail(parser, "the gzip data is damaged (%s)", text);
    case Z_ERRNO:
      return tarn_fail_native(TARN_SYSTEM_ERROR, "read", cause, "%s: %s", parser->name,
                              strerror(cause));
    default:
      return tarn_fail(TARN_OUT_OF_MEMORY, "%s: cannot unpack it (%s)", parser->name, text);
  }
}

static bool demands_gzip(const char *path) {
  const size_t length = strlen(path);
  return length > 3 && strcmp(path + length - 3, ".gz") == 0;
}

static tarn_status feed_all(trace_parser *parser, gzFile file, const char *path, char *buffer) {
  bool is_first = true;
  for (;;) {
    errno = 0;
    const int read_bytes = gzread(file, buffer, READ_BYTES);
    if (is_first && gzdirect(file) && demands_gzip(path)) {
      return trace_parser_fail(parser, "not gzip data, though the name ends in .gz");
    }
    is_first = false;
    /* Whole lines in front of the damage come first: what is wrong with them is the better
     * message, and the line number of the damage is then the right one. */
    if (read_bytes > 0) {
      const tarn_status status = trace_parser_feed(parser, buffer, (size_t)read_bytes);
      if (status != TARN_OK) return status;
    }
    const tarn_status status = check_gzip(parser, file, read_bytes);
    if (status != TARN_OK) return status;
    if (read_bytes == 0) return TARN_OK;
  }
}

tarn_status trace_read_file(const char *path, recorded_trace *out) {
  memset(out, 0, sizeof *out);
  gzFile file = NULL;
  tarn_status status = open_file(path, &file);
  if (status != TARN_OK) return status;
  char *buffer = malloc(READ_BYTES);
  trace_parser *parser = malloc(sizeof *parser);
  if (buffer == NULL || parser == NULL) {
    status = tarn_fail(TARN_OUT_OF_MEMORY, "%s: no memory to read it", path);
  } else {
    trace_parser_init(parser, path);
    status = feed_all(parser, file, path, buffer);
    if (status == TARN_OK) status = trace_parser_finish(parser, out);
    trace_parser_deinit(parser);
  }
  gzclose_r(file);
  free(parser);
  free(buffer);
  return status;
}
