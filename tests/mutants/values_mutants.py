# values_mutants.py: planted defects in what reaches a tensor's values: spans, walks, fills, texts.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "linear_write_is_lost",
    "what was written to a staged span does not go back",
    "tensor/linear.c",
    "  if (span->access & TARN_LINEAR_WRITE) status = scatter(span, stream);\n",
    "  if (span->access == TARN_LINEAR_WRITE) status = scatter(span, stream);\n",
    first="test_linear",
)
plant(
    "staged_span_claims_zero_copy",
    "a span over a copy says that it is the tensor's own memory",
    "tensor/linear.c",
    "  span->data = tarn_storage_data_mutable(span->staging);\n",
    "  span->data = tarn_storage_data_mutable(span->staging);\n  span->is_zero_copy = true;\n",
    first="test_linear",
)
plant(
    "walk_does_not_wait_for_its_buffer",
    "the CPU reads a chunk that the stream may still be gathering",
    "tensor/linear_walk.c",
    "  if (!walk->is_pending[buffer]) return TARN_OK;\n",
    "  if (walk->fences[buffer] != NULL) return TARN_OK;\n",
    first="test_linear_walk",
)
plant(
    "walk_loses_its_last_chunk",
    "what was written to the chunk at hand is dropped when a walk ends",
    "tensor/linear_walk.c",
    "  const tarn_status status = end_chunk(walk);\n  for (int buffer",
    "  const tarn_status status = TARN_OK;\n  for (int buffer",
    first="test_linear_walk",
)
plant(
    "turned_piece_keeps_its_flip",
    "a flipped dimension of a device's tensor is put in order backwards",
    "tensor/linear_device.c",
    "  if (status == TARN_OK) status = reorder(&near->layout, order, flips);\n",
    "  flips[0] = false;\n"
    "  if (status == TARN_OK) status = reorder(&near->layout, order, flips);\n",
    first="test_linear_device",
)
plant(
    "equal_stops_at_the_first_piece",
    "a comparison of large device tensors looks at their first half alone",
    "tensor/compare.c",
    "    if (status != TARN_OK || !*passes) return status;\n",
    "    return status;\n",
    first="test_compare",
)
plant(
    "fill_notes_no_use",
    "memory may be reused while a stream still fills it",
    "tensor/element.c",
    "  if (tarn_storage_note_use(tensor->storage, stream) == TARN_OK) return TARN_OK;\n",
    "  if (tarn_storage_note_use(tensor->storage, NULL) == TARN_OK) return TARN_OK;\n",
    first="test_element",
)
plant(
    "accessor_beyond_32_bits",
    "a 32-bit accessor takes a layout whose last element is one too far",
    "tensor/accessor.c",
    "end - 1 - layout->offset > INT32_MAX",
    "end - 2 - layout->offset > INT32_MAX",
    first="test_accessor",
)
plant(
    "text_threshold_off_by_one",
    "a text leaves out elements one too early",
    "tensor/tensor_text.c",
    "tarn_layout_element_count(layout) > options->threshold;",
    "tarn_layout_element_count(layout) >= options->threshold;",
    first="test_tensor_text",
)
plant(
    "text_pads_with_zeros",
    "columns of exponents are filled with zeros instead of the value's digits",
    "tensor/text_format.c",
    "    tarn__decimal_round_digits(value, format->right + 1, &decimal);\n",
    "    decimal.exponent += 0 * format->right;\n",
    first="test_tensor_text",
)
