/* fork.h: what each part of alloc/ does around a fork, so that the child can go on with it.
 *
 * Three steps per part: hold, before the fork, takes the part's locks, so that no other thread is
 * in the middle of anything; unhold, in the parent, gives them back; mend, in the child, does so
 * too, and undoes what the threads that are not there had begun outside of the locks. The steps of
 * all parts are called in the order of their locks (fork.c).
 *
 * What a thread writes without a lock cannot be trusted in the child unless the thread was stopped:
 * the kernel copies page by page while it runs on. */
#ifndef TARN_FORK_H
#define TARN_FORK_H

void tarn__maintenance_hold(void);
void tarn__maintenance_unhold(void);
void tarn__maintenance_mend(void);

/* caching_fork.c: stops every thread that is inside a magazine, too. */
void tarn__caching_hold(void);
void tarn__caching_unhold(void);
void tarn__caching_mend(void);

void tarn__budget_hold(void);
void tarn__budget_unhold(void);
void tarn__budget_mend(void);

void tarn__fixed_hold(void);
void tarn__fixed_unhold(void);

void tarn__worker_hold(void);
void tarn__worker_unhold(void);
void tarn__worker_mend(void);

void tarn__order_hold(void);
void tarn__order_unhold(void);
void tarn__order_mend(void);

void tarn__storage_hold(void);
void tarn__storage_unhold(void);

void tarn__share_hold(void);
void tarn__share_unhold(void);
void tarn__share_mend(void);

void tarn__tag_hold(void);
void tarn__tag_unhold(void);

void tarn__trace_hold(void);
void tarn__trace_unhold(void);

void tarn__provider_hold(void);
void tarn__provider_unhold(void);

void tarn__slab_hold(void);
void tarn__slab_unhold(void);
void tarn__slab_mend(void);

#endif
