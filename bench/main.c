/* main.c: the command `tarn`: finds the subcommand, and ends tidily. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "alloc/tarn_base.h"
#include "bench/command.h"
#include "bench/options.h"

typedef struct subcommand {
  const char *name;
  const char *summary;
  const char *help;
  int (*run)(int argc, char **argv);
} subcommand;

static const subcommand subcommands[] = {
    {"info", "what this machine has, and what this build can do with it", info_help, info_main},
    {"replay", "replay recorded allocations through a pool, and verify the bytes", replay_help,
     replay_main},
    {"bench", "measure allocation, views, copies and transfers", bench_help, bench_main},
};
enum { SUBCOMMAND_COUNT = sizeof subcommands / sizeof subcommands[0] };

static const subcommand *find_subcommand(const char *name) {
  for (int i = 0; i < SUBCOMMAND_COUNT; i++) {
    if (strcmp(subcommands[i].name, name) == 0) return &subcommands[i];
  }
  return NULL;
}

static void print_help(FILE *file) {
  fputs("tarn: memory for tensors\n\nusage: tarn SUBCOMMAND [ARGUMENT...]\n\n", file);
  for (int i = 0; i < SUBCOMMAND_COUNT; i++) {
    fprintf(file, "  %-8s %s\n", subcommands[i].name, subcommands[i].summary);
  }
  fputs(
      "\ntarn SUBCOMMAND --help explains one of them; tarn --version names this build.\n"
      "Exit status: 0 done; 1 it failed, or something was wrong with the data; 2 wrong "
      "arguments.\n",
      file);
}

static int run_help(int argc, char **argv) {
  if (argc == 0) {
    print_help(stdout);
    return EXIT_FINE;
  }
  const subcommand *named = find_subcommand(argv[0]);
  if (named == NULL) return usage_error("", "no subcommand '%s' (tarn --help lists them)", argv[0]);
  fputs(named->help, stdout);
  return EXIT_FINE;
}

static int run(int argc, char **argv) {
  if (argc < 2) return usage_error("", "say what to do (tarn --help lists it)");
  const char *name = argv[1];
  if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
    return run_help(argc - 2, argv + 2);
  }
  if (strcmp(name, "--version") == 0) {
    printf("tarn %d.%d.%d\n", TARN_VERSION_MAJOR, TARN_VERSION_MINOR, TARN_VERSION_PATCH);
    return EXIT_FINE;
  }
  const subcommand *named = find_subcommand(name);
  if (named == NULL) {
    return usage_error("", "no %s '%s' (tarn --help lists them)",
                       name[0] == '-' ? "option" : "subcommand", name);
  }
  return named->run(argc - 2, argv + 2);
}

int main(int argc, char **argv) {
  /* As other filters do: end silently when the reader goes away, whatever the parent ignored. */
  signal(SIGPIPE, SIG_DFL);
  const int code = run(argc, argv);
  if (fflush(stdout) != 0 || ferror(stdout)) {
    fprintf(stderr, "tarn: cannot write to standard output: %s\n", strerror(errno));
    return code == EXIT_FINE ? EXIT_FAILED : code;
  }
  return code;
}
