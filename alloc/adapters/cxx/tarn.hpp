/* tarn.hpp: tarn for C++17 and later: memory for containers from a pool, and handles that release.
 *
 *     tarn::provider pages;
 *     tarn::pool pool;
 *     tarn::check(tarn_pages_provider_create(nullptr, pages.put()));
 *     tarn::check(tarn_caching_pool_create(pages.get(), nullptr, pool.put()));
 *
 *     std::vector<float, tarn::allocator<float>> a(1000, tarn::allocator<float>(pool.get()));
 *
 *     tarn::memory_resource resource(pool.get());
 *     std::pmr::vector<float> b(1000, &resource);
 *
 * The header has no source of its own and adds nothing to the library: all of it is inline over the
 * C functions, which are what creates things, by the put() of a handle. It needs neither exceptions
 * nor RTTI; see `check` for what is lost without them.
 *
 * What lives how long:
 *
 * 1. tarn::allocator keeps its pool, and a container keeps its allocator: nothing else has to
 *    outlive the container.
 * 2. tarn::memory_resource keeps its pool, but a pmr container has no more than the resource's
 *    address: the resource itself must outlive whatever has memory of it, as with any resource of
 *    std::pmr. A resource that is destroyed frees nothing.
 * 3. The memory is the CPU's at once, and is given back when the CPU is done with it. A copy that
 *    a stream still makes to or from a container's memory is to be noted with tarn_pool_note_use
 *    before the container frees it; any address inside the memory will do.
 * 4. Memory may be freed by another thread than the one that it was lent to, and containers of one
 *    pool may be used by several threads at once, each container by one of them. So it is through a
 *    memory_resource as well: it has no state but its pool.
 */
#ifndef TARN_HPP
#define TARN_HPP

#include <cassert>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <memory_resource>
#include <new>
#include <type_traits>
#include <utility>

#include "alloc/tarn_pool.h"
#include "alloc/tarn_provider.h"
#include "alloc/tarn_storage.h"
#include "alloc/tarn_stream.h"
#include "tensor/tarn_tensor.h"

namespace tarn {

/* --- failures --- */

/* The calling thread's last error, where it is about `status`; else what the status says itself. */
inline tarn_error cause_of(tarn_status status) noexcept {
  tarn_error cause = *tarn_last_error();
  if (cause.status == status) return cause;
  cause = tarn_error{};
  cause.status = status;
  const char *text = tarn_status_text(status);
  for (std::size_t i = 0; text[i] != '\0' && i + 1 < sizeof cause.message; i++) {
    cause.message[i] = text[i];
  }
  return cause;
}

/* A failure with its reason: what() is the sentence of tarn_last_error. Copying one allocates
 * nothing. */
class error : public std::exception {
 public:
  explicit error(const tarn_error &cause) noexcept : cause_(cause) {
  }
  const char *what() const noexcept override {
    return cause_.message;
  }
  const tarn_error &cause() const noexcept {
    return cause_;
  }

 private:
  tarn_error cause_;
};

/* TARN_OUT_OF_MEMORY and TARN_TOO_LARGE, as C++ tells them. */
class out_of_memory : public std::bad_alloc {
 public:
  explicit out_of_memory(const tarn_error &cause) noexcept : cause_(cause) {
  }
  const char *what() const noexcept override {
    return cause_.message;
  }
  const tarn_error &cause() const noexcept {
    return cause_;
  }

 private:
  tarn_error cause_;
};

/* Throws what a status other than TARN_OK stands for. Without exceptions (-fno-exceptions) it ends
 * the program by std::abort, as operator new does there: such a program looks at statuses itself,
 * and only what has no other way to fail ends it, the constructors and allocations of the memory
 * for containers below. */
[[noreturn]] inline void raise(tarn_status status) {
#if defined(__cpp_exceptions)
  if (status == TARN_OUT_OF_MEMORY || status == TARN_TOO_LARGE) {
    throw out_of_memory(cause_of(status));
  }
  throw error(cause_of(status));
#else
  (void)status;
  std::abort();
#endif
}

inline void check(tarn_status status) {
  if (status != TARN_OK) raise(status);
}

/* --- handles --- */

/* One reference to an object that counts them, or none. It moves; what shares says `retain`:
 *
 *     tarn::pool second = first.retain();               one reference more
 *     tarn::pool mine = tarn::pool::retain(borrowed);   one of what somebody else holds
 *     tarn::pool mine = tarn::pool::take(raw);          the caller's own, from now on the handle's
 *     tarn_pool *raw = first.give();                    the handle's own, from now on the caller's
 *     first.release();                                  at once rather than at the end
 *
 * A handle is a value: threads may use the object, but not the same handle while one changes it. */
template <class Object, void (*Retain)(Object *), void (*Release)(Object *)>
class shared {
 public:
  constexpr shared() noexcept = default;
  shared(shared &&other) noexcept : object_(other.give()) {
  }
  shared &operator=(shared &&other) noexcept {
    shared moved(std::move(other));
    std::swap(object_, moved.object_);
    return *this;
  }
  shared(const shared &) = delete;
  shared &operator=(const shared &) = delete;
  ~shared() {
    Release(object_);
  }

  static shared take(Object *object) noexcept {
    shared taken;
    taken.object_ = object;
    return taken;
  }
  static shared retain(Object *borrowed) noexcept {
    if (borrowed != nullptr) Retain(borrowed);
    return take(borrowed);
  }
  shared retain() const noexcept {
    return retain(object_);
  }
  [[nodiscard]] Object *give() noexcept {
    return std::exchange(object_, nullptr);
  }
  void release() noexcept {
    Release(give());
  }
  /* Borrowed, as long as the handle has it. */
  Object *get() const noexcept {
    return object_;
  }
  /* Where a function of the C interface puts what it makes; releases what was there. */
  [[nodiscard]] Object **put() noexcept {
    release();
    return &object_;
  }
  explicit operator bool() const noexcept {
    return object_ != nullptr;
  }

 private:
  Object *object_ = nullptr;
};

using provider = shared<tarn_provider, tarn_provider_retain, tarn_provider_release>;
using pool = shared<tarn_pool, tarn_pool_retain, tarn_pool_release>;
/* An empty one is the calling thread, now, as a NULL stream is everywhere. */
using stream = shared<tarn_stream, tarn_stream_retain, tarn_stream_release>;
using storage = shared<tarn_storage, tarn_storage_retain, tarn_storage_release>;
/* weak_storage::retain(storage.get()) keeps the handle for lock, and no bytes. */
using weak_storage = shared<tarn_storage, tarn_storage_weak_retain, tarn_storage_weak_release>;

/* The storage, as long as somebody else keeps it; else empty. */
inline storage lock(const weak_storage &weak) noexcept {
  const bool is_there = weak.get() != nullptr && tarn_storage_lock(weak.get());
  return is_there ? storage::take(weak.get()) : storage();
}

/* A tensor that owns its reference to the storage, or none. A copy of the C value borrows:
 *
 *     tarn_tensor row = *matrix;                  no reference; good as long as `matrix` is
 *     tarn::tensor kept = tarn::tensor::retain(row);
 *
 * Views change a tensor in place: tarn_tensor_select(matrix.get(), 0, 3). */
class tensor {
 public:
  tensor() noexcept = default;
  tensor(tensor &&other) noexcept : value_(other.give()) {
  }
  tensor &operator=(tensor &&other) noexcept {
    tensor moved(std::move(other));
    std::swap(value_, moved.value_);
    return *this;
  }
  tensor(const tensor &) = delete;
  tensor &operator=(const tensor &) = delete;
  ~tensor() {
    tarn_tensor_release(&value_);
  }

  static tensor take(const tarn_tensor &owned) noexcept {
    tensor taken;
    taken.value_ = owned;
    return taken;
  }
  static tensor retain(const tarn_tensor &borrowed) noexcept {
    tensor retained = take(borrowed);
    if (borrowed.storage != nullptr) tarn_tensor_retain(&retained.value_);
    return retained;
  }
  tensor retain() const noexcept {
    return retain(value_);
  }
  [[nodiscard]] tarn_tensor give() noexcept {
    return std::exchange(value_, tarn_tensor{});
  }
  void release() noexcept {
    tarn_tensor_release(&value_);
  }
  tarn_tensor *get() noexcept {
    return &value_;
  }
  const tarn_tensor *get() const noexcept {
    return &value_;
  }
  [[nodiscard]] tarn_tensor *put() noexcept {
    release();
    return &value_;
  }
  const tarn_tensor &operator*() const noexcept {
    return value_;
  }
  const tarn_tensor *operator->() const noexcept {
    return &value_;
  }
  explicit operator bool() const noexcept {
    return value_.storage != nullptr;
  }

 private:
  tarn_tensor value_{};
};

/* --- memory for containers --- */

/* What both kinds of memory are made of; not for others. */
namespace detail {

/* Containers write their memory by the CPU. */
inline pool retain_reachable(tarn_pool *borrowed) {
  if (borrowed == nullptr) raise(tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL"));
  const tarn_device device = tarn_pool_attributes_of(borrowed)->device;
  if (!tarn_device_is_host(device)) {
    raise(tarn_fail(TARN_NOT_SUPPORTED,
                    "pool %s: containers need memory that the CPU reaches, not device type %d",
                    tarn_pool_name(borrowed), static_cast<int>(device.type)));
  }
  return pool::retain(borrowed);
}

inline void *allocate(tarn_pool *from, std::size_t size_bytes, std::size_t alignment_bytes) {
  void *address = nullptr;
  check(tarn_pool_alloc_aligned(from, size_bytes, alignment_bytes, nullptr, &address));
  return address;
}

/* An address that the pool did not lend out is a broken promise of the caller's. */
inline void deallocate(tarn_pool *to, void *address) noexcept {
  const tarn_status status = tarn_pool_free(to, address, nullptr);
  assert(status == TARN_OK);
  (void)status;
}

}  // namespace detail

/* A std::pmr::memory_resource over a pool of memory that the CPU reaches, also below the resources
 * of std::pmr that are built on another. Two resources over one pool are equal: what one has
 * lent, the other takes back (without RTTI a resource equals itself alone). Any alignment is
 * honoured, a size of 0 has an address of its own as with operator new, and no memory is
 * tarn::out_of_memory, a std::bad_alloc, which leaves all as it was.
 *
 * The constructor fails with TARN_NOT_SUPPORTED for memory of a device. */
class memory_resource : public std::pmr::memory_resource {
 public:
  explicit memory_resource(tarn_pool *pool) : pool_(detail::retain_reachable(pool)) {
  }
  /* Borrowed. */
  tarn_pool *pool() const noexcept {
    return pool_.get();
  }

 protected:
  void *do_allocate(std::size_t size_bytes, std::size_t alignment_bytes) override {
    return detail::allocate(pool_.get(), size_bytes != 0 ? size_bytes : 1, alignment_bytes);
  }
  void do_deallocate(void *address, std::size_t, std::size_t) override {
    detail::deallocate(pool_.get(), address);
  }
  bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override {
    if (this == &other) return true;
#if defined(__cpp_rtti)
    const auto *same_kind = dynamic_cast<const memory_resource *>(&other);
    return same_kind != nullptr && same_kind->pool() == pool();
#else
    return false;
#endif
  }

 private:
  tarn::pool pool_;
};

/* An allocator over a pool of memory that the CPU reaches; it keeps the pool. A copy costs one
 * atomic increment. Allocators over one pool are equal.
 *
 * A container that is moved or swapped takes its memory along, and the pool with it: in constant
 * time, without an exception, between any two pools. One that is assigned a *copy* keeps its own
 * pool: where memory lies is decided where the container is made. A container copied by its
 * constructor has the pool of what it was copied from. So std::vector, list, map, unordered_map and
 * std::allocate_shared behave with it.
 *
 * allocate(0) is a null pointer; a count whose bytes do not fit is std::bad_array_new_length.
 * Failures else, and the constructor's, are as for memory_resource. */
template <class T>
class allocator {
 public:
  using value_type = T;
  using propagate_on_container_copy_assignment = std::false_type;
  using propagate_on_container_move_assignment = std::true_type;
  using propagate_on_container_swap = std::true_type;
  using is_always_equal = std::false_type;

  explicit allocator(tarn_pool *pool) : pool_(detail::retain_reachable(pool)) {
  }
  /* Moving one copies it: an allocator that was moved from is still a container's. */
  allocator(const allocator &other) noexcept : pool_(other.pool_.retain()) {
  }
  template <class U>
  allocator(const allocator<U> &other) noexcept : pool_(tarn::pool::retain(other.pool())) {
  }
  allocator &operator=(const allocator &other) noexcept {
    pool_ = other.pool_.retain();
    return *this;
  }
  ~allocator() = default;

  [[nodiscard]] T *allocate(std::size_t count) {
    std::size_t size_bytes = 0;
    if (!tarn_size_mul(count, sizeof(T), &size_bytes)) {
#if defined(__cpp_exceptions)
      throw std::bad_array_new_length();
#else
      std::abort();
#endif
    }
    return static_cast<T *>(detail::allocate(pool_.get(), size_bytes, alignof(T)));
  }
  void deallocate(T *address, std::size_t) noexcept {
    detail::deallocate(pool_.get(), address);
  }
  /* Borrowed. */
  tarn_pool *pool() const noexcept {
    return pool_.get();
  }

 private:
  tarn::pool pool_;
};

template <class T, class U>
bool operator==(const allocator<T> &a, const allocator<U> &b) noexcept {
  return a.pool() == b.pool();
}
template <class T, class U>
bool operator!=(const allocator<T> &a, const allocator<U> &b) noexcept {
  return a.pool() != b.pool();
}

}  // namespace tarn
#endif
