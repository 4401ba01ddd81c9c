/* sim_settings.c: reads the environment, CUSIM_*: all of it is understood, or none is used. */
#include "cuda/sim/sim.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOLD_BYTES_MAX = 60 };

static const char *const races_names[] = {
    [CUSIM_RACES_OFF] = "off",
    [CUSIM_RACES_COUNT] = "count",
    [CUSIM_RACES_REPORT] = "report",
    [CUSIM_RACES_ABORT] = "abort",
};
static const char *const threads_names[] = {
    [CUSIM_THREADS_AS_ONE] = "as-one",
    [CUSIM_THREADS_APART] = "apart",
};

/* A number, or the index of a word. */
typedef struct setting {
  const char *name;
  uint64_t least, most;
  const char *const *words; /* NULL: a number */
} setting;

enum {
  SEED,
  POLICY,
  DEVICES,
  CAPACITY,
  PINNED_CAPACITY,
  IDLE_MS,
  RACES,
  THREADS,
  PEERS,
  SETTING_COUNT
};

static const setting settings[SETTING_COUNT] = {
    [SEED] = {.name = "CUSIM_SEED", .most = UINT64_MAX},
    [POLICY] = {"CUSIM_POLICY", .most = CUSIM_POLICY_COUNT - 1, .words = sim_policy_names},
    [DEVICES] = {.name = "CUSIM_DEVICES", .least = 1, .most = SIM_DEVICES_MAX},
    [CAPACITY] = {.name = "CUSIM_CAPACITY", .most = SIZE_MAX},
    [PINNED_CAPACITY] = {.name = "CUSIM_PINNED_CAPACITY", .most = SIZE_MAX},
    [IDLE_MS] = {.name = "CUSIM_IDLE_MS", .most = UINT_MAX},
    [RACES] = {.name = "CUSIM_RACES", .most = CUSIM_RACES_ABORT, .words = races_names},
    [PEERS] = {.name = "CUSIM_PEERS", .most = 1},
    [THREADS] = {.name = "CUSIM_THREADS", .most = CUSIM_THREADS_APART, .words = threads_names},
};

typedef struct found_value {
  uint64_t value;
  bool is_given;
} found_value;

static bool parse_word(const setting *self, const char *text, uint64_t *value) {
  for (*value = 0; *value <= self->most; ++*value) {
    if (strcmp(text, self->words[*value]) == 0) return true;
  }
  return false;
}

/* Decimal, or hexadecimal behind 0x; strtoull would take blanks and a sign, too. */
static bool parse_number(const setting *self, const char *text, uint64_t *value) {
  if (*text < '0' || *text > '9') return false;
  char *end = NULL;
  errno = 0;
  *value = strtoull(text, &end, strncmp(text, "0x", 2) == 0 ? 16 : 10);
  return *end == '\0' && errno == 0 && *value >= self->least && *value <= self->most;
}

/* On one line, whatever the value. */
static void tell(const setting *self, const char *text) {
  char shown[TOLD_BYTES_MAX + 1];
  const bool fits = strlen(text) <= TOLD_BYTES_MAX;
  snprintf(shown, sizeof shown, "%.*s%s", fits ? TOLD_BYTES_MAX : TOLD_BYTES_MAX - 3, text,
           fits ? "" : "...");
  for (char *at = shown; *at != '\0'; at++) {
    if ((unsigned char)*at < ' ' || *at == 0x7f) *at = '?';
  }
  fprintf(stderr, "cusim: %s is '%s' and not ", self->name, shown);
  if (self->words == NULL) {
    fprintf(stderr, "a whole number from %" PRIu64 " to %" PRIu64 "\n", self->least, self->most);
    return;
  }
  fprintf(stderr, "one of %s", self->words[0]);
  for (uint64_t i = 1; i <= self->most; i++) fprintf(stderr, ", %s", self->words[i]);
  fprintf(stderr, "\n");
}

static bool find(const setting *self, found_value *found) {
  const char *text = getenv(self->name);
  found->is_given = text != NULL && *text != '\0';
  if (!found->is_given) return true;
  const bool is_understood = self->words != NULL ? parse_word(self, text, &found->value)
                                                 : parse_number(self, text, &found->value);
  if (!is_understood) tell(self, text);
  return is_understood;
}

static void apply(found_value found[SETTING_COUNT]) {
  sim.device_count = found[DEVICES].is_given ? (int)found[DEVICES].value : 1;
  if (found[SEED].is_given && !sim.is_seed_set) {
    sim.seed = sim.random_state = found[SEED].value;
  }
  if (found[POLICY].is_given && !sim.is_policy_set) {
    sim.policy = (cusim_policy)found[POLICY].value;
  }
  if (found[CAPACITY].is_given && !sim.is_capacity_set) {
    for (int i = 0; i < SIM_DEVICES_MAX; i++) {
      sim.devices[i].capacity_bytes = (size_t)found[CAPACITY].value;
    }
  }
  if (found[PINNED_CAPACITY].is_given && !sim.is_pinned_capacity_set) {
    sim.pinned_capacity_bytes = (size_t)found[PINNED_CAPACITY].value;
  }
  if (found[IDLE_MS].is_given && !sim.is_idle_set) sim.idle_ms = (unsigned)found[IDLE_MS].value;
  if (found[RACES].is_given && !sim.are_races_set) sim.races = (cusim_races)found[RACES].value;
  if (found[PEERS].is_given && !sim.are_peers_set) sim.are_peers = found[PEERS].value == 1;
  if (found[THREADS].is_given && !sim.are_threads_set) {
    sim_clock_split_threads(found[THREADS].value == CUSIM_THREADS_APART);
  }
}

bool sim_settings_read(void) {
  found_value found[SETTING_COUNT] = {{0}};
  bool are_understood = true;
  for (int i = 0; i < SETTING_COUNT; i++) {
    if (!find(&settings[i], &found[i])) are_understood = false;
  }
  if (are_understood) apply(found);
  return are_understood;
}
