# cxx_mutants.py: planted defects in the header for C++.
import planting

TABLE = []
plant = planting.planter(TABLE)

HEADER = "alloc/adapters/cxx/tarn.hpp"

plant(
    "cxx_allocator_borrows_its_pool",
    "the copy of an allocator that a container keeps does not keep the pool",
    HEADER,
    "pool_(other.pool_.retain())",
    "pool_(tarn::pool::take(other.pool_.get()))",
    first="test_cxx_containers_17",
)
plant(
    "cxx_resources_of_different_pools_are_equal",
    "a container moves its memory to another pool, which did not lend it",
    HEADER,
    "same_kind->pool() == pool()",
    "same_kind->pool() != nullptr",
    first="test_cxx_containers_17",
)
plant(
    "cxx_alignment_is_the_pools",
    "an alignment beyond the pool's own is forgotten",
    HEADER,
    "check(tarn_pool_alloc_aligned(from, size_bytes, alignment_bytes, nullptr, &address));",
    "(void)alignment_bytes, check(tarn_pool_alloc(from, size_bytes, nullptr, &address));",
    first="test_cxx_containers_17",
)
plant(
    "cxx_handle_forgets_what_it_had",
    "what a handle had is not released where something else is put into it",
    HEADER,
    "    release();\n    return &object_;",
    "    return &object_;",
    first="test_cxx_handles_17",
)
