/* test_shadow.c: a block is known by its start, found from every address inside, and only while it
 * is lent. */
#include "numa/shadow.h"

#include "tests/support/test.h"

/* No memory is behind the range: the shadow never looks at it. */
static char *const range = (char *)0x5a0000000000;
enum { RANGE_BYTES = 64 << 20 };
static const int owner;

static tarn__shadow *make_shadow(void) {
  tarn__shadow *shadow = tarn__shadow_create(range, RANGE_BYTES, &owner);
  assert_non_null(shadow);
  return shadow;
}

static void lend(tarn__shadow *shadow, char *address, size_t size_bytes) {
  const unsigned size_class = tarn__class_of(size_bytes);
  tarn__shadow_place(shadow, address, size_class);
  const tarn__found found = tarn__shadow_look(shadow, address);
  assert_int_equal(found.size_class, size_class);
  assert_int_equal(found.requested_bytes, 0);
  tarn__slot_lend(found.word, size_class, size_bytes);
}

/* Not lent any more, and back in the arena. */
static void give_back(tarn__shadow *shadow, char *address) {
  const tarn__found found = tarn__shadow_look(shadow, address);
  assert_int_not_equal(found.requested_bytes, 0);
  tarn__slot_take(found.word, found.size_class);
  assert_int_equal(tarn__shadow_look(shadow, address).requested_bytes, 0);
  tarn__shadow_clear(shadow, address, found.size_class);
}

TEST(classes_hold_their_sizes_with_a_quarter_to_spare) {
  assert_int_equal(tarn__class_of(16 << 10), TARN__FIRST_LARGE_CLASS);
  assert_int_equal(tarn__class_of((14 << 10) + 1), TARN__FIRST_LARGE_CLASS);
  for (size_t size_bytes = 1; size_bytes < (size_t)1 << 46; size_bytes += size_bytes / 37 + 1) {
    const unsigned size_class = tarn__class_of(size_bytes);
    const size_t block_bytes = tarn__class_bytes(size_class);
    assert_true(size_class < TARN__SIZE_CLASSES);
    assert_true(block_bytes >= size_bytes);
    assert_int_equal(block_bytes % 64, 0);
    assert_int_equal(tarn__class_of(block_bytes), size_class);
    if (size_bytes > 512) assert_true(4 * (block_bytes - size_bytes) < size_bytes);
  }
}

TEST(a_block_is_known_by_its_start_only) {
  tarn__shadow *shadow = make_shadow();
  const size_t sizes[] = {1, 64, 100, 4096, 14336, 16384, 100000, 1 << 20, 16 << 20};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    char *const block = range + (1 << 20);
    lend(shadow, block, sizes[i]);
    const tarn__found found = tarn__shadow_look(shadow, block);
    assert_int_equal(found.requested_bytes, sizes[i]);
    assert_false(found.is_used);
    for (size_t off = 1; off < sizes[i] && off < 5000; ++off) {
      assert_int_equal(tarn__shadow_look(shadow, block + off).requested_bytes, 0);
    }
    assert_int_equal(tarn__shadow_look(shadow, block - 64).requested_bytes, 0);
    give_back(shadow, block);
  }
  tarn__shadow_destroy(shadow);
}

/* What jemalloc does with an arena whose slabs and large blocks take turns on the same pages. */
TEST(every_address_inside_finds_its_start) {
  tarn__shadow *shadow = make_shadow();
  const size_t sizes[] = {64, 128, 320, 14336, 16384, 20480, 1 << 20, 5 << 20};
  char *const first = range + (2 << 20);
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    for (size_t j = 0; j < sizeof sizes / sizeof sizes[0]; ++j) {
      char *const second = first + ((sizes[i] + 4095) & ~(size_t)4095);
      lend(shadow, first, sizes[i]);
      lend(shadow, second, sizes[j]);
      for (size_t part = 0; part <= 16; ++part) {
        assert_ptr_equal(tarn__shadow_start_of(shadow, first + (sizes[i] - 1) * part / 16), first);
        assert_ptr_equal(tarn__shadow_start_of(shadow, second + (sizes[j] - 1) * part / 16),
                         second);
      }
      assert_null(tarn__shadow_start_of(shadow, first - 1));
      assert_null(
          tarn__shadow_start_of(shadow, second + tarn__class_bytes(tarn__class_of(sizes[j]))));
      give_back(shadow, first);
      assert_null(tarn__shadow_start_of(shadow, second - 1));
      assert_null(tarn__shadow_start_of(shadow, first));
      give_back(shadow, second);
    }
  }
  tarn__shadow_destroy(shadow);
}

TEST(a_large_block_may_begin_inside_of_its_page) {
  tarn__shadow *shadow = make_shadow();
  char *const block = range + 8192 + 640;
  lend(shadow, block, 40000);
  assert_int_equal(tarn__shadow_look(shadow, block).requested_bytes, 40000);
  assert_int_equal(tarn__shadow_look(shadow, block - 640).requested_bytes, 0);
  assert_ptr_equal(tarn__shadow_start_of(shadow, block + 39999), block);
  assert_null(tarn__shadow_start_of(shadow, block - 1));
  give_back(shadow, block);
  tarn__shadow_destroy(shadow);
}

TEST(a_use_is_marked_until_the_block_is_taken) {
  tarn__shadow *shadow = make_shadow();
  const size_t sizes[] = {100, 14336, 100000};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    lend(shadow, range, sizes[i]);
    tarn__shadow_mark_used(shadow, range);
    tarn__found found = tarn__shadow_look(shadow, range);
    assert_true(found.is_used);
    assert_int_equal(found.requested_bytes, sizes[i]);
    tarn__slot_take(found.word, found.size_class);
    tarn__slot_lend(found.word, found.size_class, sizes[i]);
    assert_false(tarn__shadow_look(shadow, range).is_used);
    give_back(shadow, range);
  }
  tarn__shadow_destroy(shadow);
}

TEST(addresses_of_nobody_have_no_shadow) {
  tarn__shadow *shadow = make_shadow();
  assert_ptr_equal(tarn__shadow_find(range), shadow);
  assert_ptr_equal(tarn__shadow_find(range + RANGE_BYTES - 1), shadow);
  assert_ptr_equal(shadow->owner, &owner);
  assert_null(tarn__shadow_find(range - 1));
  assert_null(tarn__shadow_find(range + RANGE_BYTES));
  assert_null(tarn__shadow_find((char *)0x10));
  assert_null(tarn__shadow_find((char *)UINTPTR_MAX));
  assert_null(tarn__shadow_find(range + ((uintptr_t)1 << 50)));
  tarn__shadow_destroy(shadow);
  assert_null(tarn__shadow_find(range));
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
