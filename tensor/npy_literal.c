/* npy_literal.c: a reader of the one Python literal that stands in a .npy header. */
#include "tensor/npy_literal.h"

#include <string.h>

typedef struct reader {
  const char *start;
  const char *at;
  const char *end;
  bool allows_long;
} reader;

static tarn_status expected(const reader *self, const char *what) {
  return tarn_fail(TARN_BAD_FORMAT, ".npy header: %s expected at byte %zu of the dictionary", what,
                   (size_t)(self->at - self->start));
}

/* --- tokens; each skips the white space in front of it --- */

static void skip_space(reader *self) {
  while (self->at < self->end && *self->at != '\0' && strchr(" \t\n\r\f", *self->at) != NULL) {
    self->at++;
  }
}

static bool is_next(reader *self, char wanted) {
  skip_space(self);
  return self->at < self->end && *self->at == wanted;
}

static bool take(reader *self, char wanted) {
  if (!is_next(self, wanted)) return false;
  self->at++;
  return true;
}

static bool take_word(reader *self, const char *word) {
  const size_t length = strlen(word);
  skip_space(self);
  if ((size_t)(self->end - self->at) < length || memcmp(self->at, word, length) != 0) return false;
  self->at += length;
  return true;
}

/* False where none begins here, or it does not end on its line; then nothing is taken. */
static bool take_string(reader *self, const char **text, size_t *length) {
  if (!is_next(self, '\'') && !is_next(self, '"')) return false;
  const char quote = *self->at;
  for (const char *at = self->at + 1; at < self->end && *at != '\\' && *at != '\n'; at++) {
    if (*at != quote) continue;
    *text = self->at + 1;
    *length = (size_t)(at - *text);
    self->at = at + 1;
    return true;
  }
  return false;
}

static bool is_digit(const reader *self) {
  return self->at < self->end && *self->at >= '0' && *self->at <= '9';
}

static tarn_status read_size(reader *self, int64_t *size) {
  skip_space(self);
  const char *first = self->at;
  *size = 0;
  for (; is_digit(self); self->at++) {
    if (!tarn_int64_mul(*size, 10, size) || !tarn_int64_add(*size, *self->at - '0', size)) {
      return tarn_fail(TARN_TOO_LARGE, ".npy header: a size of more than 2^63 - 1");
    }
  }
  if (self->at == first || (*first == '0' && self->at - first > 1)) {
    self->at = first;
    return expected(self, "a size");
  }
  if (self->allows_long && self->at < self->end && *self->at == 'L') self->at++;
  return TARN_OK;
}

/* --- values --- */

static tarn_status read_bool(reader *self, bool *value) {
  *value = take_word(self, "True");
  if (*value || take_word(self, "False")) return TARN_OK;
  return expected(self, "True or False");
}

/* (), (2,), (2, 3) and (2, 3,); (2) is a number to Python. */
static tarn_status read_shape(reader *self, tarn__npy_literal *literal) {
  bool has_comma = false;
  if (!take(self, '(')) return expected(self, "the ( of a shape");
  while (!take(self, ')')) {
    if (literal->rank > 0 && !has_comma) return expected(self, "a comma or )");
    if (literal->rank == TARN_RANK_MAX) {
      return tarn_fail(TARN_NOT_SUPPORTED, ".npy header: more than %d dimensions", TARN_RANK_MAX);
    }
    const tarn_status status = read_size(self, &literal->shape[literal->rank]);
    if (status != TARN_OK) return status;
    literal->rank++;
    has_comma = take(self, ',');
  }
  if (literal->rank == 1 && !has_comma) return expected(self, "a comma behind the only size");
  return TARN_OK;
}

/* Whatever is nested here, up to the bracket that closes the first one. */
static bool skip_brackets(reader *self) {
  size_t depth = 0;
  const char *text;
  size_t length;
  do {
    skip_space(self);
    if (self->at == self->end) return false;
    if (take_string(self, &text, &length)) continue;
    if (strchr("[({", *self->at) != NULL && *self->at != '\0') depth++;
    if (strchr("])}", *self->at) != NULL && *self->at != '\0') depth--;
    self->at++;
  } while (depth > 0);
  return true;
}

/* A string is a plain element type; a list or a tuple is a structure, which is kept for a message
 * alone. */
static tarn_status read_descr(reader *self, tarn__npy_literal *literal) {
  literal->descr_is_string = take_string(self, &literal->descr, &literal->descr_bytes);
  if (literal->descr_is_string) return TARN_OK;
  const bool is_nested = is_next(self, '[') || is_next(self, '(');
  literal->descr = self->at;
  if (!is_nested || !skip_brackets(self)) return expected(self, "an element type");
  literal->descr_bytes = (size_t)(self->at - literal->descr);
  return TARN_OK;
}

/* --- the dictionary --- */

enum { DESCR, FORTRAN_ORDER, SHAPE, KEY_COUNT };
static const char *const key_names[KEY_COUNT] = {"descr", "fortran_order", "shape"};

static tarn_status read_key(reader *self, unsigned *seen, int *key) {
  const char *text;
  size_t length;
  if (!take_string(self, &text, &length)) return expected(self, "a key in quotes");
  for (*key = 0; *key < KEY_COUNT; ++*key) {
    if (strlen(key_names[*key]) == length && memcmp(text, key_names[*key], length) == 0) break;
  }
  if (*key == KEY_COUNT || (*seen >> *key & 1) != 0) {
    self->at = text;
    return expected(self, "'descr', 'fortran_order' or 'shape', each once,");
  }
  *seen |= 1u << *key;
  return take(self, ':') ? TARN_OK : expected(self, "a colon");
}

static tarn_status read_item(reader *self, unsigned *seen, tarn__npy_literal *literal) {
  int key = 0;
  const tarn_status status = read_key(self, seen, &key);
  if (status != TARN_OK) return status;
  if (key == DESCR) return read_descr(self, literal);
  if (key == SHAPE) return read_shape(self, literal);
  return read_bool(self, &literal->is_fortran);
}

tarn_status tarn__npy_literal_read(const char *text, size_t size, bool allows_long,
                                   tarn__npy_literal *literal) {
  reader self = {.start = text, .at = text, .end = text + size, .allows_long = allows_long};
  unsigned seen = 0;
  bool has_comma = true;
  *literal = (tarn__npy_literal){0};
  if (!take(&self, '{')) return expected(&self, "the { of a dictionary");
  while (!take(&self, '}')) {
    if (!has_comma) return expected(&self, "a comma or }");
    const tarn_status status = read_item(&self, &seen, literal);
    if (status != TARN_OK) return status;
    has_comma = take(&self, ',');
  }
  for (int key = 0; key < KEY_COUNT; key++) {
    if ((seen >> key & 1) == 0) {
      return tarn_fail(TARN_BAD_FORMAT, ".npy header: the key '%s' is missing", key_names[key]);
    }
  }
  skip_space(&self);
  return self.at == self.end ? TARN_OK : expected(&self, "nothing more");
}
