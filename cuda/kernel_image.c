/* kernel_image.c: the kernels' device code, taken in from the file that the build names. */
#include "cuda/kernels.h"

/* A zero byte behind it, since the driver reads PTX as a string. */
__asm__(
    ".pushsection .rodata\n"
    ".balign 16\n"
    ".global tarn__kernel_image\n"
    ".hidden tarn__kernel_image\n"
    ".type tarn__kernel_image, @object\n"
    "tarn__kernel_image:\n"
    ".incbin \"" TARN_KERNEL_IMAGE
    "\"\n"
    ".byte 0\n"
    ".size tarn__kernel_image, . - tarn__kernel_image\n"
    ".popsection\n");
