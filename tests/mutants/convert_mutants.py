# convert_mutants.py: planted defects in conversions between dtypes.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "ties_go_away_from_even",
    "a float halfway between two of a narrow format becomes the larger one",
    "tensor/float_formats.h",
    "  const uint32_t normal = (magnitude - rebias + half - 1 + is_odd) >> shift;\n",
    "  const uint32_t normal = (magnitude - rebias + half + 0 * is_odd) >> shift;\n",
    first="test_convert",
)
plant(
    "large_integers_round_twice",
    "what a 64-bit integer has below its upper 48 bits is dropped before it is rounded",
    "tensor/convert_loops.h",
    "((magnitude >> 16 | sticky) << 16)",
    "((magnitude >> 16 | 0 * sticky) << 16)",
    first="test_convert",
)
plant(
    "saturation_lost",
    "a float that became a saturated int32 wraps when it becomes a narrower integer",
    "tensor/convert.c",
    "[KIND_I8] = VIA(i32_sat_i8)",
    "[KIND_I8] = VIA(n32_n8)",
    first="test_convert",
)
plant(
    "bool_by_truncation",
    "a float below 1 is false",
    "tensor/convert.c",
    "[KIND_F32] = VIA(mag32_bool),",
    "[KIND_F32] = VIA(f32_u8),",
    first="test_convert",
)
plant(
    "conversion_overlaps_by_one_size",
    "whether a conversion's sides share bytes is asked with the destination's size for both",
    "tensor/layout_overlap.c",
    "  add_term(&question, 1, a_unit - 1 + b_unit - 1);\n",
    "  add_term(&question, 1, a_unit - 1);\n",
    first="test_copy_convert",
)
plant(
    "last_box_as_large_as_the_first",
    "the walks of a box are kept for one of another shape",
    "tensor/copy_convert.c",
    "  if (!fits) make_walks(self, shape, walks);\n",
    "  if (!fits && walks->element_count == 0) make_walks(self, shape, walks);\n",
    first="test_copy_convert",
)
