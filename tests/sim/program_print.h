/* program_print.h: a program as C. */
#ifndef TARN_PROGRAM_PRINT_H
#define TARN_PROGRAM_PRINT_H

#include <stdio.h>

#include "tests/sim/program.h"

/* A C function that does what the program does, to paste into a test; see pasted.h for the words
 * that it uses. */
void program_print(FILE *file, const program *printed, const program_verdict *verdict);

#endif
