/* cpu_level_x86_absent.c: a machine without levels. */
#include "tensor/cpu_level.h"

tarn__cpu_level tarn__cpu_level_detect(void) {
  return TARN__CPU_PORTABLE;
}
