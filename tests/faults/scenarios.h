/* scenarios.h: scenarios of test_faults.c that stand in files of their own. */
#ifndef TESTS_SCENARIOS_H
#define TESTS_SCENARIOS_H

#include "alloc/tarn_status.h"

/* Ends a scenario at the first call that fails: `status`, and the label `done`. */
#define TRY(call)                     \
  do {                                \
    status = (call);                  \
    if (status != TARN_OK) goto done; \
  } while (0)

/* Each uses a part of the library from its creation to its end, and gives back all that it made
 * whether it fails or not. */
tarn_status use_adaptors(void);
tarn_status use_fixed_provider(void);
tarn_status use_shared_pages(void);
tarn_status use_growing_storage(void);
tarn_status use_share(void);
tarn_status use_cuda_share(void);
tarn_status use_budgets(void);
tarn_status use_maintenance(void);
tarn_status use_fallback(void);
tarn_status use_pause(void);
tarn_status use_dlpack(void);
tarn_status use_ort(void);
tarn_status use_npy_files(void);
tarn_status use_cuda_pinned(void);
tarn_status use_callbacks(void);
tarn_status use_umf(void);
tarn_status use_torch(void);
tarn_status use_staging(void); /* the end of the files' */

#endif
