/* options.h: the command line of a subcommand. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include "alloc/tarn_base.h"

/* Exit statuses of the command. */
enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_REFUSED = 3 };

enum {
  OPTION_ON = 1u << 0,
  OPTION_STREAMS = 1u << 1,
  OPTION_VERIFY = 1u << 2,
  OPTION_FILTER = 1u << 3,
  OPTION_LIST = 1u << 4,
  OPTION_RECORD = 1u << 5,
  OPTION_EXPLAIN = 1u << 6,
  OPTION_MEASURE_TABLE = 1u << 8,
  OPTION_TRANSFER = 1u << 7, /* --html, --quick, --allow-downgraded, --nvml, --pci-folder */
};

typedef struct command_options {
  const char *on;     /* NULL: not given */
  const char *json;   /* NULL: none */
  const char *filter; /* NULL: everything */
  const char *record; /* NULL: none */
  const char *html;   /* NULL: no page */
  const char *nvml;   /* NULL: the machine's own */
  const char *pci_folder;
  int streams; /* 0: not given */
  bool verify;
  bool list;
  bool explain;
  bool measure_table;
  bool quick;
  bool allow_downgraded;
  bool help;
  char **operands; /* points into argv */
  int operand_count;
} command_options;

/* Reads argv[0 .. argc) (behind the subcommand's name). --json and --help are always allowed,
 * `allowed` says which others. EXIT_FINE, or EXIT_USAGE after one line on standard error. Reorders
 * argv: operands to the front. */
int options_parse(const char *command, uint32_t allowed, int argc, char **argv,
                  command_options *options);

/* "tarn COMMAND: ..." on standard error; returns EXIT_USAGE or EXIT_FAILED. */
int usage_error(const char *command, const char *format, ...) TARN_PRINTF(2, 3);
int run_error(const char *command, const char *format, ...) TARN_PRINTF(2, 3);

#endif
