/* museum.h: the rooms of the museum: historical defects by what they broke. */
#ifndef TARN_MUSEUM_H
#define TARN_MUSEUM_H

#include "tests/support/test.h"

int run_museum_order(void);
int run_museum_memory(void);

#endif
