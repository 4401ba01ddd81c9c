/* tarn_placement.h: on which memory nodes pages shall lie, and where they do lie. */
#ifndef TARN_PLACEMENT_H
#define TARN_PLACEMENT_H

#include "numa/tarn_topology.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Counts how many of the pages of [address, address + size_bytes) lie on `node`, lie on another,
 * and were never touched, by asking the kernel (move_pages). Any of the three may be NULL. */
TARN_API TARN_NODISCARD tarn_status tarn_node_verify(const void *address, size_t size_bytes,
                                                     int32_t node, size_t *on_node_pages,
                                                     size_t *elsewhere_pages,
                                                     size_t *untouched_pages);

#ifdef __cplusplus
}
#endif
#endif
