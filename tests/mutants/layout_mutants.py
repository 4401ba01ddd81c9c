# layout_mutants.py: planted defects in what shapes and strides mean.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "view_across_a_gap",
    "a view takes dimensions for one run though they are not evenly spaced",
    "tensor/layout_reshape.c",
    " || strides[*old_dim] != next) break;",
    " || (next != 0 && strides[*old_dim] == 0)) break;",
    first="test_layout_reshape",
)
plant(
    "view_cut_out_of_two_runs",
    "a view lets a new dimension begin in one run and end in another",
    "tensor/layout_reshape.c",
    "    if (left % shape[d] != 0) return false;\n",
    "    if (shape[d] > left && left > 1) return false;\n",
    first="test_layout_reshape",
)
plant(
    "one_batch_of_one_pixel_is_channels_last",
    "N x 1 x 1 x 1, which fits both formats, is taken for channels-last",
    "tensor/layout_format.c",
    "    if (i == 0 && inside == layout->strides[1]) return false;\n",
    "",
    first="test_layout_format",
)
plant(
    "windows_uncounted",
    "overlapping windows may name more elements than a number can count",
    "tensor/layout_view.c",
    "  const tarn_status status = tarn__layout_check_shape(rank + 1, shape);\n",
    "  const tarn_status status = tarn__layout_check_shape(1, shape);\n",
    first="test_layout_view",
)
plant(
    "diagonal_overflows",
    "the strides of a diagonal are added without a look at the sum",
    "tensor/layout_view.c",
    "    if (length > 1) return tarn_fail(TARN_TOO_LARGE,",
    "    if (length > 2) return tarn_fail(TARN_TOO_LARGE,",
    first="test_layout_view",
)
plant(
    "broadcast_changes_one_of_two",
    "layouts that do not broadcast together are found out one dimension late",
    "tensor/layout_dims.c",
    "    if (size_a == size_b || size_a == 1 || size_b == 1) continue;\n",
    "    if (size_a == size_b || size_a == 1 || size_b <= 2) continue;\n",
    first="test_layout_dims",
)
plant(
    "larger_elements_from_odd_rows",
    "rows that begin between two larger elements are viewed as such",
    "tensor/tensor_view.c",
    "    if (layout->strides[d] % factor != 0 &&",
    "    if (layout->strides[d] % factor > 1 &&",
    first="test_tensor_view",
)
plant(
    "wrap_reaches_in_front",
    "a blob is wrapped with strides that lead in front of it",
    "tensor/tensor.c",
    "  if (reach.first >= 0 && end_bytes <= *size_bytes) return TARN_OK;\n",
    "  if (end_bytes <= *size_bytes) return TARN_OK;\n",
    first="test_tensor",
)
