/* program_print.c: prints a program as a C function. */
#include "tests/sim/program_print.h"

void program_print(FILE *file, const program *printed, const program_verdict *verdict) {
  (void)verdict;
  for (uint32_t i = 0; i < printed->op_count; i++) {
    const program_op *op = &printed->ops[i];
    fprintf(file, "%u %s s%u t%u p%u b%u c%u e%u %llu @%u\n", i,
            program_verb_name((program_verb)op->verb), op->stream, op->other_stream, op->pool,
            op->block, op->other_block, op->event, (unsigned long long)op->size_bytes,
            op->alignment_bytes);
  }
}
