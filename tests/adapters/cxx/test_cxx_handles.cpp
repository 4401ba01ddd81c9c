/* test_cxx_handles.cpp: handles and their references, and statuses as exceptions. */
#include <string>
#include <type_traits>

#include "alloc/tarn_host_stream.h"
#include "tests/adapters/cxx/cxx_fixture.hpp"

namespace {

static_assert(!std::is_copy_constructible<tarn::pool>::value, "sharing says retain");
static_assert(!std::is_copy_assignable<tarn::tensor>::value, "sharing says retain");
static_assert(std::is_nothrow_move_constructible<tarn::tensor>::value, "moves in containers");
static_assert(sizeof(tarn::stream) == sizeof(tarn_stream *), "a pointer and nothing else");
static_assert(sizeof(tarn::tensor) == sizeof(tarn_tensor), "a tensor and nothing else");
static_assert(std::is_base_of<std::bad_alloc, tarn::out_of_memory>::value, "as new throws");

tarn::storage make_storage(const tarn::pool &pool) {
  tarn::storage made;
  assert_ok(tarn_storage_create(pool.get(), 4000, nullptr, made.put()));
  return made;
}

TEST(a_handle_moves_and_shares_only_when_asked) {
  tarn::pool pool = make_pool();
  tarn::storage first = make_storage(pool);
  tarn_storage *raw = first.get();
  assert_int_equal(tarn_storage_use_count(raw), 1);
  tarn::storage second = first.retain();
  assert_int_equal(tarn_storage_use_count(raw), 2);
  tarn::storage moved(std::move(first));
  assert_false(static_cast<bool>(first));
  assert_ptr_equal(moved.get(), raw);
  assert_int_equal(tarn_storage_use_count(raw), 2);
  second = std::move(moved); /* what was there is released */
  assert_int_equal(tarn_storage_use_count(raw), 1);
  tarn::storage &itself = second;
  second = std::move(itself);
  assert_ptr_equal(second.get(), raw);
  assert_int_equal(tarn_storage_use_count(raw), 1);
  second.release();
  assert_null(second.get());
  assert_int_equal(live_blocks(pool), 0);
}

TEST(references_cross_to_c_and_back) {
  tarn::pool pool = make_pool();
  tarn_storage *raw = make_storage(pool).give();
  assert_int_equal(tarn_storage_use_count(raw), 1);
  {
    const tarn::storage borrowed = tarn::storage::retain(raw);
    assert_int_equal(tarn_storage_use_count(raw), 2);
  }
  tarn::storage taken = tarn::storage::take(raw);
  assert_int_equal(tarn_storage_use_count(raw), 1);
  /* put releases what was there, also where the function then fails. */
  assert_status(tarn_storage_create(nullptr, 8, nullptr, taken.put()), TARN_INVALID_ARGUMENT);
  assert_null(taken.get());
  assert_int_equal(live_blocks(pool), 0);
  const tarn::storage nothing = tarn::storage::retain(nullptr);
  assert_false(static_cast<bool>(nothing.retain()));
}

TEST(a_weak_storage_locks_as_long_as_somebody_keeps_the_bytes) {
  tarn::pool pool = make_pool();
  tarn::storage strong = make_storage(pool);
  tarn::weak_storage weak = tarn::weak_storage::retain(strong.get());
  assert_int_equal(tarn_storage_weak_count(strong.get()), 1);
  {
    const tarn::storage locked = tarn::lock(weak);
    assert_ptr_equal(locked.get(), strong.get());
    assert_int_equal(tarn_storage_use_count(strong.get()), 2);
  }
  strong.release();
  assert_int_equal(live_blocks(pool), 0);
  assert_false(static_cast<bool>(tarn::lock(weak)));
  assert_false(static_cast<bool>(tarn::lock(tarn::weak_storage())));
}

TEST(a_tensor_owns_and_its_value_borrows) {
  tarn::pool pool = make_pool();
  const int64_t shape[] = {3, 4};
  tarn::tensor matrix;
  assert_ok(tarn_tensor_create(pool.get(), TARN_F32, 2, shape, nullptr, matrix.put()));
  assert_int_equal(matrix->layout.rank, 2);
  assert_int_equal(tarn_storage_use_count(matrix->storage), 1);
  tarn_tensor row = *matrix;
  assert_ok(tarn_tensor_select(&row, 0, 1));
  assert_int_equal(tarn_storage_use_count(matrix->storage), 1);
  tarn::tensor kept = tarn::tensor::retain(row);
  assert_int_equal(tarn_storage_use_count(matrix->storage), 2);
  assert_int_equal(kept->layout.rank, 1);
  tarn::tensor twin = matrix.retain();
  assert_int_equal(tarn_storage_use_count(matrix->storage), 3);
  matrix.release();
  assert_false(static_cast<bool>(matrix));
  matrix = std::move(twin);
  assert_false(static_cast<bool>(twin));
  assert_false(static_cast<bool>(twin.retain()));
  tarn_tensor raw = matrix.give();
  kept.release();
  assert_int_equal(tarn_storage_use_count(raw.storage), 1);
  tarn::tensor::take(raw).release();
  assert_int_equal(live_blocks(pool), 0);
}

TEST(streams_and_providers_are_handles_as_well) {
  tarn::stream now;
  assert_string_equal(tarn_stream_name(now.retain().get()), "now");
  tarn::stream worker;
  assert_ok(tarn_worker_stream_create(worker.put()));
  const tarn::stream second = worker.retain();
  worker.release();
  assert_ok(tarn_stream_synchronize(second.get()));
  tarn::provider pages;
  assert_ok(tarn_pages_provider_create(nullptr, pages.put()));
  assert_string_equal(tarn_provider_name(pages.retain().get()), "pages");
}

TEST(a_failure_is_thrown_with_its_reason) {
  tarn::check(TARN_OK);
  std::string said;
  try {
    tarn::check(tarn_fail_native(TARN_SYSTEM_ERROR, "open", 2, "no such file: %s", "x"));
  } catch (const tarn::error &failure) {
    said = failure.what();
    assert_int_equal(failure.cause().status, TARN_SYSTEM_ERROR);
    assert_int_equal(failure.cause().native_code, 2);
    assert_string_equal(failure.cause().native_call, "open");
  }
  assert_string_equal(said.c_str(), "no such file: x");
  said.clear();
  try { /* an answer that leaves the last error alone has words of its own */
    tarn::check(TARN_NOT_READY);
  } catch (const std::exception &failure) {
    said = failure.what();
  }
  assert_string_equal(said.c_str(), tarn_status_text(TARN_NOT_READY));
  said.clear();
  try {
    tarn::check(tarn_fail(TARN_TOO_LARGE, "too large by far"));
  } catch (const std::bad_alloc &failure) {
    said = failure.what();
  }
  assert_string_equal(said.c_str(), "too large by far");
}

}  // namespace

int main() {
  return run_listed_tests(nullptr, nullptr);
}
