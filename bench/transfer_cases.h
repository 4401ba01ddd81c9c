/* transfer_cases.h: the cases of `tarn bench transfer`, a function for each family. */
#ifndef BENCH_TRANSFER_CASES_H
#define BENCH_TRANSFER_CASES_H

#include "bench/transfer_session.h"

/* Each runs, or lists, its cases that are wanted. `session` is closed where they are only listed:
 * then it knows the bench alone, and one node. */

/* Between host memories of each kind on each node and the device, and inside the device. */
TARN_NODISCARD tarn_status transfer_cases_sweep(transfer_session *session);
/* With copies the other way, and with copies inside the device, at the same time. */
TARN_NODISCARD tarn_status transfer_cases_beside(transfer_session *session);
/* Many small copies, one by one and as a batch; rows of a pitch. */
TARN_NODISCARD tarn_status transfer_cases_small(transfer_session *session);
/* Allocation, a copy and the free, for each pool; how fast memory is pinned; the way to the device
 * and back. */
TARN_NODISCARD tarn_status transfer_cases_around(transfer_session *session);
/* The host's own memory, by node and thread. */
TARN_NODISCARD tarn_status transfer_cases_host(transfer_session *session);

#endif
