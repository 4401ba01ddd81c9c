/* bench_transfer.c: `tarn bench transfer`: opens what its cases share, and runs them. */
#include "bench/bench.h"
#include "bench/transfer_cases.h"

/* With a device, what reaches it; and the host's own memory everywhere. */
static tarn_status run_cases(transfer_session *session) {
  const where_place *where = &session->bench->where;
  tarn_status status = TARN_OK;
  if (!where_is_host(where)) status = transfer_cases_sweep(session);
  if (status == TARN_OK && where_is_device(where)) {
    status = transfer_cases_beside(session);
    if (status == TARN_OK) status = transfer_cases_small(session);
    if (status == TARN_OK) status = transfer_cases_around(session);
  }
  if (status == TARN_OK) status = transfer_cases_host(session);
  return status;
}

tarn_status bench_transfer(bench_run *bench) {
  transfer_session session = {
      .bench = bench, .is_quick = bench->options->quick, .nodes = {-1}, .node_count = 1};
  if (bench->options->list) return run_cases(&session);
  tarn_status status = transfer_session_open(bench, &session);
  if (status != TARN_OK) return status;
  status = run_cases(&session);
  transfer_session_close(&session);
  return status;
}
