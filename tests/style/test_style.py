# test_style.py: the sources keep the house's rules, and each rule catches what it is there for.
import os
import sys
import unittest

import style_rules as rules

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))

HEADER = """/* tarn_thing.h: a thing. */
#ifndef TARN_THING_H
#define TARN_THING_H
#ifdef __cplusplus
extern "C" {
#endif
%s
#ifdef __cplusplus
}
#endif
#endif
"""


def header(body):
    return {"alloc/tarn_thing.h": HEADER % body}


def c(path, body):
    return {path: f"/* {path.rsplit('/', 1)[1]}: a snippet. */\n{body}\n"}


# Per rule: trees that break it, each with the words its one problem contains.
BROKEN = {
    rules.includes_stay_on_their_floor: [
        (c("alloc/a.c", '#include "tarn_thing.h"'), "relative to the root"),
        (c("alloc/a.c", '#include "../alloc/a.c"'), "relative to the root"),
        (c("alloc/a.c", '#include "alloc/none.h"'), "no such file"),
        ({**c("alloc/a.c", '#include "numa/b.h"'), **c("numa/b.h", "")}, "alloc/ includes"),
        (
            {**c("alloc/a.c", '#include "alloc/adapters/x/tarn_b.h"'),
             **c("alloc/adapters/x/tarn_b.h", "")},
            "no adapter",
        ),
        (
            {**c("alloc/adapters/x/a.c", '#include "cuda/b.h"'), **c("cuda/b.h", "")},
            "an adapter includes",
        ),
        (
            {**c("alloc/adapters/x/a.c", '#include "alloc/adapters/y/b.h"'),
             **c("alloc/adapters/y/b.h", "")},
            "an adapter includes",
        ),
        (
            {**c("alloc/adapters/x/tarn.hpp", '#include "alloc/b.h"'), **c("alloc/b.h", "")},
            "an adapter includes",
        ),
        (
            {**c("alloc/examples/a.c", '#include "alloc/b.h"'), **c("alloc/b.h", "")},
            "an example includes",
        ),
        ({**c("numa/a.c", '#include "alloc/b.h"'), **c("alloc/b.h", "")}, "numa/ includes"),
        (
            {**c("cuda/sim/a.c", '# include "tensor/tarn_b.h"'), **c("tensor/tarn_b.h", "")},
            "cuda/ includes",
        ),
        ({**c("tensor/a.c", '#include "cuda/b.h"'), **c("cuda/b.h", "")}, "tensor/ includes"),
        ({**c("bench/a.c", '#include "alloc/b.h"'), **c("alloc/b.h", "")}, "public headers"),
        ({**c("python/a.c", '#include "tensor/b.h"'), **c("tensor/b.h", "")}, "python/ includes"),
        (
            {**header('#include "alloc/b.h"'), **c("alloc/b.h", "")},
            "a public header includes public headers only",
        ),
    ],
    rules.foreign_headers_stay_in_their_folder: [
        (c("alloc/a.c", "#include <cuda.h>"), "cuda.h"),
        (c("bench/a.c", "#include <cudaTypedefs.h>"), "cudaTypedefs.h"),
        (c("tensor/a.c", "#include <hwloc.h>"), "hwloc.h"),
        (c("cuda/a.c", "#include <hwloc/cuda.h>"), "hwloc/cuda.h"),
        (c("alloc/a.c", "#include <jemalloc/jemalloc.h>"), "jemalloc/jemalloc.h"),
        (c("bench/a.c", "#include <jemalloc/jemalloc.h>"), "jemalloc/jemalloc.h"),
        (c("alloc/a.c", "#include <cmocka.h>"), "cmocka.h"),
        (c("tensor/a.c", "#include <Python.h>"), "Python.h"),
        (c("bench/a.c", "#include <alloc/tarn_pool.h>"), "in quotes"),
        ({"cuda/tarn_a.h": "#include <cuda.h>\n"}, "stands on its own"),
    ],
    rules.file_names_are_unique: [
        ({**c("alloc/a.c", ""), **c("tensor/a.c", "")}, "alloc/a.c has the same name"),
    ],
    rules.private_header_has_its_source: [
        (c("alloc/a.h", "void tarn__thing_do(int x);"), "no alloc/a.c"),
        (c("alloc/a.h", "tarn_status tarn__thing_do(int x,\n    int y);"), "no alloc/a.c"),
    ],
    rules.first_line_says_what_for: [
        ({"alloc/a.c": "#include <stdio.h>\n"}, "alloc/a.c:1"),
        ({"alloc/a.c": "/* b.c: another file's line. */\n"}, "alloc/a.c:1"),
        ({"alloc/a.c": ""}, "alloc/a.c:1"),
        ({"tests/a.py": "#!/usr/bin/env python3\nimport os\n"}, "tests/a.py:1"),
        ({"python/a.pyi": "x: int\n"}, "python/a.pyi:1"),
        ({"alloc/CMakeLists.txt": "add_test()\n"}, "alloc/CMakeLists.txt:1"),
    ],
    rules.lines_are_plain: [
        ({"alloc/a.c": "x" * 101 + "\n"}, "101 columns"),
        ({"alloc/a.c": "\tint x;\n"}, "a tab"),
        ({"alloc/a.c": "int x; \n"}, "white space"),
        ({"alloc/a.c": "int x;\r\n"}, "white space"),
        ({"alloc/a.c": "int x;"}, "does not end"),
    ],
    rules.files_are_short: [({"alloc/a.c": "\n" * 701}, "701 lines")],
    rules.library_keeps_to_itself: [
        (c("alloc/a.c", 'void f(void) { printf("x"); }'), "call printf"),
        (c("tensor/a.c", "void f(void) { abort (); }"), "call abort"),
        (c("cuda/a.c", 'char *f(void) { return getenv("X"); }'), "call getenv"),
        (c("cuda/sim/a.c", "void f(void) { exit(1); }"), "call exit"),
        (c("alloc/status.c", "void f(void) { exit(1); }"), "call exit"),
        (c("numa/a.c", "void f(void) { assert(1); }"), "call assert"),
        (c("alloc/adapters/cxx/tarn.hpp", "void f() { exit(1); }"), "call exit"),
    ],
    rules.threads_ask_for_themselves: [
        (c("alloc/a.c", 'const char maps[] = "/proc/self/maps";'), "/proc/thread-self"),
        (c("cuda/sim/a.c", 'const char files[] = "/proc/self/fd/%d";'), "/proc/thread-self"),
    ],
    rules.listed_tests_are_run: [
        (c("tests/alloc/test_a.c", "TEST(a_holds) {\n}"), "run_listed_tests"),
        (c("tests/alloc/test_a.c", "TEST_WITH(a_holds, up, down) {\n}"), "run_listed_tests"),
    ],
    rules.public_headers_are_public: [
        (header("void tarn__thing_do(void);"), "is private"),
        (header("#define THING 1"), "macro THING"),
        (header("typedef struct thing { int x; } thing;"), "type thing"),
        (header("typedef struct tarn_thing tarn_thing_t;"), "type tarn_thing_t"),
        (header("typedef void (*thing_function)(void *argument);"), "type thing_function"),
        (header("TARN_API void thing_do(void);"), "function thing_do"),
        ({"alloc/tarn_b.h": header("")["alloc/tarn_thing.h"]}, "include guard"),
        (c("alloc/adapters/x/tarn.hpp", "int x;"), "include guard"),
        ({"alloc/tarn_thing.h": "#ifndef TARN_THING_H\n#define TARN_THING_H\n#endif\n"}, "extern"),
    ],
    rules.custom_commands_are_quoted: [
        ({"a/b.cmake": "add_custom_target(x ALL\n  COMMAND cp (y) z)\n"}, "a/b.cmake:1"),
    ],
    rules.public_functions_exist_and_are_tested: [
        (
            {
                **header("TARN_API TARN_NODISCARD tarn_status tarn_thing_do(int x);"),
                **c("tests/alloc/test_a.c", "void t(void) { tarn_thing_do(1); }"),
                **c("alloc/a.c", "void f(void) { tarn_thing_do(1); }"),
            },
            "defined nowhere",
        ),
        (
            {
                **header("TARN_API void tarn_thing_do(int x);"),
                **c("alloc/a.c", "void tarn_thing_do(int x) {\n}"),
                **c("tests/alloc/test_a.c", "/* tarn_thing_do */"),
            },
            "appears in no test",
        ),
    ],
}

# Per rule: what looks alike and is fine.
SOUND = {
    rules.includes_stay_on_their_floor: [
        {**c("numa/a.c", '#include "alloc/tarn_b.h"'), **c("alloc/tarn_b.h", "")},
        {
            **c(
                "alloc/adapters/x/a.c",
                '#include "cuda/tarn_b.h"\n#include "alloc/adapters/x/c.h"',
            ),
            **c("alloc/adapters/x/c.h", ""),
            **c("cuda/tarn_b.h", ""),
        },
        {
            **c("alloc/examples/a.cpp", '#include "alloc/adapters/x/tarn.hpp"'),
            **c("alloc/adapters/x/tarn.hpp", '#include "tensor/tarn_b.h"'),
            **c("tensor/tarn_b.h", ""),
        },
        c("alloc/a.c", '/* #include "numa/x.h" */\n#include <stdio.h>'),
        {**c("tests/a.c", '#include "alloc/b.h"'), **c("alloc/b.h", "")},
    ],
    rules.foreign_headers_stay_in_their_folder: [
        c("cuda/sim/a.c", "#include <cuda.h>"),
        c("python/a.c", "#include <Python.h>"),
        c("bench/jemalloc_baseline.c", "#include <jemalloc/jemalloc.h>"),
    ],
    rules.private_header_has_its_source: [
        c("alloc/a.h", "static inline int tarn__a(int x) {\n  return tarn__b(x);\n}"),
        {**c("alloc/a.h", "void tarn__a(void);"), **c("alloc/a.c", "")},
        {**c("alloc/a.h", "void tarn__a(void);"), **c("alloc/a_grow.c", "")},
    ],
    rules.library_keeps_to_itself: [
        c("alloc/a.c", 'void f(char *s) { snprintf(s, 1, "exit(1)"); /* abort() */ }'),
        c("alloc/a.c", "void f(struct ops *ops) { ops->exit(1); }"),
        c("bench/a.c", 'void f(void) { printf("x"); }'),
        c("alloc/examples/a.c", 'void f(void) { printf("x"); }'),
        c("alloc/status.c", "void f(void) { abort(); }"),
    ],
    rules.custom_commands_are_quoted: [
        {"a/b.cmake": "add_custom_command(OUTPUT x\n  COMMAND cp y z VERBATIM)\n"},
        {"a/b.cmake": "add_custom_target(x DEPENDS y)\n"},
    ],
    rules.public_headers_are_public: [
        header("/* not tarn__thing */\ntypedef struct tarn_thing { int x; } tarn_thing;"),
        header("typedef void (*tarn_function)(void *argument);\n#define TARN_X 1"),
    ],
}


class Style(unittest.TestCase):
    def test_the_sources_keep_every_rule(self):
        tree = rules.load_tree(ROOT)
        self.assertGreater(len(tree), 20, f"hardly any source below {ROOT}")
        problems = [problem for rule in rules.RULES for problem in rule(tree)]
        self.assertEqual(problems, [], "\n" + "\n".join(problems))

    def test_the_readme_lists_the_public_headers(self):
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
            readme = file.read()
        tree = rules.load_tree(ROOT)
        problems = list(rules.readme_lists_the_public_headers(tree, readme))
        self.assertEqual(problems, [], "\n" + "\n".join(problems))
        self.assertTrue(list(rules.readme_lists_the_public_headers(header(""), "nothing")))

    def test_every_rule_catches_what_breaks_it(self):
        self.assertEqual(set(BROKEN), set(rules.RULES))
        for rule, cases in BROKEN.items():
            for tree, words in cases:
                with self.subTest(rule=rule.__name__, words=words, tree=tree):
                    problems = list(rule(tree))
                    self.assertEqual(len(problems), 1, problems)
                    self.assertIn(words, problems[0])

    def test_no_rule_objects_to_what_is_fine(self):
        for rule, trees in SOUND.items():
            for tree in trees:
                with self.subTest(rule=rule.__name__, tree=tree):
                    self.assertEqual(list(rule(tree)), [])


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=1))
