# order_mutants.py: planted defects in what is known of the order of streams.
import planting

TABLE = []
plant = planting.planter(TABLE)

# --- alloc/order.c: tickets, fences, knowledge ---

plant(
    "covers_one_ticket_too_many",
    "a fence claims to cover the ticket that follows the one it closed",
    "alloc/order.c",
    "if (timeline->covered < closed.ticket) timeline->covered = closed.ticket;",
    "if (timeline->covered <= closed.ticket) timeline->covered = closed.ticket + 1;",
    first="test_order",
    piece="stale_event_on_merge",
)
plant(
    "fence_recorded_before_its_ticket_is_closed",
    "work enqueued between the record and the close counts as covered",
    "alloc/order.c",
    """\
  const tarn__stamp closed = close_ticket(timeline);
  status = fence->ops->fence_record(stream->context, fence->native);
""",
    """\
  status = fence->ops->fence_record(stream->context, fence->native);
  const tarn__stamp closed = close_ticket(timeline);
""",
    first="test_order",
)
plant(
    "fence_published_before_it_is_recorded",
    "another thread may wait for an event whose mark is still the old one",
    "alloc/order.c",
    """\
  status = fence->ops->fence_record(stream->context, fence->native);
""",
    """\
  pthread_mutex_lock(&order_lock);
  timeline->covered = closed.ticket;
  pthread_mutex_unlock(&order_lock);
  status = fence->ops->fence_record(stream->context, fence->native);
""",
    first="test_order",
)
plant(
    "snapshot_taken_late",
    "what the stream learns after the record goes out with the fence",
    "alloc/order.c",
    """\
  status = fence->ops->fence_record(stream->context, fence->native);
  cost->fence_count++;
""",
    """\
  status = fence->ops->fence_record(stream->context, fence->native);
  take_snapshot(timeline, snapshot);
  cost->fence_count++;
""",
    first="test_order",
)
plant(
    "wait_learns_what_is_known_now",
    "a wait for an old fence teaches what its stream has learnt since",
    "alloc/order.c",
    "memcpy(found->snapshot, timeline->snapshot, sizeof found->snapshot);",
    "take_snapshot(timeline, found->snapshot);",
    first="test_order",
)
plant(
    "wait_dropped",
    "a stream is called ordered behind a fence that it never waited for",
    "alloc/order.c",
    "? stream->ops->fence_wait(stream->context, found->fence->native)",
    "? TARN_OK",
    first="test_museum",
    piece="stale_event_on_merge",
)
plant(
    "host_wait_dropped",
    "the host is called behind a fence that it never waited for",
    "alloc/order.c",
    ": found->fence->ops->fence_synchronize(found->fence->native);",
    ": TARN_OK;",
    first="test_museum_cuda",
    piece="pinned_reuse_while_the_cpu_still_reads",
)
plant(
    "wait_not_counted",
    "a wait does not show in the statistics",
    "alloc/order.c",
    """\
                                 : found->fence->ops->fence_synchronize(found->fence->native);
  cost->wait_count++;
""",
    """\
                                 : found->fence->ops->fence_synchronize(found->fence->native);
""",
    first="test_order",
)
plant(
    "wait_of_a_stream_joined_to_the_host",
    "what one stream waits for is taken for seen by everybody",
    "alloc/order.c",
    "if (status == TARN_OK) learn(in_stream ? stream : NULL, found);",
    "if (status == TARN_OK) learn(NULL, found);",
    first="test_order",
)
plant(
    "failed_wait_teaches",
    "a wait that the driver refused is believed",
    "alloc/order.c",
    "if (status == TARN_OK) learn(in_stream ? stream : NULL, found);",
    "learn(in_stream ? stream : NULL, found);",
    first="test_order",
)
plant(
    "failed_record_publishes",
    "a record that the driver refused is believed",
    "alloc/order.c",
    """\
  if (status == TARN_OK) {
    pthread_mutex_lock(&order_lock);
    if (timeline->covered""",
    """\
  {
    pthread_mutex_lock(&order_lock);
    if (timeline->covered""",
    first="test_order",
    piece="event_of_another_device",
)
plant(
    "query_not_ready_taken_for_passed",
    "a fence that has not passed counts as seen",
    "alloc/order.c",
    "    if (status == TARN_OK) learn(NULL, &found);\n",
    "    if (status >= TARN_OK) learn(NULL, &found);\n",
    first="test_order",
)
plant(
    "query_teaches_the_latest_mark",
    "a passed query is taken for the fence that was recorded meanwhile",
    "alloc/order.c",
    "  tarn__order_knows(stream, passed->covered);\n",
    "  tarn__order_knows(stream, (tarn__stamp){passed->covered.slot,\n"
    "                    load(&timeline_of(passed->covered.slot)->ticket)});\n",
    first="test_order",
)
plant(
    "host_order_ignored",
    "NULL streams get memory that streams still use",
    "alloc/order.c",
    "if (timeline == NULL) return false;",
    "if (timeline == NULL) return true;",
    first="test_museum_cuda",
    piece="pinned_reuse_while_the_cpu_still_reads",
)
plant(
    "own_stamp_not_covered",
    "a stream waits for itself",
    "alloc/order.c",
    "if (timeline->slot == stamp.slot) return stamp.ticket < load(&timeline->limbo);",
    "if (timeline->slot == stamp.slot) return false;",
    first="test_order",
)
plant(
    "seen_one_ticket_too_many",
    "the ticket after the last one seen counts as seen",
    "alloc/order.c",
    "return stamp.ticket <= load(&timeline_of(stamp.slot)->seen);",
    "return stamp.ticket <= load(&timeline_of(stamp.slot)->seen) + 1;",
    first="test_order",
)
plant(
    "known_one_ticket_too_many",
    "the ticket after the last one known counts as known",
    "alloc/order.c",
    "return stamp.ticket <= load(&timeline->known[stamp.slot]);",
    "return stamp.ticket <= load(&timeline->known[stamp.slot]) + 1;",
    first="test_order",
)
plant(
    "knowledge_lowered",
    "older news takes back what is known",
    "alloc/order.c",
    "  raise_to(&timeline->known[stamp.slot], stamp.ticket);",
    "  atomic_store(&timeline->known[stamp.slot], stamp.ticket);",
    first="test_order",
)
plant(
    "edge_forgets_what_the_earlier_stream_knows",
    "an edge teaches the earlier stream's own work alone",
    "alloc/order.c",
    "    if (snapshot[slot] != 0) tarn__order_knows(later, (tarn__stamp){slot, snapshot[slot]});\n",
    "    (void)snapshot[slot];\n",
    first="test_order",
)
plant(
    "edge_leaves_the_ticket_open",
    "work enqueued after the edge counts as behind it",
    "alloc/order.c",
    "tarn__order_knows(later, close_ticket(timeline));",
    "tarn__order_knows(later, tarn__order_stamp(earlier));",
    first="test_order",
)
plant(
    "edge_reversed",
    "the earlier stream is taken to wait for the later one",
    "alloc/stream.c",
    "tarn__order_edge(earlier, later);",
    "tarn__order_edge(later, earlier);",
    first="test_order",
)
plant(
    "timeline_recycled_too_early",
    "a new stream gets the timeline of a stream whose work is not done",
    "alloc/order.c",
    "if (timeline->state == TIMELINE_RETIRED && load(&timeline->seen) >= timeline->covered) {",
    "if (timeline->state == TIMELINE_RETIRED) {",
    first="test_order",
    piece="arena_handle_reuse",
)
plant(
    "tickets_start_again",
    "a recycled timeline counts from the beginning, so old stamps come true again",
    "alloc/order.c",
    "    raise_to(&found->ticket, load(&found->seen) + 1);\n",
    "    atomic_store(&found->ticket, 1);\n    atomic_store(&found->seen, 0);\n",
    first="test_order",
)
plant(
    "retired_without_a_final_fence",
    "a stream goes, and what it did last is covered by nothing",
    "alloc/order.c",
    """\
  tarn_status status = record_fence(timeline, stream, &cost);
  if (status != TARN_OK) {
    /* No fence""",
    """\
  tarn_status status = TARN_OK;
  if (status != TARN_OK) {
    /* No fence""",
    first="test_order",
    piece="arena_thread_exit_with_its_stream",
)
plant(
    "public_fence_believed_too_early",
    "a public fence's mark moves before it is recorded",
    "alloc/stream.c",
    "  const uint64_t old_mark = atomic_exchange(&fence->mark, 0);\n"
    "  const tarn__stamp reached = tarn__order_close_ticket(stream);\n",
    "  const uint64_t old_mark = atomic_load(&fence->mark);\n"
    "  const tarn__stamp reached = tarn__order_close_ticket(stream);\n"
    "  atomic_store(&fence->mark, pack_mark(reached));\n",
    first="test_order",
)
plant(
    "public_fence_closes_its_ticket_late",
    "work enqueued behind a public fence's record counts as covered by it",
    "alloc/stream.c",
    "  const tarn__stamp reached = tarn__order_close_ticket(stream);\n"
    "  const tarn_status status = kind->fence_record(stream->context, fence->native);\n",
    "  const tarn_status status = kind->fence_record(stream->context, fence->native);\n"
    "  const tarn__stamp reached = tarn__order_close_ticket(stream);\n",
    first="test_order",
)

# --- closed streams ---

plant(
    "closed_without_a_final_fence",
    "a stream is closed, and what it did last is covered by nothing",
    "alloc/order.c",
    "  atomic_store_explicit(&stream->timeline, (tarn__timeline *)&stream->last,"
    " memory_order_release);\n  tarn__order_retire(base);\n",
    "  atomic_store_explicit(&stream->timeline, (tarn__timeline *)&stream->last,"
    " memory_order_release);\n  (void)base;\n",
    first="test_order",
)
plant(
    "late_stamp_waited_for_for_ever",
    "a block freed on a stream that was just being closed never comes back",
    "alloc/order.c",
    "    cover_late(timeline, wanted_ticket);\n",
    "    (void)cover_late;\n",
    first="test_order",
)
plant(
    "closed_stream_still_its_own",
    "what is freed late on a closed stream counts as covered for it",
    "alloc/order.c",
    "  if (timeline == NULL) return false;\n  if (timeline->slot == stamp.slot)",
    "  if (timeline == NULL) return stream != NULL && tarn__stream_slot(stream) == stamp.slot;\n"
    "  if (timeline->slot == stamp.slot)",
    first="test_order",
)

# --- captures ---

plant(
    "fence_recorded_on_a_captured_stream",
    "a fence is drawn into a capture, where it means nothing to those outside",
    "alloc/order.c",
    "found->is_held = timeline->is_held || timeline->is_private;",
    "found->is_held = timeline->is_private;",
    first="test_capture",
)
plant(
    "knowledge_reaches_into_a_capture",
    "what a stream knew when it was captured is taken to hold at every launch",
    "alloc/order.c",
    "  if (load(&timeline->capture_id) != load(&timeline_of(stamp.slot)->capture_id)) return;\n",
    "",
    first="test_capture",
)
plant(
    "captured_work_seen",
    "work in a capture counts as done when the host has waited for its stream",
    "alloc/order.c",
    "  if (timeline_of(stamp.slot)->is_private) return;\n",
    "",
    first="test_capture",
)
plant(
    "limbo_covered",
    "a block from before the capture is used again in it, by work that runs at every launch",
    "alloc/order.c",
    "if (timeline->slot == stamp.slot) return stamp.ticket < load(&timeline->limbo);",
    "if (timeline->slot == stamp.slot) return true;",
    first="test_capture",
)
plant(
    "no_limbo",
    "a block from before the capture that is freed in it belongs to the capture alone",
    "alloc/stamps.c",
    "  return tarn__order_limbo(stream);\n",
    "  return tarn__order_stamp(stream);\n",
    first="test_capture",
)
plant(
    "capture_stamp_missing",
    "a block lent in a capture is anybody's once it is freed outside",
    "alloc/caching_pool.c",
    "tarn__order_is_captured(asked->stream) && !stamp_for_capture(self, lent, asked->stream)",
    "stamp_for_capture == NULL",
    first="test_capture",
)
plant(
    "shared_block_goes_with_the_later_capture",
    "a block freed in a later capture forgets the earlier one, whose graph still runs",
    "alloc/stamps.c",
    "        tarn__order_is_of_another(stream, item[index])) {\n",
    "        stream == NULL) {\n",
    first="test_capture_space",
)
plant(
    "limbo_continued",
    "a later capture takes what work before the earlier one has used",
    "alloc/order.c",
    "load(&timeline->limbo) - 1}",
    "load(&timeline->limbo)}",
    first="test_capture_space",
)
plant(
    "kept_bytes_counted_at_every_stamp",
    "what a capture keeps counts again when it is freed",
    "alloc/caching_pool.c",
    "return tarn__stamps_are_of_capture(&block->stamps, capture) ? 0 : capture;",
    "return block == NULL ? 0 : capture;",
    first="test_capture_space",
)
plant(
    "capture_destroyed_under_its_launches",
    "a graph's memory is reused while the graph runs",
    "alloc/capture.c",
    "    is_over = wait_for(tarn__stamps_at(&capture->launches, index));\n",
    "    is_over = true;\n",
    first="test_capture",
)
plant(
    "capture_destroyed_before_what_came_before",
    "memory used before a capture is reused when the capture goes, its users still at work",
    "alloc/capture.c",
    "    is_over = wait_for(capture->members[index].outside);\n",
    "    is_over = true;\n",
    first="test_capture",
)

# --- alloc/stamps.c, alloc/block.c: stamps on blocks ---

plant(
    "older_stamp_kept",
    "of two stamps of one stream the earlier one stays",
    "alloc/stamps.c",
    "if (item[index].ticket < stamp.ticket) item[index].ticket = stamp.ticket;",
    "if (item[index].ticket > stamp.ticket) item[index].ticket = stamp.ticket;",
    first="test_stamps",
)
plant(
    "join_loses_a_stamp",
    "a joined block forgets one of its users",
    "alloc/stamps.c",
    "    if (!tarn__stamps_add(stamps, tarn__stamps_at(other, index))) return false;\n",
    "    if (index == 0) continue;\n"
    "    if (!tarn__stamps_add(stamps, tarn__stamps_at(other, index))) return false;\n",
    first="test_block",
)
plant(
    "one_covered_stamp_is_enough",
    "a block is usable when one of its users is done",
    "alloc/stamps.c",
    """\
    if (!tarn__order_is_covered(stream, tarn__stamps_at(stamps, index))) return false;
  }
  return true;""",
    """\
    if (tarn__order_is_covered(stream, tarn__stamps_at(stamps, index))) return true;
  }
  return stamps->count == 0;""",
    first="test_stamps",
)
plant(
    "stamps_lost_on_split",
    "the right part of a cut block has no users",
    "alloc/block.c",
    "if (!tarn__stamps_copy(&rest->stamps, &block->stamps)) {",
    "if (false) {",
    first="test_block",
    piece="stale_event_on_merge",
)
plant(
    "stamps_lost_on_merge",
    "a joined block has the users of its left part only",
    "alloc/block.c",
    "  if (!tarn__stamps_join(&block->stamps, &gone->stamps)) return false;\n",
    "",
    first="test_block",
)
