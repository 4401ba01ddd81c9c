/* sim_adversary.c: what a policy makes of each occasion to run queued work.
 *
 * There are three occasions: work was enqueued, somebody asks for a mark, somebody waits for one.
 * sim_schedule.c says what can run; here it is decided what does. */
#include "cuda/sim/sim_launch.h"

enum {
  STARVED_ONE_IN = 3,         /* of the queues, under CUSIM_STARVE */
  PRIORITY_EPOCH_STEPS = 400, /* then priorities are drawn again */
};

/* --- names --- */

const char *const sim_policy_names[CUSIM_POLICY_COUNT] = {
    [CUSIM_RANDOM] = "random",     [CUSIM_LAZY] = "lazy",   [CUSIM_EAGER] = "eager",
    [CUSIM_STARVE] = "starve",     [CUSIM_REUSE] = "reuse", [CUSIM_PROMPT] = "prompt",
    [CUSIM_PRIORITY] = "priority",
};

const char *cusim_policy_name(cusim_policy policy) {
  const int index = (int)policy;
  return index >= 0 && index < CUSIM_POLICY_COUNT ? sim_policy_names[index] : "?";
}

/* --- common steps --- */

static void drain(void) {
  while (sim_step()) {
  }
}

static void step_at_random(void) {
  for (uint64_t count = sim_random() % 3; count > 0; count--) sim_step();
}

/* --- starve: some queues never advance unless they are needed --- */

/* Fixed for a queue and a seed, and told without drawing a number. */
static bool is_starved(const sim_queue *queue) {
  uint64_t value = sim.seed * 0x9E3779B97F4A7C15u + (queue->id - sim.trace_base);
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return (value >> 33) % STARVED_ONE_IN == 0;
}

/* One ready operation of a queue that is fed. */
static bool step_fed(void) {
  size_t ready_count = 0;
  for (sim_queue *queue = sim.queues; queue != NULL; queue = queue->next) {
    ready_count += !is_starved(queue) && sim_queue_is_ready(queue);
  }
  if (ready_count == 0) return false;
  size_t chosen = (size_t)(sim_random() % ready_count);
  for (sim_queue *queue = sim.queues; queue != NULL; queue = queue->next) {
    if (is_starved(queue) || !sim_queue_is_ready(queue) || chosen-- != 0) continue;
    sim_queue_run_first(queue);
    break;
  }
  return true;
}

static void step_fed_at_random(void) {
  for (uint64_t count = sim_random() % 3; count > 0; count--) step_fed();
}

/* --- reuse: whoever touches memory that others still have to touch goes first --- */

typedef struct touched {
  uintptr_t start;
  uintptr_t end;
} touched;

/* Of several planes the first. */
static touched rows_at(const sim_place *place, size_t row_bytes, size_t row_count) {
  return (touched){place->address, place->address + place->pitch * (row_count - 1) + row_bytes};
}

/* Other kinds of work touch no memory, or a word that is there to be raced for. */
static int list_touched(const sim_op *op, touched places[SIM_REGIONS_MAX]) {
  if (op->kind == KIND_COPY) {
    places[0] = rows_at(&op->as.copy.dst, op->as.copy.row_bytes, op->as.copy.row_count);
    places[1] = rows_at(&op->as.copy.src, op->as.copy.row_bytes, op->as.copy.row_count);
    return 2;
  }
  if (op->kind == KIND_FILL) {
    places[0] = rows_at(&op->as.fill.dst, op->as.fill.width * op->as.fill.element_bytes,
                        op->as.fill.row_count);
    return 1;
  }
  if (op->kind == KIND_KERNEL) {
    places[0] = rows_at(&op->as.kernel.place, op->as.kernel.size_bytes, 1);
    return 1;
  }
  if (op->kind == KIND_LAUNCH) {
    const sim_launch *launch = op->as.launch;
    for (size_t i = 0; i < launch->region_count; i++) {
      const sim_place *place = &launch->regions[i].place;
      places[i] = rows_at(place, place->extent_bytes, 1);
    }
    return (int)launch->region_count;
  }
  return 0;
}

static bool share_memory(const sim_op *a, const sim_op *b) {
  touched of_a[SIM_REGIONS_MAX];
  touched of_b[SIM_REGIONS_MAX];
  const int count_a = list_touched(a, of_a);
  const int count_b = list_touched(b, of_b);
  for (int i = 0; i < count_a; i++) {
    for (int j = 0; j < count_b; j++) {
      if (of_a[i].start < of_b[j].end && of_b[j].start < of_a[i].end) return true;
    }
  }
  return false;
}

static bool is_touched_elsewhere(const sim_op *op) {
  for (const sim_queue *queue = sim.queues; queue != NULL; queue = queue->next) {
    if (queue == op->queue) continue;
    for (const sim_op *other = queue->first; other != NULL; other = other->next) {
      if (share_memory(op, other)) return true;
    }
  }
  return false;
}

/* Nothing that is ordered before is left out: what comes to nothing where the program is right
 * overtakes the memory's last user where an order is missing. */
static void overtake(const sim_op *op) {
  if (!is_touched_elsewhere(op)) return;
  sim_mark *mark = sim_mark_retain(op->mark);
  while (sim_step_towards(mark)) {
  }
  sim_mark_release(mark);
}

/* --- priority --- *
 *
 * Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatti: A randomized
 * scheduler with probabilistic guarantees of finding bugs, ASPLOS 2010): the agents are the queues
 * and the program; whoever can run and has the highest priority does; at a few random points the
 * one that runs falls below all others. A bug that needs d such points is found with a known
 * probability. The paper knows a program's length; here priorities are drawn again by and by. */

static const uint64_t PRIORITY_TOP = (uint64_t)1 << 63;

static uint64_t draw_priority(void) {
  return sim_random() | PRIORITY_TOP; /* above every change point's */
}

static void begin_epoch(void) {
  sim_priorities *self = &sim.priorities;
  self->epoch++;
  self->step_count = 0;
  self->fallen = SIM_PRIORITY_CHANGES;
  self->program = draw_priority();
  for (int i = 0; i < SIM_PRIORITY_CHANGES; i++) {
    self->change_steps[i] = 1 + sim_random() % PRIORITY_EPOCH_STEPS;
  }
}

/* Counts a step of the agent with this priority, which may fall. */
static void count_step(uint64_t *priority) {
  sim_priorities *self = &sim.priorities;
  self->step_count++;
  for (int i = 0; i < SIM_PRIORITY_CHANGES; i++) {
    if (self->change_steps[i] == self->step_count && self->fallen > 0) *priority = self->fallen--;
  }
  if (self->step_count >= PRIORITY_EPOCH_STEPS) begin_epoch();
}

static uint64_t *priority_of(sim_queue *queue) {
  if (queue->rank_epoch != sim.priorities.epoch) {
    queue->rank_epoch = sim.priorities.epoch;
    queue->rank = draw_priority();
  }
  return &queue->rank;
}

/* Runs the first of the ready queues, where it comes before `floor`. */
static bool step_highest(uint64_t floor) {
  sim_queue *highest = NULL;
  for (sim_queue *queue = sim.queues; queue != NULL; queue = queue->next) {
    if (!sim_queue_is_ready(queue)) continue;
    if (highest == NULL || *priority_of(queue) > *priority_of(highest)) highest = queue;
  }
  if (highest == NULL || *priority_of(highest) <= floor) return false;
  count_step(priority_of(highest)); /* before it runs, for then the queue may be gone */
  sim_queue_run_first(highest);
  return true;
}

static void step_by_priority(void) {
  if (sim.priorities.epoch == 0) begin_epoch();
  count_step(&sim.priorities.program);
  while (step_highest(sim.priorities.program)) {
  }
}

void sim_policy_reset(void) {
  const uint64_t epoch = sim.priorities.epoch;
  sim.priorities = (sim_priorities){.epoch = 0};
  /* Queues that were drawn a priority before the reset draw again. */
  for (sim_queue *queue = sim.queues; epoch != 0 && queue != NULL; queue = queue->next) {
    queue->rank_epoch = 0;
  }
}

/* --- the occasions --- */

void sim_policy_enqueued(const sim_op *op) {
  switch (sim.policy) {
    case CUSIM_RANDOM:
      step_at_random();
      break;
    case CUSIM_LAZY:
    case CUSIM_PROMPT:
      break;
    case CUSIM_EAGER:
      drain();
      break;
    case CUSIM_STARVE:
      step_fed_at_random();
      break;
    case CUSIM_REUSE:
      overtake(op);
      break;
    case CUSIM_PRIORITY:
      step_by_priority();
      break;
  }
}

bool sim_policy_ask(sim_mark *mark) {
  switch (sim.policy) {
    case CUSIM_RANDOM:
      step_at_random();
      return mark->is_done;
    case CUSIM_LAZY:
    case CUSIM_REUSE:
      /* The answer first, then a step, so that asking again gets further. */
      sim_step_towards(mark);
      return false;
    case CUSIM_STARVE:
      step_fed_at_random();
      if (mark->is_done) return true;
      sim_step_towards(mark);
      return false;
    case CUSIM_EAGER:
    case CUSIM_PROMPT:
      drain();
      return mark->is_done;
    case CUSIM_PRIORITY:
      step_by_priority();
      if (mark->is_done) return true;
      sim_step_towards(mark);
      return false;
  }
  return mark->is_done;
}

bool sim_policy_wait(sim_mark *mark) {
  switch (sim.policy) {
    case CUSIM_RANDOM:
      return sim_step();
    case CUSIM_STARVE:
      return (sim_random() % 2 == 0 && step_fed()) || sim_step_towards(mark);
    case CUSIM_PRIORITY:
      if (sim.priorities.epoch == 0) begin_epoch();
      return step_highest(0);
    case CUSIM_LAZY:
    case CUSIM_EAGER:
    case CUSIM_REUSE:
    case CUSIM_PROMPT:
      return sim_step_towards(mark);
  }
  return sim_step();
}
