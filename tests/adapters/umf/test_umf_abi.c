/* test_umf_abi.c: what is declared here of UMF is what UMF's own headers declare. */
#include "tests/support/test.h"

#include <stdlib.h>

#include "alloc/adapters/umf/umf_abi.h"

#if HAS_UMF_HEADERS
#include <umf.h>
#include <umf/ipc.h>
#include <umf/memory_pool_ops.h>
#include <umf/memory_provider_gpu.h>
#include <umf/memory_provider_ops.h>

/* A field has the same place and the same type, UMF's enumerations being their integers. */
#define SAME_FIELD(theirs, ours, field)                                         \
  _Static_assert(offsetof(theirs, field) == offsetof(ours, field), #field);     \
  _Static_assert(__builtin_types_compatible_p(__typeof__(((theirs *)0)->field), \
                                              __typeof__(((ours *)0)->field)),  \
                 #field)

#define SAME_POOL(field) SAME_FIELD(umf_memory_pool_ops_t, tarn__umf_pool_ops, field)
SAME_POOL(version);
SAME_POOL(initialize);
SAME_POOL(finalize);
SAME_POOL(malloc);
SAME_POOL(calloc);
SAME_POOL(realloc);
SAME_POOL(aligned_malloc);
SAME_POOL(malloc_usable_size);
SAME_POOL(free);
SAME_POOL(get_last_allocation_error);
SAME_POOL(get_name);
SAME_POOL(ext_ctl);
SAME_POOL(ext_trim_memory);
_Static_assert(sizeof(umf_memory_pool_ops_t) == sizeof(tarn__umf_pool_ops), "pool ops");

#define SAME_PROVIDER(field) SAME_FIELD(umf_memory_provider_ops_t, tarn__umf_provider_ops, field)
SAME_PROVIDER(version);
SAME_PROVIDER(initialize);
SAME_PROVIDER(finalize);
SAME_PROVIDER(alloc);
SAME_PROVIDER(free);
SAME_PROVIDER(get_last_native_error);
SAME_PROVIDER(get_recommended_page_size);
SAME_PROVIDER(get_min_page_size);
SAME_PROVIDER(get_name);
SAME_PROVIDER(ext_purge_lazy);
SAME_PROVIDER(ext_purge_force);
SAME_PROVIDER(ext_allocation_merge);
SAME_PROVIDER(ext_allocation_split);
SAME_PROVIDER(ext_get_ipc_handle_size);
SAME_PROVIDER(ext_get_ipc_handle);
SAME_PROVIDER(ext_put_ipc_handle);
SAME_PROVIDER(ext_open_ipc_handle);
SAME_PROVIDER(ext_close_ipc_handle);
SAME_PROVIDER(ext_ctl);
SAME_PROVIDER(ext_get_allocation_properties);
SAME_PROVIDER(ext_get_allocation_properties_size);
SAME_PROVIDER(get_cache_line_size);
_Static_assert(sizeof(umf_memory_provider_ops_t) == sizeof(tarn__umf_provider_ops), "provider ops");

#define SAME_NUMBER(theirs, ours) _Static_assert((int)(theirs) == (int)(ours), #ours)
SAME_NUMBER(UMF_RESULT_SUCCESS, TARN__UMF_SUCCESS);
SAME_NUMBER(UMF_RESULT_ERROR_OUT_OF_HOST_MEMORY, TARN__UMF_OUT_OF_HOST_MEMORY);
SAME_NUMBER(UMF_RESULT_ERROR_MEMORY_PROVIDER_SPECIFIC, TARN__UMF_MEMORY_PROVIDER_SPECIFIC);
SAME_NUMBER(UMF_RESULT_ERROR_INVALID_ARGUMENT, TARN__UMF_INVALID_ARGUMENT);
SAME_NUMBER(UMF_RESULT_ERROR_INVALID_ALIGNMENT, TARN__UMF_INVALID_ALIGNMENT);
SAME_NUMBER(UMF_RESULT_ERROR_NOT_SUPPORTED, TARN__UMF_NOT_SUPPORTED);
SAME_NUMBER(UMF_RESULT_ERROR_DEPENDENCY_UNAVAILABLE, TARN__UMF_DEPENDENCY_UNAVAILABLE);
SAME_NUMBER(UMF_RESULT_ERROR_OUT_OF_RESOURCES, TARN__UMF_OUT_OF_RESOURCES);
SAME_NUMBER(UMF_RESULT_ERROR_INVALID_CTL_PATH, TARN__UMF_INVALID_CTL_PATH);
SAME_NUMBER(CTL_QUERY_READ, TARN__UMF_CTL_READ);
SAME_NUMBER(CTL_QUERY_RUNNABLE, TARN__UMF_CTL_RUNNABLE);
SAME_NUMBER(UMF_MEMORY_PROPERTY_POINTER_TYPE, TARN__UMF_PROPERTY_POINTER_TYPE);
SAME_NUMBER(UMF_MEMORY_TYPE_UNKNOWN, TARN__UMF_MEMORY_UNKNOWN);
SAME_NUMBER(UMF_MEMORY_TYPE_HOST, TARN__UMF_MEMORY_HOST);
SAME_NUMBER(UMF_MEMORY_TYPE_DEVICE, TARN__UMF_MEMORY_DEVICE);
SAME_NUMBER(UMF_MEMORY_TYPE_SHARED, TARN__UMF_MEMORY_SHARED);
_Static_assert(sizeof(umf_usm_memory_type_t) == sizeof(uint32_t), "the value of a pointer's type");
SAME_NUMBER(UMF_MAKE_VERSION(1, 2), TARN__UMF_VERSION(1, 2));

#define SAME_FUNCTION(member, name, arguments)                                                 \
  _Static_assert(__builtin_types_compatible_p(__typeof__(&(name)),                             \
                                              __typeof__(((tarn__umf_functions *)0)->member)), \
                 #name);
TARN__UMF_FUNCTIONS(SAME_FUNCTION)

/* The types a user passes are UMF's own, without a cast; and are of the version one compiles for,
 * or of the newest that is known here. */
TEST(the_tables_are_of_the_version_that_is_asked_for) {
  const umf_memory_pool_ops_t *pool = tarn_umf_pool_ops(UMF_POOL_OPS_VERSION_CURRENT);
  const umf_memory_provider_ops_t *provider =
      tarn_umf_provider_ops(UMF_PROVIDER_OPS_VERSION_CURRENT);
  assert_int_equal(pool->version, UMF_POOL_OPS_VERSION_CURRENT);
  assert_int_equal(provider->version, UMF_PROVIDER_OPS_VERSION_CURRENT);
  assert_int_equal(tarn_umf_pool_ops(0)->version, UMF_MAKE_VERSION(1, 1));
  assert_int_equal(tarn_umf_provider_ops(0)->version, UMF_MAKE_VERSION(1, 2));
  assert_int_equal(tarn_umf_pool_ops(UMF_MAKE_VERSION(1, 0))->version, UMF_MAKE_VERSION(1, 0));
  assert_int_equal(tarn_umf_provider_ops(UMF_MAKE_VERSION(1, 1))->version, UMF_MAKE_VERSION(1, 1));
  assert_int_equal(tarn_umf_provider_ops(UMF_MAKE_VERSION(1, 9))->version, UMF_MAKE_VERSION(1, 2));
  assert_null(tarn_umf_pool_ops(UMF_MAKE_VERSION(2, 0)));
  assert_null(tarn_umf_provider_ops(UMF_MAKE_VERSION(0, 9)));
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
#else
int main(void) {
  print_message("UMF's headers are not in build/venv\n");
  const char *ci = getenv("CI");
  return ci != NULL && ci[0] == 't' ? 1 : 77;
}
#endif
