/* tag.h: the calling thread's tag, where an allocation reads it. */
#ifndef TARN_TAG_PRIVATE_H
#define TARN_TAG_PRIVATE_H

#include "alloc/tarn_tag.h"

extern _Thread_local uint32_t tarn__tag_current;

/* The number of a name; 0 for "", and false for a name that nobody has pushed. */
bool tarn__tag_find(const char *name, uint32_t *tag);

#endif
