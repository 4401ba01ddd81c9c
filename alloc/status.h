/* status.h: the thread's last error, for those who try something and succeed in another way. */
#ifndef TARN_STATUS_PRIVATE_H
#define TARN_STATUS_PRIVATE_H

#include "alloc/tarn_status.h"

/* Puts back what tarn_last_error said before. */
void tarn__error_restore(const tarn_error *error);

#endif
