# callbacks_mutants.py: planted defects in pools as C functions.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "forgotten_handle_is_found_again",
    "a stream's handle that comes back means the stream that was destroyed",
    "alloc/adapters/callbacks/callbacks.c",
    "  if (tarn__handle_table_remove(&callbacks->handles, key, &stream)) "
    "tarn_stream_release(stream);\n",
    "",
    first="test_callbacks",
)
plant(
    "callback_frees_in_nobodys_order",
    "memory that a client frees on its stream is the CPU's at once",
    "alloc/adapters/callbacks/callbacks.c",
    "  const tarn_status given = tarn_pool_free(self->pool, address, stream);",
    "  const tarn_status given = tarn_pool_free(self->pool, address, NULL);",
    first="test_callbacks",
)
plant(
    "default_streams_of_threads_are_one",
    "CU_STREAM_PER_THREAD means the first thread's stream in every thread",
    "alloc/adapters/callbacks/callbacks.c",
    "handle |= thread_number() << 4",
    "handle |= (uintptr_t)(thread_number() > 0) << 4",
    first="test_callbacks_cuda",
)
plant(
    "removed_handle_hides_others",
    "a handle that is forgotten takes those behind it along",
    "alloc/adapters/callbacks/handle_table.c",
    "    atomic_store_explicit(&place->stream, tarn__handle_gone(), memory_order_release);\n"
    "    tidy",
    "    atomic_store_explicit(&place->key, 0, memory_order_release);\n    tidy",
    first="test_callbacks",
)
plant(
    "fork_leaves_the_table_of_handles",
    "a child of fork waits for a thread of the parent's that added a handle",
    "alloc/adapters/callbacks/handle_table.c",
    "  (void)pthread_atfork(hold, unhold, unhold);\n",
    "  (void)hold, (void)unhold;\n",
    first="test_callbacks",
)
