/* program_isolate.h: work in a process of its own, which may crash or hang. */
#ifndef TARN_PROGRAM_ISOLATE_H
#define TARN_PROGRAM_ISOLATE_H

#include "tests/sim/program.h"

/* One program has so long; a sanitizer on a busy machine needs some of it. */
enum { PROGRAM_SECONDS_MAX = 60 };

typedef void program_job(void *context);

/* Runs `job` in a child. `verdict` is written where it crashed or hung, with what it said last.
 * False where there is no child to be had. */
bool program_isolate(program_job *job, void *context, program_verdict *verdict,
                     unsigned seconds_max);

#endif
