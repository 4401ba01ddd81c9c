/* sim_race.h: the happens-before oracle: two uses of the same bytes that nothing orders.
 *
 * What another file of the simulator has to do for it:
 *   - a kind of operation that touches memory is named in check_operation() of sim_race.c;
 *     sim_op_enqueue calls sim_race_enqueued, so its clock and its mark's stamp come by themselves;
 *   - who makes the calling thread wait for a mark, or answers that it is passed, calls
 *     sim_clock_host_learns (sim_clock.h);
 *   - memory that comes, goes or is mapped anew: sim_race_fresh and sim_race_gone.
 * Everything here is used with sim.lock held.
 */
#ifndef SIM_RACE_H
#define SIM_RACE_H

#include "cuda/sim/sim_clock.h"
#include "cuda/sim/sim_shadow.h"

bool sim_race_is_on(void);
/* The operation is about to be the last of its queue: sets its clock and checks what it touches. */
void sim_race_enqueued(struct sim_op *op);
/* The calling thread, or the host function under way, uses the bytes now. `what` lasts for good. */
void sim_race_host(uintptr_t address, size_t size_bytes, bool is_write, const char *what);
/* The calling thread takes the bytes away: a write, and then they are forgotten. */
void sim_race_gone(uintptr_t address, size_t size_bytes);
/* The bytes are new, or gone where nobody is to blame: they are forgotten. */
void sim_race_fresh(uintptr_t address, size_t size_bytes);
/* Lets go of what nobody can race with any more, where that has become much. */
void sim_race_tidy(void);
_Noreturn void sim_race_out_of_memory(void);

/* --- sim_report.c --- */
/* `later` of the stamp `now` uses bytes that `earlier` has used, and does not come after it. */
void sim_report_race(const sim_access *later, const sim_stamp *now, const sim_access *earlier,
                     uintptr_t start, uintptr_t end);

#endif
