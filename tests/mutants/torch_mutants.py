# torch_mutants.py: planted defects in PyTorch's allocator: uses, streams and graphs forgotten.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "torch_record_counts_from_the_record",
    "what is enqueued between record_stream and the free is not waited for",
    "alloc/adapters/torch/torch_streams.c",
    "    if (status == TARN_OK) status = note_record(device, pool, record);\n",
    "",
    first="test_torch",
)
plant(
    "torch_forgets_a_stream_at_work",
    "blocks of a stream that is no more are lent out before its work is done",
    "alloc/adapters/torch/torch_streams.c",
    "  tarn_status status = tarn_stream_synchronize(stream);\n",
    "  tarn_status status = TARN_OK;\n",
    first="test_torch",
)
plant(
    "torch_takes_a_stream_for_its_neighbour",
    "of two streams in one bucket the second is taken for the first",
    "alloc/adapters/torch/torch_state.h",
    " == tarn__torch_key(device) &&\n         node->handle == handle;\n",
    " == tarn__torch_key(device) || node->handle == handle;\n",
    first="test_torch",
)
plant(
    "torch_goes_straight_on_in_a_capture",
    "what a captured stream allocates is no graph's",
    "alloc/adapters/torch/torch_hooks.c",
    "  if (!tarn__torch_is_common(open_routes == 0)) return take_anywhere(asked);\n",
    "  (void)open_routes;\n",
    first="test_torch",
)
plant(
    "torch_frees_what_is_recorded_at_once",
    "a block that another stream uses is lent out again without waiting for it",
    "alloc/adapters/torch/torch_hooks.c",
    "!tarn__torch_is_common(pool != NULL) || !tarn__torch_is_common(use_count == 0)",
    "!tarn__torch_is_common(pool != NULL) || use_count == UINT64_MAX",
    first="test_torch",
)
plant(
    "torch_frees_a_segment_under_way",
    "a segment that a launched graph uses is lent out at once",
    "alloc/adapters/torch/torch_hooks.c",
    "  if (status == TARN_OK) status = tarn_cuda_synchronize(tarn__torch_cuda(), device);\n",
    "",
    first="test_torch",
)
plant(
    "torch_releases_graphs_under_way",
    "a released graph's memory goes to others while it still runs",
    "alloc/adapters/torch/torch_graphs.c",
    "  const bool is_over = tarn_cuda_synchronize(tarn__torch_cuda(), device) == TARN_OK;\n",
    "  const bool is_over = true;\n",
    first="test_torch",
)
plant(
    "torch_waits_for_a_device_in_a_capture",
    "releasing one graph spoils the capture of another",
    "alloc/adapters/torch/torch_graphs.c",
    "    return false; /* the device must not be waited for */\n",
    "",
    first="test_torch",
)
plant(
    "torch_graphs_of_a_pool_share_nothing",
    "a second graph of a pool does not continue the first",
    "alloc/adapters/torch/torch_graphs.c",
    "      graphs->capture_count == 0\n",
    "      graphs->capture_count + 1 != 0\n",
    first="test_torch",
)
