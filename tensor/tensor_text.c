/* tensor_text.c: lays the numbers of a tensor out as text: brackets, columns, lines, edges. */
#include "tensor/tarn_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tensor/element.h"
#include "tensor/tarn_copy.h"
#include "tensor/text_format.h"

/* --- what is shown --- */

/* The shown elements, in memory that the CPU reaches. Along a dimension these are `count` indices;
 * where that is less than the size, the first half and the last half of them:
 *
 *     0 1 2 ... 7 8 9      count 6, gap 4: index 3 is 3 + 4
 */
typedef struct shown {
  const char *data; /* of some byte where there are no elements: then nothing is stepped */
  bool is_empty;
  tarn_dtype dtype;
  int32_t rank;
  int64_t count[TARN_RANK_MAX];
  int64_t gap[TARN_RANK_MAX]; /* left out between the two halves, in elements of the memory */
  bool is_cut[TARN_RANK_MAX];
  int64_t stride_bytes[TARN_RANK_MAX];
  tarn_tensor copy; /* owned; zeroed where the tensor itself is read */
} shown;

static tarn_text_options with_defaults(const tarn_text_options *options) {
  tarn_text_options full = {.struct_size = sizeof full};
  if (options != NULL) full = *options;
  full.precision = full.precision == 0 ? 8 : full.precision < 0 ? 0 : full.precision;
  full.threshold = full.threshold == 0 ? 1000 : full.threshold < 0 ? 0 : full.threshold;
  if (full.edge_items == 0) full.edge_items = 3;
  if (full.line_width == 0) full.line_width = 75;
  return full;
}

static tarn_status check_options(const tarn_text_options *options) {
  if (options == NULL) return TARN_OK;
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tarn_text_options has %zu bytes, not %zu",
                     sizeof *options, options->struct_size);
  }
  if ((unsigned)options->style > TARN_TEXT_LIST || options->precision > TARN__PRECISION_MAX ||
      options->edge_items < 0 || options->line_width < 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "text style %d, precision %d, %" PRId64 " edge items, line width %" PRId64,
                     (int)options->style, options->precision, options->edge_items,
                     options->line_width);
  }
  return TARN_OK;
}

/* Which indices are shown; NumPy's rule of the edges. */
static void choose(const tarn_tensor *tensor, const tarn_text_options *options, shown *show) {
  const tarn_layout *layout = &tensor->layout;
  const int64_t element_bytes = (int64_t)tarn_dtype_size_bytes(tensor->dtype);
  const bool is_long =
      options->style != TARN_TEXT_LIST && tarn_layout_element_count(layout) > options->threshold;
  *show = (shown){.data = "", .dtype = tensor->dtype, .rank = layout->rank};
  show->is_empty = tarn_layout_element_count(layout) == 0;
  for (int32_t d = 0; d < layout->rank; d++) {
    const int64_t size = layout->shape[d];
    /* size - edges > edges: twice the edges may be more than 63 bits hold. */
    show->is_cut[d] =
        is_long && size > options->edge_items && size - options->edge_items > options->edge_items;
    show->count[d] = show->is_cut[d] ? 2 * options->edge_items : size;
    show->gap[d] = size - show->count[d];
    show->stride_bytes[d] = show->is_empty ? 0 : layout->strides[d] * element_bytes;
  }
}

/* Copies the corner number `corner` of what is shown: bit d says which half of dimension d. */
static tarn_status copy_corner(const tarn_tensor *tensor, const shown *show, uint32_t corner,
                               tarn_stream *stream) {
  tarn_tensor from = *tensor, to = show->copy;
  tarn_status status = TARN_OK;
  for (int32_t d = 0; d < show->rank && status == TARN_OK; d++) {
    if (!show->is_cut[d]) continue;
    const int64_t half = show->count[d] / 2;
    const bool is_end = (corner & (1u << d)) != 0;
    status = tarn_tensor_narrow(&to, d, is_end ? half : 0, half);
    if (status != TARN_OK) break;
    status = tarn_tensor_narrow(&from, d, is_end ? half + show->gap[d] : 0, half);
  }
  return status == TARN_OK ? tarn_tensor_copy(&to, &from, stream, NULL) : status;
}

/* A device's elements, those that are shown, packed in memory of the host. */
static tarn_status bring_over(const tarn_tensor *tensor, tarn_pool *pool, tarn_stream *stream,
                              shown *show) {
  uint32_t cut_dims = 0;
  if (pool == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a device's tensor as text needs a pool");
  }
  if (!tarn_device_is_host(tarn_pool_attributes_of(pool)->device)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "pool %s is not memory that the CPU reads",
                     tarn_pool_name(pool));
  }
  tarn_status status =
      tarn_tensor_create(pool, show->dtype, show->rank, show->count, NULL, &show->copy);
  if (status != TARN_OK) return status;
  for (int32_t d = 0; d < show->rank; d++) cut_dims |= show->is_cut[d] ? 1u << d : 0;
  for (uint32_t corner = 0; corner < 1u << show->rank && status == TARN_OK; corner++) {
    if ((corner & ~cut_dims) == 0) status = copy_corner(tensor, show, corner, stream);
  }
  /* After a failure, too: a copy that went before may still write. */
  const tarn_status waited = tarn_stream_synchronize(stream);
  if (status == TARN_OK) status = waited;
  if (status != TARN_OK) {
    tarn_tensor_release(&show->copy);
    return status;
  }
  show->data = tarn_tensor_data(&show->copy);
  const int64_t element_bytes = (int64_t)tarn_dtype_size_bytes(show->dtype);
  for (int32_t d = 0; d < show->rank; d++) {
    show->gap[d] = 0;
    show->stride_bytes[d] = show->copy.layout.strides[d] * element_bytes;
  }
  return TARN_OK;
}

static tarn_status begin_shown(const tarn_tensor *tensor, const tarn_text_options *options,
                               tarn_pool *pool, tarn_stream *stream, shown *show) {
  tarn_scalar scalar;
  char none[16] = {0};
  *show = (shown){0};
  tarn_status status = tarn__element_check(tensor, "the text of");
  if (status == TARN_OK) status = check_options(options);
  if (status != TARN_OK) return status;
  status = tarn_scalar_load(tensor->dtype, none, &scalar); /* no element is longer */
  if (status != TARN_OK) return status;
  const tarn_text_options full = with_defaults(options);
  choose(tensor, &full, show);
  if (show->is_empty) return TARN_OK;
  if (!tarn_device_is_host(tarn_tensor_device(tensor))) {
    return bring_over(tensor, pool, stream, show);
  }
  show->data = tarn_tensor_data(tensor);
  return tarn_stream_synchronize(stream);
}

static const char *step_to(const shown *show, int32_t dim, int64_t index, const char *data) {
  const bool is_behind = show->is_cut[dim] && index >= show->count[dim] / 2;
  return data + (index + (is_behind ? show->gap[dim] : 0)) * show->stride_bytes[dim];
}

static tarn_scalar scalar_at(const shown *show, const char *data) {
  tarn_scalar scalar;
  const tarn_status status = tarn_scalar_load(show->dtype, data, &scalar);
  TARN_ASSERT(status == TARN_OK); /* begin_shown tried the dtype */
  (void)status;
  return scalar;
}

/* --- pieces --- */

/* Blanks wait until something follows them on their line: no line ends with one. */
typedef struct writer {
  tarn_text_write write;
  void *context;
  tarn_status status;
  int64_t column; /* waiting blanks counted */
  int64_t blanks;
  size_t used;
  char buffer[512];
} writer;

static void flush(writer *out) {
  if (out->used > 0 && out->status == TARN_OK) {
    out->status = out->write(out->context, out->buffer, out->used);
  }
  out->used = 0;
}

static void put_byte(writer *out, char byte) {
  if (out->used == sizeof out->buffer) flush(out);
  out->buffer[out->used++] = byte;
}

static void put(writer *out, const char *text, size_t size_bytes) {
  for (size_t i = 0; i < size_bytes; i++) {
    out->column++;
    if (text[i] == ' ') {
      out->blanks++;
      continue;
    }
    for (; out->blanks > 0; out->blanks--) put_byte(out, ' ');
    put_byte(out, text[i]);
  }
}

static void put_text(writer *out, const char *text) {
  put(out, text, strlen(text));
}

static void put_lines(writer *out, int32_t count, int64_t indent) {
  out->blanks = indent;
  out->column = indent;
  for (int32_t i = 0; i < count; i++) put_byte(out, '\n');
}

/* --- arrays --- */

typedef struct array_text {
  const shown *show;
  tarn__format format;
  const char *separator;
  int64_t separator_columns; /* without the blank behind it */
  int64_t prefix_columns;    /* "array(" */
  int64_t line_width;        /* without what stands behind the last bracket */
  writer *out;
} array_text;

typedef void (*scan)(tarn__format *format, tarn_scalar scalar);

static void scan_all(array_text *text, int32_t dim, const char *data, scan learn) {
  if (dim == text->show->rank) {
    learn(&text->format, scalar_at(text->show, data));
    return;
  }
  for (int64_t i = 0; i < text->show->count[dim]; i++) {
    scan_all(text, dim + 1, step_to(text->show, dim, i, data), learn);
  }
}

/* One word of a row, on the next line where it would not fit and that would help. */
static void put_word(array_text *text, int32_t dim, const char *word, int64_t columns) {
  const int64_t indent = text->prefix_columns + 1 + dim;
  const int64_t closing = text->separator_columns > 1 ? text->separator_columns : 1;
  const int64_t room = text->line_width - dim - closing;
  if (text->out->column + columns > room && text->out->column > indent) {
    put_lines(text->out, 1, indent);
  }
  put(text->out, word, (size_t)columns);
}

static void put_row(array_text *text, int32_t dim, const char *data) {
  char word[TARN__WORD_BYTES];
  const shown *show = text->show;
  for (int64_t i = 0; i < show->count[dim] && text->out->status == TARN_OK; i++) {
    if (i > 0) put_text(text->out, text->separator);
    if (show->is_cut[dim] && i == show->count[dim] / 2) {
      put_word(text, dim, "...", 3);
      put_text(text->out, text->separator);
    }
    const tarn_scalar scalar = scalar_at(show, step_to(show, dim, i, data));
    const int columns = tarn__format_write(&text->format, scalar, word);
    put_word(text, dim, word, columns);
  }
}

static void put_array(array_text *text, int32_t dim, const char *data) {
  const shown *show = text->show;
  const int64_t indent = text->prefix_columns + 1 + dim;
  const int32_t dims_left = show->rank - dim;
  put_text(text->out, "[");
  if (dims_left == 1) {
    put_row(text, dim, data);
  } else {
    for (int64_t i = 0; i < show->count[dim] && text->out->status == TARN_OK; i++) {
      const bool is_gap = show->is_cut[dim] && i == show->count[dim] / 2;
      for (int lines = i == 0 ? 0 : is_gap ? 2 : 1; lines > 0; lines--) {
        put(text->out, text->separator, (size_t)text->separator_columns);
        put_lines(text->out, dims_left - 1, indent);
        if (lines == 2) put_text(text->out, "...");
      }
      put_array(text, dim + 1, step_to(show, dim, i, data));
    }
  }
  put_text(text->out, "]");
}

/* What NumPy's repr adds where the numbers do not tell: "shape=(0, 2), dtype=float32)". */
static void put_extras(array_text *text, const tarn_tensor *tensor, bool is_cut,
                       int64_t line_width) {
  char extras[TARN_RANK_MAX * 22 + 96], name[64];
  const tarn_layout *layout = &tensor->layout;
  const bool is_empty = tarn_layout_element_count(layout) == 0;
  const bool has_shape = is_cut || (is_empty && layout->rank != 1);
  const tarn_dtype dtype = tensor->dtype;
  const bool is_implied = tarn_dtype_equal(dtype, TARN_I64) || tarn_dtype_equal(dtype, TARN_F64) ||
                          tarn_dtype_equal(dtype, TARN_C128) || tarn_dtype_equal(dtype, TARN_BOOL);
  size_t used = 0;
  if (has_shape) {
    used += (size_t)snprintf(extras + used, sizeof extras - used, "shape=(");
    for (int32_t d = 0; d < layout->rank; d++) {
      used += (size_t)snprintf(extras + used, sizeof extras - used, "%s%" PRId64, d > 0 ? ", " : "",
                               layout->shape[d]);
    }
    used += (size_t)snprintf(extras + used, sizeof extras - used, layout->rank == 1 ? ",)" : ")");
  }
  if (!is_implied || is_empty) {
    used += (size_t)snprintf(extras + used, sizeof extras - used, "%sdtype=%s",
                             has_shape ? ", " : "", tarn_dtype_name(dtype, name, sizeof name));
  }
  if (used > 0) {
    put_text(text->out, ",");
    if (text->out->column + (int64_t)used + 2 > line_width) {
      put_lines(text->out, 1, text->prefix_columns);
    } else {
      put_text(text->out, " ");
    }
    put(text->out, extras, used);
  }
  put_text(text->out, ")");
}

static void write_array(const tarn_tensor *tensor, const shown *show,
                        const tarn_text_options *options, writer *out) {
  const bool is_repr = options->style == TARN_TEXT_REPR;
  char word[TARN__WORD_BYTES];
  bool is_cut = tarn_layout_element_count(&tensor->layout) > options->threshold;
  array_text text = {.show = show,
                     .separator = is_repr ? ", " : " ",
                     .separator_columns = is_repr ? 1 : 0,
                     .prefix_columns = is_repr ? 6 : 0,
                     .line_width = options->line_width - is_repr,
                     .out = out};
  if (is_repr) put_text(out, "array(");
  if (show->is_empty) {
    put_text(out, "[]");
  } else {
    const tarn_scalar first = scalar_at(show, show->data);
    if (show->rank == 0 && !is_repr) {
      put(out, word, (size_t)tarn__scalar_write(first, tarn__real_dtype(tensor->dtype), word));
      return;
    }
    tarn__format_init(&text.format, first.kind, tensor->dtype, options->precision,
                      options->suppress_small, show->rank == 0);
    scan_all(&text, 0, show->data, tarn__format_range);
    scan_all(&text, 0, show->data, tarn__format_measure);
    tarn__format_finish(&text.format);
    if (show->rank == 0) {
      put(out, word, (size_t)tarn__format_write(&text.format, first, word));
    } else {
      put_array(&text, 0, show->data);
    }
  }
  if (is_repr) put_extras(&text, tensor, is_cut, options->line_width);
}

/* --- lists --- */

static void write_list(const shown *show, int32_t dim, const char *data, writer *out) {
  char word[TARN__WORD_BYTES];
  if (dim == show->rank) {
    put(out, word, (size_t)tarn__scalar_write(scalar_at(show, data), TARN_F64, word));
    return;
  }
  put_text(out, "[");
  for (int64_t i = 0; i < show->count[dim] && out->status == TARN_OK; i++) {
    if (i > 0) put_text(out, ", ");
    write_list(show, dim + 1, step_to(show, dim, i, data), out);
  }
  put_text(out, "]");
}

tarn_status tarn_tensor_write_text(const tarn_tensor *tensor, const tarn_text_options *options,
                                   tarn_pool *pool, tarn_stream *stream, tarn_text_write write,
                                   void *context) {
  shown show;
  if (write == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "nobody takes the text");
  tarn_status status = begin_shown(tensor, options, pool, stream, &show);
  if (status != TARN_OK) return status;
  const tarn_text_options full = with_defaults(options);
  writer out = {.write = write, .context = context};
  if (full.style == TARN_TEXT_LIST) {
    write_list(&show, 0, show.data, &out);
  } else {
    write_array(tensor, &show, &full, &out);
  }
  flush(&out);
  tarn_tensor_release(&show.copy);
  return out.status;
}

typedef struct text_buffer {
  char *text;
  size_t text_bytes;
  size_t length_bytes;
} text_buffer;

static tarn_status write_to_buffer(void *context, const char *text, size_t size_bytes) {
  text_buffer *buffer = context;
  if (buffer->length_bytes + 1 < buffer->text_bytes) {
    const size_t room = buffer->text_bytes - buffer->length_bytes - 1;
    memcpy(buffer->text + buffer->length_bytes, text, size_bytes < room ? size_bytes : room);
  }
  buffer->length_bytes += size_bytes;
  return TARN_OK;
}

tarn_status tarn_tensor_text(const tarn_tensor *tensor, const tarn_text_options *options,
                             tarn_pool *pool, tarn_stream *stream, char *text, size_t text_bytes,
                             size_t *length_bytes) {
  text_buffer buffer = {.text = text, .text_bytes = text_bytes};
  if (length_bytes != NULL) *length_bytes = 0;
  if (text_bytes > 0 && text == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for text");
  if (text_bytes > 0) text[0] = '\0';
  const tarn_status status =
      tarn_tensor_write_text(tensor, options, pool, stream, write_to_buffer, &buffer);
  if (text_bytes > 0) {
    const size_t end = buffer.length_bytes < text_bytes ? buffer.length_bytes : text_bytes - 1;
    text[status == TARN_OK ? end : 0] = '\0';
  }
  if (status == TARN_OK && length_bytes != NULL) *length_bytes = buffer.length_bytes;
  return status;
}
