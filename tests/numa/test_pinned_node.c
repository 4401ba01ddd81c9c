/* test_pinned_node.c: pinned memory near a GPU, put together of a node's pages and a driver. */
#include "numa/tarn_numa.h"
#include "tests/support/open_cuda.h"
#include "tests/support/pools.h"

#include <stdlib.h>
#include <string.h>

enum { MIB = 1 << 20 };

typedef struct near_device {
  tarn_cuda *cuda;
  tarn_topology *topology;
  int32_t node;
  tarn_pool *pool;
} near_device;

/* The node that the driver names, else the one that the machine's topology knows the device to be
 * near to, else the first. */
static int32_t node_of_device(const near_device *self) {
  tarn_cuda_device_info info = {.struct_size = sizeof info};
  tarn_node_info first = {.struct_size = sizeof first};
  int32_t node = -1;
  assert_ok(tarn_cuda_device_info_of(self->cuda, 0, &info));
  if (info.host_node >= 0) return info.host_node;
  if (tarn_topology_node_of_pci(self->topology, info.pci_bus_id, &node) == TARN_OK) return node;
  assert_ok(tarn_topology_node(self->topology, 0, &first));
  return first.node;
}

/* Device, node, the node's pages, locked for every device, lent in the order of streams. */
static bool compose(near_device *self, uint32_t flags) {
  tarn_provider *pages = NULL;
  tarn_provider *pinned = NULL;
  *self = (near_device){.cuda = NULL};
  if (test_open_cuda(&self->cuda) != TARN_OK) return false;
  assert_ok(tarn_topology_create(NULL, &self->topology));
  self->node = node_of_device(self);
  const tarn_node_options on_node = tarn_node_options_on(self->node);
  if (tarn_node_provider_create(self->topology, &on_node, &pages) != TARN_OK) {
    return false; /* the process may not use that node's memory */
  }
  const tarn_cuda_pinned_options options = {
      .struct_size = sizeof options, .host = pages, .flags = flags};
  assert_ok(tarn_cuda_pinned_provider_create(self->cuda, &options, &pinned));
  self->pool = pool_over(pinned, NULL);
  tarn_provider_release(pages);
  return true;
}

static void take_apart(near_device *self) {
  tarn_pool_release(self->pool);
  tarn_topology_release(self->topology);
  tarn_cuda_release(self->cuda);
}

static void check_all_on_node(const near_device *self, const void *block, size_t size_bytes) {
  size_t on_node = 0, elsewhere = 0, untouched = 0;
  const tarn_status status =
      tarn_node_verify(block, size_bytes, self->node, &on_node, &elsewhere, &untouched);
  if (status == TARN_NOT_SUPPORTED) return; /* this kernel does not tell */
  assert_ok(status);
  assert_int_equal(elsewhere, 0);
  assert_int_equal(untouched, 0);
}

static void *alloc_touched(const near_device *self, size_t size_bytes) {
  void *block = NULL;
  assert_ok(tarn_pool_alloc(self->pool, size_bytes, NULL, &block));
  memset(block, 1, size_bytes);
  return block;
}

/* Also what comes after memory was given back. */
TEST(pinned_memory_lies_on_the_devices_node) {
  static const uint32_t flags[] = {0, TARN_CUDA_PINNED_GRANULES};
  for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
    near_device self;
    if (!compose(&self, flags[i])) {
      print_message("skipped: %s\n", tarn_last_error()->message);
      take_apart(&self);
      skip();
    }
    assert_int_equal(tarn_pool_attributes_of(self.pool)->node, self.node);
    assert_int_equal(tarn_pool_attributes_of(self.pool)->device.type, TARN_DEVICE_CUDA_HOST);
    for (int round = 0; round < 2; round++) {
      void *block = alloc_touched(&self, 5 * MIB);
      check_all_on_node(&self, block, 5 * MIB);
      assert_ok(tarn_pool_free(self.pool, block, NULL));
      size_t released_bytes = 0;
      assert_ok(tarn_pool_trim(self.pool, 0, &released_bytes));
      assert_true(released_bytes >= 5 * MIB);
    }
    take_apart(&self);
  }
}

int main(void) {
  setenv("CUSIM_POLICY", "eager", /*overwrite=*/0);
  return run_listed_tests(NULL, NULL);
}
