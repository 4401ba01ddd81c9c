/* storage.h: what a storage that grows in place asks of storages. */
#ifndef TARN_STORAGE_PRIVATE_H
#define TARN_STORAGE_PRIVATE_H

#include "alloc/tarn_storage.h"

/* The context of a blob with just this deleter; NULL for any other storage. */
void *tarn__storage_context(const tarn_storage *storage, tarn_deleter deleter);

/* What tarn_storage_size_bytes answers from now on. Whoever sees it sees what happened before. */
void tarn__storage_set_size(tarn_storage *storage, size_t size_bytes);

/* Where tarn_storage_reserve got the memory, borrowed; NULL for any other storage. */
tarn_provider *tarn__storage_reserved_from(const tarn_storage *storage);

/* Waits for what streams had enqueued when they noted a use of this blob. TARN_OUT_OF_MEMORY, and
 * what waiting for a stream may fail with; then some may still be at work. */
TARN_NODISCARD tarn_status tarn__storage_wait_for_uses(tarn_storage *storage);

#endif
