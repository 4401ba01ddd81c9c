# pages_mutants.py: planted defects in pages of the system and of nodes.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "locked_pages_stay",
    "locked pages are not unlocked before they are given back, so that the kernel keeps them",
    "alloc/pages.c",
    "(void)syscall(SYS_munlock, address, size_bytes);",
    "{}",
    first="test_pages",
)
plant(
    "placed_after_the_first_page",
    "pages are made before anybody says where they shall lie",
    "alloc/pages.c",
    "  if (self->place != NULL) status = self->place(self->place_context, address, size_bytes);\n",
    "  if ((self->flags & TARN_PAGES_POPULATE) != 0) status = touch(self, address, size_bytes);\n"
    "  if (self->place != NULL) status = self->place(self->place_context, address, size_bytes);\n",
    first="test_pages",
)
plant(
    "child_drops_shared_pages",
    "a forked child that ends drops the pages that its parent still uses",
    "alloc/pages.c",
    "if (is_shared(self) && getpid() == self->creator) status",
    "if (is_shared(self)) status",
    first="test_pages",
)
plant(
    "chunk_skipped_at_the_end",
    "the last chunk of a range is not touched where it is a short one",
    "alloc/touch.c",
    "    if (offset >= self->end - self->first) break;\n",
    "    if (offset + self->chunk_bytes > self->end - self->first && offset > 0) break;\n",
    first="test_touch",
)
plant(
    "promise_forgotten_behind_a_hole",
    "what lies behind a range that was given back from the middle is no promise any more",
    "numa/promises.c",
    "        insert_range(self, index + 1, behind);\n"
    "        set_untouched(self, &self->ranges[index + 1], untouched_bytes);\n",
    "",
    first="test_promises",
)
plant(
    "promise_of_a_refused_bind_stays",
    "memory that could not be bound stays promised, although it was given back",
    "numa/node_provider.c",
    "  if (status != TARN_OK || self->is_populated) drop_promise(self, address, size_bytes);\n",
    "  if (self->is_populated) drop_promise(self, address, size_bytes);\n",
    first="test_node_provider",
)
plant(
    "process_asks_for_its_first_thread",
    "a process whose first thread has ended cannot share its memory",
    "alloc/pages.c",
    "fopen(\"/proc/thread-self/maps\", \"re\")",
    "fopen(\"/proc/self/maps\", \"re\")",
    first="test_refusals",
)
plant(
    "forbidden_mincore_is_no_mapping",
    "of memory that the kernel does not tell about none is said to be there",
    "alloc/pages_state.c",
    "    if (!is_mapped && errno != ENOMEM) return errno;\n",
    "",
    first="test_refusals",
)
