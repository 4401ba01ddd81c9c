/* linear_walk.h: walks that keep the tensor's dimensions, for those who follow them elsewhere. */
#ifndef TENSOR_LINEAR_WALK_H
#define TENSOR_LINEAR_WALK_H

#include "tensor/tarn_linear_walk.h"

/* tarn_linear_walk_begin for a tensor with elements, whose chunks are boxes of its own dimensions
 * even where its elements could be counted by one. */
tarn_status tarn__linear_walk_begin_boxes(const tarn_tensor *tensor, uint32_t access,
                                          size_t chunk_bytes, tarn_pool *pool, tarn_stream *stream,
                                          tarn_linear_walk *walk);

/* Narrows `layout`, of as many dimensions as the tensor of a walk over boxes, to the chunk at hand.
 * Dimensions in which the tensor has one index and `layout` more stay whole. */
void tarn__linear_walk_narrow(const tarn_linear_walk *walk, tarn_layout *layout);

#endif
