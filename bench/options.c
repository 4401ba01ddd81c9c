/* options.c: reads options, and words what is wrong with them in one line. */
#include "bench/options.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_stream.h"
#include "bench/progress.h"

static void print_error(const char *command, const char *format, va_list arguments) {
  progress_clear();
  fflush(stdout);
  fprintf(stderr, command[0] == '\0' ? "tarn: " : "tarn %s: ", command);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
}

int usage_error(const char *command, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print_error(command, format, arguments);
  va_end(arguments);
  return EXIT_USAGE;
}

int run_error(const char *command, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print_error(command, format, arguments);
  va_end(arguments);
  return EXIT_FAILED;
}

typedef struct option_row {
  const char *name;
  uint32_t flag; /* 0: always allowed */
  bool has_value;
} option_row;

static const option_row option_rows[] = {
    {"--on", OPTION_ON, true},
    {"--json", 0, true},
    {"--filter", OPTION_FILTER, true},
    {"--streams", OPTION_STREAMS, true},
    {"--verify", OPTION_VERIFY, false},
    {"--list", OPTION_LIST, false},
    {"--record", OPTION_RECORD, true},
    {"--explain", OPTION_EXPLAIN, false},
    {"--measure-table", OPTION_MEASURE_TABLE, false},
    {"--html", OPTION_TRANSFER, true},
    {"--nvml", OPTION_TRANSFER, true},
    {"--pci-folder", OPTION_TRANSFER, true},
    {"--quick", OPTION_TRANSFER, false},
    {"--allow-downgraded", OPTION_TRANSFER, false},
    {"--help", 0, false},
};

static const option_row *find_option(const char *text, size_t length, uint32_t allowed) {
  for (size_t i = 0; i < sizeof option_rows / sizeof option_rows[0]; i++) {
    const option_row *row = &option_rows[i];
    if (row->flag != 0 && (allowed & row->flag) == 0) continue;
    if (strlen(row->name) == length && memcmp(row->name, text, length) == 0) return row;
  }
  return NULL;
}

static bool parse_streams(const char *text, int *streams) {
  char *end = NULL;
  if (text[0] < '0' || text[0] > '9') return false;
  const long value = strtol(text, &end, 10);
  if (*end != '\0' || value < 1 || value > TARN_STREAMS_MAX) return false;
  *streams = (int)value;
  return true;
}

static int set_option(const char *command, const option_row *row, const char *value,
                      command_options *options) {
  if (strcmp(row->name, "--on") == 0) options->on = value;
  if (strcmp(row->name, "--json") == 0) options->json = value;
  if (strcmp(row->name, "--filter") == 0) options->filter = value;
  if (strcmp(row->name, "--record") == 0) options->record = value;
  if (strcmp(row->name, "--html") == 0) options->html = value;
  if (strcmp(row->name, "--nvml") == 0) options->nvml = value;
  if (strcmp(row->name, "--pci-folder") == 0) options->pci_folder = value;
  if (strcmp(row->name, "--verify") == 0) options->verify = true;
  if (strcmp(row->name, "--list") == 0) options->list = true;
  if (strcmp(row->name, "--explain") == 0) options->explain = true;
  if (strcmp(row->name, "--measure-table") == 0) options->measure_table = true;
  if (strcmp(row->name, "--quick") == 0) options->quick = true;
  if (strcmp(row->name, "--allow-downgraded") == 0) options->allow_downgraded = true;
  if (strcmp(row->name, "--help") == 0) options->help = true;
  if (strcmp(row->name, "--streams") == 0 && !parse_streams(value, &options->streams)) {
    return usage_error(command, "--streams is '%s' and not a number from 1 to %d", value,
                       TARN_STREAMS_MAX);
  }
  return EXIT_FINE;
}

int options_parse(const char *command, uint32_t allowed, int argc, char **argv,
                  command_options *options) {
  memset(options, 0, sizeof *options);
  options->operands = argv;
  bool only_operands = false;
  for (int i = 0; i < argc; i++) {
    const char *text = argv[i];
    if (only_operands || text[0] != '-' || text[1] == '\0') {
      options->operands[options->operand_count++] = argv[i];
      continue;
    }
    if (strcmp(text, "--") == 0) {
      only_operands = true;
      continue;
    }
    if (strcmp(text, "-h") == 0) text = "--help";
    const size_t length = strcspn(text, "=");
    const option_row *row = find_option(text, length, allowed);
    if (row == NULL) {
      return usage_error(command, "unknown option '%s' (tarn %s --help lists them)", text, command);
    }
    const char *value = text[length] == '=' ? text + length + 1 : NULL;
    if (!row->has_value && value != NULL) {
      return usage_error(command, "%s takes no value", row->name);
    }
    if (row->has_value && value == NULL) {
      if (i + 1 == argc) return usage_error(command, "%s needs a value", row->name);
      value = argv[++i];
    }
    if (row->has_value && value[0] == '\0') {
      return usage_error(command, "%s has an empty value", row->name);
    }
    const int code = set_option(command, row, value, options);
    if (code != EXIT_FINE) return code;
  }
  return EXIT_FINE;
}
