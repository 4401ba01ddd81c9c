/* test_torch_client.cpp: the library as PyTorch loads it: by dlopen, with C++'s types of PyTorch.
 *
 * usage: test_torch_client LIBTARN_SO; the driver is TARN_TORCH_DRIVER's.
 *
 * The shapes are those of torch/csrc/cuda/CUDAPluggableAllocator.h (PyTorch 2.1 and later): plain
 * functions behind std::function, a MempoolId_t that is a std::pair, a filter that is a
 * std::function by value. */
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace {

using cudaStream_t = struct CUstream_st *;
using MempoolId_t = std::pair<unsigned long long, unsigned long long>;
using Filter = std::function<bool(cudaStream_t)>;

void check(bool holds, const char *what, int line) {
  if (holds) return;
  std::fprintf(stderr, "line %d: not so: %s\n", line, what);
  std::exit(1);
}
#define CHECK(...) check((__VA_ARGS__), #__VA_ARGS__, __LINE__)

constexpr size_t MIB = 1 << 20;
const MempoolId_t POOL{0, 11};
cudaStream_t const DEFAULT_STREAM = nullptr;

void *library;

template <class Type>
std::function<Type> find(const char *name) {
  void *address = dlsym(library, name);
  if (address == nullptr) std::fprintf(stderr, "%s\n", dlerror());
  CHECK(address != nullptr);
  return reinterpret_cast<Type *>(address);
}

// What PyTorch keeps of an allocator.
struct Allocator {
  std::function<void *(size_t, int, cudaStream_t)> malloc =
      find<void *(size_t, int, cudaStream_t)>("tarn_torch_malloc");
  std::function<void *(size_t, int, cudaStream_t)> malloc_or_null =
      find<void *(size_t, int, cudaStream_t)>("tarn_torch_malloc_or_null");
  std::function<void(void *, size_t, int, cudaStream_t)> free =
      find<void(void *, size_t, int, cudaStream_t)>("tarn_torch_free");
  std::function<void(int)> init = find<void(int)>("tarn_torch_init");
  std::function<void()> reset = find<void()>("tarn_torch_reset");
  std::function<void(double, int)> memory_fraction =
      find<void(double, int)>("tarn_torch_memory_fraction");
  std::function<void *(void *, size_t *)> base_alloc =
      find<void *(void *, size_t *)>("tarn_torch_base_alloc");
  std::function<void(void *, cudaStream_t)> record_stream =
      find<void(void *, cudaStream_t)>("tarn_torch_record_stream");
  std::function<void(int, MempoolId_t, Filter)> begin =
      find<void(int, MempoolId_t, Filter)>("tarn_torch_begin_allocate_to_pool");
  std::function<void(int, MempoolId_t)> end =
      find<void(int, MempoolId_t)>("tarn_torch_end_allocate_to_pool");
  std::function<void(int, MempoolId_t)> release =
      find<void(int, MempoolId_t)>("tarn_torch_release_pool");
  std::function<int()> close = find<int()>("tarn_torch_close");  // not PyTorch's
};

// Lives until after main, as what PyTorch's global objects hold.
struct Late {
  Allocator *allocator = nullptr;
  void *block = nullptr;
  ~Late() {
    if (block == nullptr) return;
    allocator->free(block, MIB, 0, DEFAULT_STREAM);
    if (allocator->close() == 0) return;  // nothing is lent out any more
    std::fputs("the last block was not taken back\n", stderr);
    std::_Exit(1);
  }
} late;

void blocks_come_and_go_on_any_thread(Allocator &torch) {
  torch.init(1);
  void *block = torch.malloc(MIB, 0, DEFAULT_STREAM);
  CHECK(block != nullptr);
  torch.record_stream(block, DEFAULT_STREAM);
  std::thread([&] { torch.free(block, MIB, 0, DEFAULT_STREAM); }).join();
  CHECK(torch.malloc(0, 0, DEFAULT_STREAM) == nullptr);
  size_t size_bytes = 0;
  block = torch.malloc(MIB, 0, DEFAULT_STREAM);
  void *base = torch.base_alloc(block, &size_bytes);
  CHECK(base <= block && size_bytes >= MIB);
  torch.free(block, MIB, 0, DEFAULT_STREAM);
  torch.reset();
}

void out_of_memory_is_an_exception_that_tools_know(Allocator &torch) {
  torch.memory_fraction(0, 0);
  std::string what;
  try {
    torch.malloc(64 * MIB, 0, DEFAULT_STREAM);
  } catch (const std::runtime_error &error) {
    what = error.what();
  }
  CHECK(what.find("CUDA out of memory. ") == 0);
  CHECK(what.find("67108864") != std::string::npos);
  CHECK(torch.malloc_or_null(64 * MIB, 0, DEFAULT_STREAM) == nullptr);
  torch.memory_fraction(1, 0);
  what.clear();
  try {
    torch.malloc(MIB, 63, DEFAULT_STREAM);
  } catch (const std::runtime_error &error) {
    what = error.what();
  }
  CHECK(what.find("tarn for PyTorch: ") == 0);
  void *block = torch.malloc(64 * MIB, 0, DEFAULT_STREAM);
  CHECK(block != nullptr);
  torch.free(block, 64 * MIB, 0, DEFAULT_STREAM);
}

// Two captures with one id; the filter is larger than what a std::function holds in place.
void a_filter_is_copied_asked_and_destroyed(Allocator &torch) {
  const auto token = std::make_shared<int>(0);
  const std::string padding(100, 'x');
  bool says_yes = true;
  const Filter filter = [token, padding, &says_yes](cudaStream_t stream) {
    ++*token;
    return says_yes && stream == DEFAULT_STREAM && padding.size() == 100;
  };
  const long owners = token.use_count();
  torch.begin(0, POOL, filter);
  CHECK(token.use_count() == owners + 1);
  void *inside = torch.malloc(MIB, 0, DEFAULT_STREAM);
  CHECK(*token == 1);
  torch.free(inside, MIB, 0, DEFAULT_STREAM);
  torch.end(0, POOL);
  CHECK(token.use_count() == owners);
  void *outside = torch.malloc(MIB, 0, DEFAULT_STREAM);
  CHECK(outside != inside);
  CHECK(*token == 1);
  torch.begin(0, POOL, filter);
  void *again = torch.malloc(MIB, 0, DEFAULT_STREAM);
  CHECK(again == inside);
  torch.free(again, MIB, 0, DEFAULT_STREAM);
  torch.end(0, POOL);
  torch.free(outside, MIB, 0, DEFAULT_STREAM);
  torch.release(0, POOL);
  torch.release(0, POOL);
  says_yes = false;
  torch.begin(0, MempoolId_t{12, 0}, filter);
  void *beside = torch.malloc(MIB, 0, DEFAULT_STREAM);
  torch.free(beside, MIB, 0, DEFAULT_STREAM);
  torch.end(0, MempoolId_t{12, 0});
  torch.release(0, MempoolId_t{12, 0});
  CHECK(token.use_count() == owners);
}

void a_filter_that_throws_is_passed_on_and_blocks_nobody(Allocator &torch) {
  torch.begin(0, POOL, [](cudaStream_t) -> bool { throw std::logic_error("as CUDA's checks do"); });
  bool has_thrown = false;
  try {
    torch.malloc(MIB, 0, DEFAULT_STREAM);
  } catch (const std::logic_error &) {
    has_thrown = true;
  }
  CHECK(has_thrown);
  torch.end(0, POOL);  // waits until nobody asks
  torch.release(0, POOL);
}

}  // namespace

int main(int argument_count, char **arguments) {
  CHECK(argument_count == 2);
  library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);  // as Python's ctypes does
  if (library == nullptr) std::fprintf(stderr, "%s\n", dlerror());
  CHECK(library != nullptr);
  static Allocator torch;
  blocks_come_and_go_on_any_thread(torch);
  out_of_memory_is_an_exception_that_tools_know(torch);
  a_filter_is_copied_asked_and_destroyed(torch);
  a_filter_that_throws_is_passed_on_and_blocks_nobody(torch);
  late.allocator = &torch;
  late.block = torch.malloc(MIB, 0, DEFAULT_STREAM);
  dlclose(library);  // stays mapped
  std::puts("passed");
  return 0;
}
