/* tag.h: the calling thread's tag, where an allocation reads it. */
#ifndef TARN_TAG_PRIVATE_H
#define TARN_TAG_PRIVATE_H

#include "alloc/tarn_tag.h"

extern _Thread_local uint32_t tarn__tag_current;

#endif
