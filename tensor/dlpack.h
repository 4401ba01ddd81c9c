/* dlpack.h: what the files of the DLPack bridge share: the ABI, asserted, and own exports. */
#ifndef TENSOR_DLPACK_H
#define TENSOR_DLPACK_H

#include <assert.h>

#include "tensor/tarn_dlpack.h"

/* dlpack.h 1.3 on a machine with pointers of 8 bytes, the only ones that tarn runs on. */
static_assert(sizeof(tarn_device) == 8 && offsetof(tarn_device, index) == 4, "DLDevice");
static_assert(sizeof(tarn_dtype) == 4 && offsetof(tarn_dtype, bits) == 1 &&
                  offsetof(tarn_dtype, lanes) == 2,
              "DLDataType");
static_assert(sizeof(tarn_dl_version) == 8 && offsetof(tarn_dl_version, minor) == 4,
              "DLPackVersion");
static_assert(sizeof(tarn_dl_tensor) == 48 && offsetof(tarn_dl_tensor, data) == 0 &&
                  offsetof(tarn_dl_tensor, device) == 8 && offsetof(tarn_dl_tensor, ndim) == 16 &&
                  offsetof(tarn_dl_tensor, dtype) == 20 && offsetof(tarn_dl_tensor, shape) == 24 &&
                  offsetof(tarn_dl_tensor, strides) == 32 &&
                  offsetof(tarn_dl_tensor, byte_offset) == 40,
              "DLTensor");
static_assert(sizeof(tarn_dl_managed_tensor) == 64 &&
                  offsetof(tarn_dl_managed_tensor, dl_tensor) == 0 &&
                  offsetof(tarn_dl_managed_tensor, manager_ctx) == 48 &&
                  offsetof(tarn_dl_managed_tensor, deleter) == 56,
              "DLManagedTensor");
static_assert(sizeof(tarn_dl_managed_tensor_versioned) == 80 &&
                  offsetof(tarn_dl_managed_tensor_versioned, version) == 0 &&
                  offsetof(tarn_dl_managed_tensor_versioned, manager_ctx) == 8 &&
                  offsetof(tarn_dl_managed_tensor_versioned, deleter) == 16 &&
                  offsetof(tarn_dl_managed_tensor_versioned, flags) == 24 &&
                  offsetof(tarn_dl_managed_tensor_versioned, dl_tensor) == 32,
              "DLManagedTensorVersioned");
static_assert(sizeof(tarn_dl_exchange_api) == 56 &&
                  offsetof(tarn_dl_exchange_api, header.prev_api) == 8 &&
                  offsetof(tarn_dl_exchange_api, managed_tensor_allocator) == 16 &&
                  offsetof(tarn_dl_exchange_api, managed_tensor_from_py_object_no_sync) == 24 &&
                  offsetof(tarn_dl_exchange_api, managed_tensor_to_py_object_no_sync) == 32 &&
                  offsetof(tarn_dl_exchange_api, dltensor_from_py_object_no_sync) == 40 &&
                  offsetof(tarn_dl_exchange_api, current_work_stream) == 48,
              "DLPackExchangeAPI");

/* The storage of an export of ours that an import may take over together with the export's
 * reference; NULL for what others made, and for an export that has a consumer's stream to look
 * after. */
tarn_storage *tarn__dlpack_storage_of(const tarn_dl_managed_tensor_versioned *managed);
tarn_storage *tarn__dlpack_storage_of_legacy(const tarn_dl_managed_tensor *managed);
/* Ends an export whose reference was taken over: its block of memory, and nothing else. */
void tarn__dlpack_forget(void *managed);

#endif
