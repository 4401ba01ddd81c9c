# fork_mutants.py: planted defects in what a child of fork finds, and in maintenance and fallback.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "child_pays_for_what_never_arrives",
    "a charge for memory that was being obtained stays in the child",
    "alloc/caching_fork.c",
    "  tarn__budget_cancel(self->budget, self->obtaining_bytes);\n",
    "",
    first="test_fork",
)
plant(
    "child_waits_for_threads_that_are_not_there",
    "calls to a provider that never return are waited for before memory is called missing",
    "alloc/caching_fork.c",
    "  self->busy_count = 0;\n",
    "",
    first="test_fork",
)
plant(
    "child_owns_a_segment_that_was_going",
    "a segment that was going back to the provider stays the pool's",
    "alloc/caching_fork.c",
    "  if (reserves || !is_going) return false;\n",
    "  if (reserves || is_going || !is_going) return false;\n",
    first="test_fork",
)
plant(
    "fork_stops_no_magazine",
    "threads may be inside their magazines while the process is copied",
    "alloc/caching_fork.c",
    "self != NULL; self = self->next) tarn__magazines_close(self);",
    "self != NULL; self = self->next) self->magazines_closed_count++;",
    first="test_fork",
)
plant(
    "child_lends_shared_memory",
    "parent and child lend the same bytes",
    "alloc/caching_fork.c",
    "         (self->machine->flags & TARN_PROVIDER_OF_PROCESS) != 0;\n",
    "         false;\n",
    first="test_fork",
)
plant(
    "child_waits_for_the_parents_streams",
    "work that was enqueued before a fork is pending in the child for ever",
    "alloc/order.c",
    "    raise_to(&timeline->seen, last.ticket);\n    /* The thread",
    "    (void)last;\n    /* The thread",
    first="test_fork",
)
plant(
    "child_takes_half_linked_objects",
    "what another thread had at hand of a slab is taken in the child",
    "alloc/slab.c",
    "      place->free_list = NULL;\n",
    "",
    first="test_fork",
)
plant(
    "maintained_pool_ends_under_the_call",
    "a pool that ends does not wait for the decay that is under way",
    "alloc/maintenance.c",
    "    if (taken == TAKEN_LATER) pthread_cond_wait(&call_ended, &maintenance_lock);\n",
    "    if (taken == TAKEN_LATER) break;\n",
    first="test_maintenance",
)
plant(
    "fallback_loses_a_refusal",
    "who asks does not learn why a choice was passed over",
    "alloc/fallback.c",
    "      note_refusal(grant, asked, status);\n",
    "      if (asked->pool != NULL) note_refusal(grant, asked, status);\n",
    first="test_fallback",
)
