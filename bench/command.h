/* command.h: the subcommands of `tarn`, as main.c lists them. */
#ifndef BENCH_COMMAND_H
#define BENCH_COMMAND_H

/* argv[0 .. argc) stands behind the subcommand's name. The process's exit status. */
int info_main(int argc, char **argv);
int replay_main(int argc, char **argv);
int bench_main(int argc, char **argv);

/* Their help, for standard output. */
extern const char info_help[];
extern const char replay_help[];
extern const char bench_help[];

#endif
