# mutants.py: the planted defects, and the programs that they have to get past.
#
# Each table is in a file *_mutants.py and tells in its first line what it is about. The code
# changes and the mutants follow it: a table that does not fit is an error, never a mutant less.
import adaptor_mutants
import blob_mutants
import callbacks_mutants
import convert_mutants
import copy_mutants
import cxx_mutants
import dlpack_mutants
import driver_pool_mutants
import fork_mutants
import heap_mutants
import kernel_mutants
import layout_mutants
import magazine_mutants
import move_mutants
import npy_mutants
import numa_mutants
import order_mutants
import ort_mutants
import pages_mutants
import pause_mutants
import pinned_mutants
import placement_mutants
import pool_mutants
import share_mutants
import size_mutants
import staging_mutants
import storage_mutants
import torch_mutants
import transfer_mutants
import transpose_mutants
import umf_mutants
import user_mutants
import values_mutants
import planting

Mutant = planting.Mutant

TABLE = [
    *order_mutants.TABLE,
    *ort_mutants.TABLE,
    *heap_mutants.TABLE,
    *magazine_mutants.TABLE,
    *move_mutants.TABLE,
    *placement_mutants.TABLE,
    *pool_mutants.TABLE,
    *fork_mutants.TABLE,
    *pause_mutants.TABLE,
    *transpose_mutants.TABLE,
    *user_mutants.TABLE,
    *pinned_mutants.TABLE,
    *driver_pool_mutants.TABLE,
    *storage_mutants.TABLE,
    *blob_mutants.TABLE,
    *share_mutants.TABLE,
    *size_mutants.TABLE,
    *staging_mutants.TABLE,
    *npy_mutants.TABLE,
    *transfer_mutants.TABLE,
    *pages_mutants.TABLE,
    *dlpack_mutants.TABLE,
    *copy_mutants.TABLE,
    *convert_mutants.TABLE,
    *values_mutants.TABLE,
    *kernel_mutants.TABLE,
    *layout_mutants.TABLE,
    *numa_mutants.TABLE,
    *callbacks_mutants.TABLE,
    *umf_mutants.TABLE,
    *torch_mutants.TABLE,
    *cxx_mutants.TABLE,
    *adaptor_mutants.TABLE,
]

# What a mutant has to get past, with arguments: what is quick and near the pool first.
PROGRAMS = """
    test_order
    test_stream_copy
    test_stamps
    test_block
    test_heap
    test_budget
    test_page_map
    test_barrier
    test_refusals
    test_magazine
    test_magazine_aside
    test_magazine_closing
    test_tag
    test_caching_pool
    test_caching_corners
    test_caching_budget
    test_caching_decay
    test_fork
    test_maintenance
    test_fallback
    test_umf_ops
    test_umf_cuda
    test_ort_allocator
    test_ort_value
    test_caching_explain
    test_caching_move
    test_caching_recycle
    test_caching_snapshot
    test_pool_trace
    test_capture
    test_capture_space
    test_paused
    test_pause
    test_pause_failures
    test_pause_programs
    test_pool_provider
    test_pages
    test_touch
    test_promises
    test_node_provider
    test_storage
    test_storage_reserve
    test_mapping
    test_share
    test_share_wire
    test_cuda_share
    test_cuda_peer
    test_pool
    test_stream
    test_staging
    test_staging_copy
    test_staging_file
    test_slab
    test_layout_view
    test_layout_dims
    test_layout_reshape
    test_layout_format
    test_tensor
    test_tensor_view
    test_copy
    test_npy_header
    test_npy
    test_npy_save
    test_dlpack_export
    test_dlpack_import
    test_dlpack_streams
    test_float_formats
    test_convert
    test_copy_convert
    test_copy_ring
    test_copy_direct
    test_transfers
    test_npy_ring
    test_copy_rows
    test_copy_walk
    test_copy_threads
    test_copy_transpose
    test_iovec
    test_image
    test_linear
    test_linear_walk
    test_linear_device
    test_compare
    test_element
    test_accessor
    test_tensor_text
    test_topology_nodes
    test_topology_near
    test_topology_best
    test_topology_room
    test_placement
    test_placement_bind
    test_placement_stripes
    test_cxx_containers_17
    test_cxx_handles_17
    test_museum
    test_museum_cuda
    test_caching_programs
    test_provider_conformance
    test_pool_conformance
    test_lent_map
    test_call_sites
    test_over_pool
    test_limit_pool
    test_failing_pool
    test_logging_pool
    test_tracking_pool
    test_aligned_pool
    test_binning_pool
    test_prefetch_pool
    test_adaptor_conformance
    test_shadow
    test_used_blocks
    test_held_blocks
    test_arena
    test_front
    test_node_pool
    test_node_pool_life
    test_callbacks
    test_callbacks_cuda
    test_cuda
    test_torch
    test_kernel_access
    test_copy_grid
    sim_programs --seed 1 --count 40 --seconds 300
"""
PROGRAMS = [line.split() for line in PROGRAMS.split("\n") if line]

MUSEUM = ("test_museum", "test_museum_cuda")
