/* json.h: writes JSON values to a file, correctly whatever the text holds. */
#ifndef BENCH_JSON_H
#define BENCH_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Bytes of the well-formed UTF-8 sequence at `text` (Unicode 15, table 3-7); 0: there is none. */
int json_utf8_length(const unsigned char *text);
/* In quotes; bytes that are no UTF-8 become U+FFFD. NULL writes null. */
void json_string(FILE *file, const char *text);
/* Whole numbers without a fraction up to 2^53, else nine digits; what JSON lacks writes null. */
void json_number(FILE *file, double value);

#endif
