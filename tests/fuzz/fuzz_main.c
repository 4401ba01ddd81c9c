/* fuzz_main.c: runs a fuzz target without libFuzzer: its corpus, then mutations of that.
 *
 * usage: fuzz_<unit> CORPUS_FOLDER [COUNT [SEED]]
 *        fuzz_<unit> FILE
 *
 * COUNT mutated inputs follow the corpus, the same ones for a SEED on every machine. They run in a
 * child, so that of whatever ends it, a signal or a sanitizer, the input can be told: it is written
 * beside the program as fuzz_<unit>.failed, which is then to be the FILE. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

enum {
  INPUT_BYTES_MAX = 4096,
  SEEDS_MAX = 512, /* files of a corpus */
  MUTATIONS_MAX = 4,
  INPUT_SECONDS_MAX = 30, /* an input that takes longer never ends */
};

typedef struct seed_file {
  uint8_t *bytes;
  size_t size;
} seed_file;

/* Shared between the child and who waits for it. */
typedef struct progress {
  uint64_t run_count;
  size_t size;
  uint8_t input[INPUT_BYTES_MAX];
} progress;

static seed_file corpus[SEEDS_MAX];
static size_t corpus_count;

static void die(const char *what, const char *path) {
  fprintf(stderr, "fuzz_main: %s: %s\n", what, path);
  exit(2);
}

/* --- the corpus --- */

static void read_seed(const char *path) {
  static uint8_t bytes[INPUT_BYTES_MAX];
  FILE *file = fopen(path, "rb");
  if (file == NULL) die("cannot be opened", path);
  const size_t size = fread(bytes, 1, sizeof bytes, file);
  if (fgetc(file) != EOF) die("is larger than an input may be", path);
  fclose(file);
  if (corpus_count == SEEDS_MAX) die("one file too many", path);
  seed_file *seed = &corpus[corpus_count++];
  seed->size = size;
  seed->bytes = malloc(size + 1);
  if (seed->bytes == NULL) die("no memory", path);
  memcpy(seed->bytes, bytes, size);
}

static int is_visible(const struct dirent *entry) {
  return entry->d_name[0] != '.';
}

static void read_corpus(const char *path) {
  struct stat about;
  struct dirent **entries;
  if (stat(path, &about) == 0 && S_ISREG(about.st_mode)) {
    read_seed(path);
    return;
  }
  const int count = scandir(path, &entries, is_visible, alphasort);
  if (count <= 0) die("no corpus", path);
  for (int i = 0; i < count; i++) {
    char name[4096];
    snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
    read_seed(name);
    free(entries[i]);
  }
  free(entries);
}

/* --- mutations --- */

/* xorshift64* */
static uint64_t random_next(uint64_t *state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * UINT64_C(2685821657736338717);
}

/* In [0, end); 0 where that is empty. */
static size_t random_below(uint64_t *state, size_t end) {
  return end == 0 ? 0 : (size_t)((random_next(state) >> 16) % end);
}

static void insert_bytes(progress *made, size_t at, const uint8_t *bytes, size_t count) {
  if (count > INPUT_BYTES_MAX - made->size) count = INPUT_BYTES_MAX - made->size;
  memmove(made->input + at + count, made->input + at, made->size - at);
  memcpy(made->input + at, bytes, count);
  made->size += count;
}

static void erase_bytes(progress *made, size_t at, size_t count) {
  if (count > made->size - at) count = made->size - at;
  memmove(made->input + at, made->input + at + count, made->size - at - count);
  made->size -= count;
}

/* A piece of another file of the corpus, at any place. */
static void splice(progress *made, uint64_t *random) {
  const seed_file *other = &corpus[random_below(random, corpus_count)];
  const size_t from = random_below(random, other->size);
  const size_t count = random_below(random, other->size - from + 1);
  insert_bytes(made, random_below(random, made->size + 1), other->bytes + from, count);
}

static void mutate(progress *made, uint64_t *random) {
  static const uint8_t telling[] = {0, 1, 0x7f, 0x80, 0xff, ' ', '\'', '(', ')', ',', '0', '9'};
  const size_t at = random_below(random, made->size);
  const uint8_t byte = (uint8_t)(random_next(random) >> 32);
  uint8_t piece[16];
  switch (made->size == 0 ? 3 : random_below(random, 7)) {
    case 0:
      made->input[at] ^= (uint8_t)(1u << (byte % 8));
      break;
    case 1:
      made->input[at] = byte;
      break;
    case 2:
      made->input[at] = telling[byte % sizeof telling];
      break;
    case 3:
      insert_bytes(made, at, &byte, 1);
      break;
    case 4:
      erase_bytes(made, at, 1 + random_below(random, byte % 2 == 0 ? 4 : made->size));
      break;
    case 5: {
      const size_t count = made->size - at < sizeof piece ? made->size - at : sizeof piece;
      memcpy(piece, made->input + at, count);
      insert_bytes(made, random_below(random, made->size + 1), piece, count);
      break;
    }
    case 6:
      splice(made, random);
      break;
  }
}

/* --- running --- */

static void start_from(progress *now, const seed_file *seed) {
  now->size = seed->size;
  memcpy(now->input, seed->bytes, seed->size);
}

/* In memory of just the input's size, so that a sanitizer sees a byte too many. */
static void run_input(progress *now) {
  uint8_t *exact = malloc(now->size + 1);
  if (exact == NULL) die("no memory", "for an input");
  memcpy(exact + 1, now->input, now->size); /* aligned to nothing */
  alarm(INPUT_SECONDS_MAX);
  LLVMFuzzerTestOneInput(exact + 1, now->size);
  alarm(0);
  free(exact);
  now->run_count++;
}

static void run_all(progress *now, uint64_t count, uint64_t seed) {
  uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
  for (size_t i = 0; i < corpus_count; i++) {
    start_from(now, &corpus[i]);
    run_input(now);
  }
  for (uint64_t i = 0; i < count; i++) {
    start_from(now, &corpus[random_below(&random, corpus_count)]);
    for (size_t left = 1 + random_below(&random, MUTATIONS_MAX); left > 0; left--) {
      mutate(now, &random);
    }
    run_input(now);
  }
  for (size_t i = 0; i < corpus_count; i++) free(corpus[i].bytes);
}

static void tell(const char *program, const progress *failed, int how) {
  char path[4096];
  snprintf(path, sizeof path, "%s.failed", program);
  FILE *file = fopen(path, "wb");
  if (file == NULL || fwrite(failed->input, 1, failed->size, file) != failed->size) {
    die("cannot be written", path);
  }
  fclose(file);
  printf("run %" PRIu64 " ended by %s %d, or something was left at the end; its input: %s\n",
         failed->run_count + 1, WIFSIGNALED(how) ? "signal" : "exit status",
         WIFSIGNALED(how) ? WTERMSIG(how) : WEXITSTATUS(how), path);
}

int main(int argc, char **argv) {
  if (argc < 2 || argc > 4) die("usage", "fuzz_<unit> CORPUS_FOLDER [COUNT [SEED]]");
  const uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 0) : 0;
  const uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 0) : 1;
  progress *now =
      mmap(NULL, sizeof *now, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (now == MAP_FAILED) die("no memory", "to share");
  read_corpus(argv[1]);
  printf("seed %" PRIu64 ": %zu files, then %" PRIu64 " mutations\n", seed, corpus_count, count);
  fflush(stdout);
  const pid_t child = fork();
  if (child < 0) die("fork", "failed");
  if (child == 0) {
    run_all(now, count, seed);
    exit(0);
  }
  int how = 0;
  if (waitpid(child, &how, 0) != child) die("waitpid", "failed");
  for (size_t i = 0; i < corpus_count; i++) free(corpus[i].bytes);
  if (how != 0) tell(argv[0], now, how);
  printf("%" PRIu64 " inputs ran\n", now->run_count);
  return how == 0 ? 0 : 1;
}
