/* test_provider.c: the provider seam: what an implementation must bring, and who owns it. */
#include "tests/support/test.h"

#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_provider.h"
#include "tests/support/manual_stream.h"

static int destroyed_count;

static tarn_status plain_attributes(void *context, tarn_provider_attributes *attributes) {
  (void)context;
  attributes->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  attributes->granularity_bytes = 4096;
  attributes->alignment_bytes = 16;
  return TARN_OK;
}

static tarn_status bad_attributes(void *context, tarn_provider_attributes *attributes) {
  const tarn_status status = plain_attributes(context, attributes);
  attributes->granularity_bytes = 1000;
  return status;
}

static tarn_status boastful_attributes(void *context, tarn_provider_attributes *attributes) {
  const tarn_status status = plain_attributes(context, attributes);
  attributes->flags = TARN_PROVIDER_RESERVES;
  return status;
}

static tarn_status orderly_attributes(void *context, tarn_provider_attributes *attributes) {
  const tarn_status status = plain_attributes(context, attributes);
  attributes->flags = TARN_PROVIDER_ORDERED;
  return status;
}

static tarn_status plain_alloc(void *context, size_t size_bytes, void **address) {
  (void)context;
  *address = malloc(size_bytes);
  return *address != NULL ? TARN_OK : tarn_fail(TARN_OUT_OF_MEMORY, "malloc");
}

static tarn_stream *asked_for;

static tarn_status ordered_alloc(void *context, size_t size_bytes, tarn_stream *stream,
                                 void **address) {
  asked_for = stream;
  return plain_alloc(context, size_bytes, address);
}

static tarn_status plain_release(void *context, void *address, size_t size_bytes) {
  (void)context;
  (void)size_bytes;
  free(address);
  return TARN_OK;
}

static tarn_status plain_range(void *context, void *address, size_t size_bytes) {
  (void)context;
  (void)address;
  (void)size_bytes;
  return TARN_OK;
}

static void count_destroy(void *context) {
  (void)context;
  destroyed_count++;
}

static tarn_provider_ops plain_ops(void) {
  return (tarn_provider_ops){.struct_size = sizeof(tarn_provider_ops),
                             .name = "plain",
                             .attributes = plain_attributes,
                             .alloc = plain_alloc,
                             .release = plain_release,
                             .destroy = count_destroy};
}

TEST(a_provider_of_ones_own_works_and_is_destroyed_once) {
  char name[] = "plain";
  tarn_provider_ops ops = plain_ops();
  ops.name = name;
  tarn_provider *provider = NULL;
  destroyed_count = 0;
  assert_ok(tarn_provider_create(&ops, NULL, &provider));
  memset(&ops, 0, sizeof ops); /* copied, the name too */
  memset(name, 0, sizeof name);
  assert_string_equal(tarn_provider_name(provider), "plain");
  assert_int_equal(tarn_provider_attributes_of(provider)->node, -1);
  void *block = NULL;
  assert_ok(tarn_provider_alloc(provider, 8192, &block));
  assert_ok(tarn_provider_free(provider, block, 8192));
  tarn_provider_retain(provider);
  tarn_provider_release(provider);
  assert_int_equal(destroyed_count, 0);
  tarn_provider_release(provider);
  assert_int_equal(destroyed_count, 1);
  tarn_provider_release(NULL);
  assert_status(tarn_provider_alloc(NULL, 4096, &block), TARN_INVALID_ARGUMENT);
  assert_status(tarn_provider_alloc_ordered(NULL, 4096, NULL, &block), TARN_INVALID_ARGUMENT);
  assert_status(tarn_provider_reserve(NULL, 4096, &block), TARN_INVALID_ARGUMENT);
  assert_status(tarn_provider_commit(NULL, &block, 4096), TARN_INVALID_ARGUMENT);
  assert_status(tarn_provider_free(NULL, &block, 4096), TARN_INVALID_ARGUMENT);
}

TEST(incomplete_operations_are_refused_by_name) {
  destroyed_count = 0;
  tarn_provider *provider = NULL;
  tarn_provider_ops ops = plain_ops();
  ops.alloc = NULL;
  assert_status(tarn_provider_create(&ops, NULL, &provider), TARN_INVALID_ARGUMENT);
  assert_non_null(strstr(tarn_last_error()->message, "alloc"));
  ops = plain_ops();
  ops.struct_size = 8;
  assert_status(tarn_provider_create(&ops, NULL, &provider), TARN_INVALID_ARGUMENT);
  ops = plain_ops();
  ops.commit = plain_range;
  assert_status(tarn_provider_create(&ops, NULL, &provider), TARN_INVALID_ARGUMENT);
  assert_non_null(strstr(tarn_last_error()->message, "not all"));
  ops = plain_ops();
  ops.attributes = bad_attributes;
  assert_status(tarn_provider_create(&ops, NULL, &provider), TARN_INVALID_ARGUMENT);
  assert_non_null(strstr(tarn_last_error()->message, "1000"));
  ops = plain_ops();
  ops.attributes = boastful_attributes;
  assert_status(tarn_provider_create(&ops, NULL, &provider), TARN_INVALID_ARGUMENT);
  ops = plain_ops();
  ops.attributes = orderly_attributes;
  assert_status(tarn_provider_create(&ops, NULL, &provider), TARN_INVALID_ARGUMENT);
  ops = plain_ops();
  ops.alloc_ordered = ordered_alloc;
  assert_status(tarn_provider_create(&ops, NULL, &provider), TARN_INVALID_ARGUMENT);
  assert_non_null(strstr(tarn_last_error()->message, "TARN_PROVIDER_ORDERED"));
  assert_status(tarn_provider_create(NULL, NULL, &provider), TARN_INVALID_ARGUMENT);
  assert_status(tarn_provider_create(&ops, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_null(provider);
  assert_int_equal(destroyed_count, 0); /* the context stays the caller's on failure */
}

static char spots[9 * 4096];
static char done[64]; /* what a provider below was asked to do, in order */
static int fail_at;   /* the call that fails, from 1 on */

static tarn_status note(char what, const void *address) {
  const size_t length = strlen(done);
  done[length] = what;
  done[length + 1] = (char)('0' + ((const char *)address - spots) / 4096);
  return (int)length / 2 + 1 == fail_at ? tarn_fail(TARN_SYSTEM_ERROR, "asked to") : TARN_OK;
}

static tarn_status noted_commit(void *context, void *address, size_t size_bytes) {
  (void)context, (void)size_bytes;
  return note('c', address);
}

static tarn_status noted_decommit(void *context, void *address, size_t size_bytes) {
  (void)context, (void)size_bytes;
  return note('d', address);
}

static tarn_status noted_move(void *context, const tarn_provider_span *spans, size_t span_count,
                              void *address, size_t size_bytes, size_t *taken_count) {
  (void)context, (void)spans, (void)size_bytes;
  *taken_count = span_count;
  return note('m', address);
}

static tarn_status noted_prepare(void *context, size_t size_bytes, size_t *prepared_bytes) {
  (void)context;
  *prepared_bytes = size_bytes;
  return TARN_OK;
}

static tarn_status moving_attributes(void *context, tarn_provider_attributes *attributes) {
  const tarn_status status = plain_attributes(context, attributes);
  attributes->flags = TARN_PROVIDER_RESERVES | TARN_PROVIDER_MOVES;
  attributes->piece_bytes = 16384;
  return status;
}

static tarn_status reserving_attributes(void *context, tarn_provider_attributes *attributes) {
  const tarn_status status = plain_attributes(context, attributes);
  attributes->flags = TARN_PROVIDER_RESERVES;
  return status;
}

static tarn_status oddly_moving_attributes(void *context, tarn_provider_attributes *attributes) {
  const tarn_status status = moving_attributes(context, attributes);
  attributes->piece_bytes = 4096; /* no more than a granule */
  return status;
}

static tarn_provider_ops noted_ops(void) {
  tarn_provider_ops ops = plain_ops();
  ops.attributes = reserving_attributes;
  ops.reserve = plain_alloc;
  ops.commit = noted_commit;
  ops.decommit = noted_decommit;
  return ops;
}

static char *spot(int index) {
  uintptr_t start = ((uintptr_t)spots + 4095) & ~(uintptr_t)4095;
  return (char *)start + (size_t)index * 4096;
}

TEST(memory_moves_by_decommit_and_commit_where_the_provider_has_nothing_better) {
  tarn_provider *provider = NULL;
  tarn_provider_ops ops = noted_ops();
  const tarn_provider_span spans[] = {{spot(1), 4096}, {spot(3), 4096}};
  size_t taken = 7;
  assert_ok(tarn_provider_create(&ops, NULL, &provider));
  memset(done, 0, sizeof done);
  fail_at = 0;
  assert_ok(tarn_provider_move(provider, spans, 2, spot(4), 8192, &taken));
  assert_int_equal(taken, 2);
  assert_int_equal(done[0], 'd');
  assert_int_equal(done[2], 'd');
  assert_int_equal(done[4], 'c');
  /* What was given back until it failed is told. */
  for (fail_at = 1; fail_at <= 3; fail_at++) {
    memset(done, 0, sizeof done);
    assert_status(tarn_provider_move(provider, spans, 2, spot(4), 8192, &taken), TARN_SYSTEM_ERROR);
    assert_int_equal(taken, fail_at - 1);
    assert_int_equal(strlen(done), 2 * (size_t)fail_at);
  }
  memset(done, 0, sizeof done);
  fail_at = 0;
  assert_status(tarn_provider_move(provider, NULL, 1, spot(4), 8192, &taken),
                TARN_INVALID_ARGUMENT);
  assert_status(tarn_provider_move(provider, spans, 2, spot(4), 8192, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_provider_move(provider, spans, 2, spot(4) + 1, 8192, &taken),
                TARN_INVALID_ARGUMENT);
  const tarn_provider_span odd[] = {{spot(1), 4096}, {spot(3), 100}};
  assert_status(tarn_provider_move(provider, odd, 2, spot(4), 8192, &taken), TARN_INVALID_ARGUMENT);
  assert_int_equal(taken, 0);
  assert_string_equal(done, "");
  tarn_provider_release(provider);
}

TEST(a_provider_that_moves_is_asked_once_and_says_so) {
  tarn_provider *provider = NULL;
  tarn_provider_ops ops = noted_ops();
  ops.move = noted_move;
  assert_status(tarn_provider_create(&ops, NULL, &provider), TARN_INVALID_ARGUMENT);
  assert_non_null(strstr(tarn_last_error()->message, "TARN_PROVIDER_MOVES"));
  ops.attributes = oddly_moving_attributes;
  assert_status(tarn_provider_create(&ops, NULL, &provider), TARN_INVALID_ARGUMENT);
  assert_non_null(strstr(tarn_last_error()->message, "pieces"));
  ops.attributes = moving_attributes;
  assert_ok(tarn_provider_create(&ops, NULL, &provider));
  const tarn_provider_span spans[] = {{spot(1), 4096}, {spot(3), 4096}};
  size_t taken = 0;
  memset(done, 0, sizeof done);
  assert_ok(tarn_provider_move(provider, spans, 2, spot(4), 8192, &taken));
  assert_int_equal(taken, 2);
  assert_int_equal(strlen(done), 2);
  assert_int_equal(done[0], 'm');
  tarn_provider_release(provider);
}

TEST(memory_is_prepared_in_whole_granules_where_the_provider_can) {
  tarn_provider *provider = NULL;
  tarn_provider_ops ops = noted_ops();
  size_t prepared = 1;
  assert_ok(tarn_provider_create(&ops, NULL, &provider));
  assert_status(tarn_provider_prepare(provider, 4096, &prepared), TARN_NOT_SUPPORTED);
  assert_int_equal(prepared, 0);
  assert_ok(tarn_provider_prepare(provider, 0, NULL));
  tarn_provider_release(provider);
  ops.prepare = noted_prepare;
  assert_ok(tarn_provider_create(&ops, NULL, &provider));
  assert_ok(tarn_provider_prepare(provider, 10000, &prepared));
  assert_int_equal(prepared, 8192);
  assert_ok(tarn_provider_prepare(provider, 10000, NULL));
  tarn_provider_release(provider);
  assert_status(tarn_provider_prepare(NULL, 0, &prepared), TARN_INVALID_ARGUMENT);
}

TEST(only_an_ordered_provider_is_told_the_stream) {
  tarn_stream *stream = NULL;
  tarn_provider *provider = NULL;
  void *block = NULL;
  assert_ok(manual_stream_create(&stream));
  tarn_provider_ops ops = plain_ops();
  for (int is_ordered = 0; is_ordered < 2; is_ordered++) {
    asked_for = NULL;
    if (is_ordered) {
      ops.attributes = orderly_attributes;
      ops.alloc_ordered = ordered_alloc;
    }
    assert_ok(tarn_provider_create(&ops, NULL, &provider));
    assert_ok(tarn_provider_alloc_ordered(provider, 4096, stream, &block));
    assert_ok(tarn_provider_free(provider, block, 4096));
    assert_ptr_equal(asked_for, is_ordered ? stream : NULL);
    asked_for = NULL;
    assert_ok(tarn_provider_alloc_ordered(provider, 4096, NULL, &block));
    assert_ok(tarn_provider_free(provider, block, 4096));
    assert_null(asked_for); /* the host's order needs no stream */
    assert_status(tarn_provider_alloc_ordered(provider, 100, stream, &block),
                  TARN_INVALID_ARGUMENT);
    assert_null(block);
    assert_status(tarn_provider_alloc_ordered(provider, 4096, stream, NULL), TARN_INVALID_ARGUMENT);
    tarn_provider_release(provider);
  }
  tarn_stream_release(stream);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
