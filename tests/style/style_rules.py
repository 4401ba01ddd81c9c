# style_rules.py: the house's rules about the text of its sources, each a function over a tree.
#
# A tree is a dict from a path relative to the repository's root to the file's text. A rule yields
# problems, each one line that starts with the path. test_style.py runs every rule over the real
# tree and over snippets that break it.
import os
import posixpath
import re

LIBRARY_FOLDERS = ("alloc", "numa", "cuda", "tensor")
SOURCE_FOLDERS = LIBRARY_FOLDERS + ("bench", "python", "tests")
ADAPTERS = "alloc/adapters"
EXAMPLES = "alloc/examples"
OWN_FOLDERS = tuple(folder + "/" for folder in SOURCE_FOLDERS)
COLUMNS_MAX = 100
LINES_MAX = 700
SOURCE_ENDINGS = tuple(".c .h .cpp .hpp .py .pyi .sh .cu .txt .toml .cmake .map".split())

# Headers of other projects, and the folders that may include them.
FOREIGN_HEADERS = {
    r"cuda\w*\.h": ("cuda", "tests/cuda", "tests/gpu"),
    r"hwloc(/.*)?\.h": ("numa", "tests/numa"),
    r"jemalloc/.*": ("numa", "tests/numa"),
    r"cmocka\w*\.h": ("tests",),
    r"zlib\.h": ("bench", "tests/bench", "tests/adapters/callbacks"),
    r"(Python|structmember)\.h": ("python",),
}
# The one file that may include a foreign header outside of its folder: the baseline to measure by.
FOREIGN_HEADER_FILES = {("bench/jemalloc_baseline.c", "jemalloc/jemalloc.h")}

# What a library must not do behind its caller's back, and who may: the handler of a broken belief
# of the library itself; the header that takes such calls out of jemalloc by macros; the adapters,
# which have no other way to be told where their client loads them; and the simulated driver, which
# as a driver has settings in the environment, and no way on from a fault of its own.
FORBIDDEN_CALLS = (
    "printf vprintf fprintf vfprintf dprintf puts fputs putchar fputc perror syslog "
    "abort exit _exit _Exit quick_exit assert system getenv secure_getenv setenv putenv unsetenv"
).split()
ALLOWED_CALLS = {
    "alloc/status.c": ("fprintf", "abort"),
    "numa/jemalloc_sealed.h": ("getenv", "secure_getenv"),
    "alloc/adapters/": ("getenv",),
    "cuda/sim/": ("getenv", "fprintf", "vfprintf", "abort"),
    "alloc/adapters/cxx/tarn.hpp": ("abort", "assert"),
}


def load_tree(root):
    tree = {}
    for folder in SOURCE_FOLDERS:
        for where, folders, names in os.walk(os.path.join(root, folder)):
            folders[:] = [name for name in folders if name != "__pycache__"]
            for name in names:
                if name.endswith(SOURCE_ENDINGS):
                    path = os.path.join(where, name)
                    with open(path, encoding="utf-8", newline="") as file:
                        tree[os.path.relpath(path, root)] = file.read()
    return tree


def is_c(path):
    """C, or the C++ beside it."""
    return path.endswith((".c", ".h", ".cpp", ".hpp"))


def is_public_header(path):
    folders = r"(alloc(/adapters/\w+)?|numa|cuda|tensor)"
    return re.fullmatch(folders + r"/tarn_\w+\.h", path) is not None


def is_public_cxx_header(path):
    return re.fullmatch(r"alloc/adapters/\w+/tarn\w*\.hpp", path) is not None


def is_inside(path, folder):
    return path.startswith(folder + "/")


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def without_comments(text, strings_too=True):
    """The same text with comments (and the insides of literals) blanked, every newline kept."""
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''

    def blank(match):
        token = match.group()
        if token[0] in "\"'":
            return token[0] + " " * (len(token) - 2) + token[0] if strings_too else token
        return re.sub(r"[^\n]", " ", token)

    return re.sub(pattern, blank, text, flags=re.DOTALL)


def includes(text):
    pattern = r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]'
    for match in re.finditer(pattern, without_comments(text, strings_too=False), re.MULTILINE):
        yield line_of(text, match.start()), match.group(1) == "<", match.group(2)


def includes_stay_on_their_floor(tree):
    for path, text in tree.items():
        if not is_c(path):
            continue
        home = path.split("/")[0]
        for line, is_angled, name in includes(text):
            where = f"{path}:{line}: includes {name}"
            if is_angled:
                continue
            folder, base = posixpath.dirname(name), posixpath.basename(name)
            top = folder.split("/")[0]
            if top not in SOURCE_FOLDERS or "." in folder:
                yield f"{where}: an include is relative to the root and names its folder"
            elif name not in tree:
                yield f"{where}: there is no such file"
            elif is_inside(path, EXAMPLES):
                if not is_public_header(name) and not is_public_cxx_header(name):
                    yield f"{where}: an example includes public headers only"
            elif is_inside(path, ADAPTERS):
                if not is_public_header(name) and folder != posixpath.dirname(path):
                    yield f"{where}: an adapter includes public headers and its own folder only"
                elif is_public_header(path) and not base.startswith("tarn_"):
                    yield f"{where}: a public header includes public headers only"
            elif home == "alloc" and (top != "alloc" or is_inside(name, ADAPTERS)):
                yield f"{where}: alloc/ includes alloc/ only, and no adapter"
            elif home in ("numa", "cuda", "tensor") and top != home and not re.fullmatch(
                r"alloc/tarn_\w+\.h", name
            ):
                yield f"{where}: {home}/ includes alloc/tarn_*.h and itself only"
            elif home in ("bench", "python") and top != home and not is_public_header(name):
                yield f"{where}: {home}/ includes public headers and itself only"
            elif is_public_header(path) and not base.startswith("tarn_"):
                yield f"{where}: a public header includes public headers only"


def foreign_headers_stay_in_their_folder(tree):
    for path, text in tree.items():
        if not is_c(path):
            continue
        for line, is_angled, name in includes(text):
            if is_angled and (re.search(r"(^|/)tarn_", name) or name.startswith(OWN_FOLDERS)):
                yield f"{path}:{line}: includes {name}: headers of the house go in quotes"
            for pattern, folders in FOREIGN_HEADERS.items():
                if not re.fullmatch(pattern, name) or (path, name) in FOREIGN_HEADER_FILES:
                    continue
                if not any(is_inside(path, folder) for folder in folders):
                    yield f"{path}:{line}: includes {name}: only {' and '.join(folders)} may"
                elif is_public_header(path):
                    yield f"{path}:{line}: includes {name}: a public header stands on its own"


def file_names_are_unique(tree):
    seen = {}
    for path in sorted(tree):
        name = posixpath.basename(path)
        # A stand-in for another's module has that one's name.
        if name == "CMakeLists.txt" or "/fake_" in path:
            continue
        if name in seen:
            yield f"{path}: {seen[name]} has the same name"
        seen.setdefault(name, path)


def private_header_has_its_source(tree):
    """foo.h that declares functions has them beside it, in foo.c or in several foo_*.c."""
    for path, text in tree.items():
        if not path.endswith(".h") or is_public_header(path):
            continue
        code = without_comments(text)
        prototype = r"^(?!static|typedef|#)\w[\w \t*]*\btarn__\w+\([^{}]*?\);"
        source = re.compile(re.escape(path[:-2]) + r"(_\w+)?\.c")
        if re.search(prototype, code, re.MULTILINE) and not any(map(source.fullmatch, tree)):
            yield f"{path}: declares functions, and there is no {path[:-2]}.c"


def first_line_says_what_for(tree):
    for path, text in tree.items():
        name = posixpath.basename(path)
        lines = text.splitlines() or [""]
        first = lines[1] if lines[0].startswith("#!") and len(lines) > 1 else lines[0]
        if is_c(path) or path.endswith(".cu"):
            if not re.match(rf"/\* {re.escape(name)}: \S", first):
                yield f"{path}:1: the first line reads '/* {name}: what the file is for'"
        elif path.endswith((".py", ".pyi", ".sh", ".toml")):
            if not re.match(rf'(# |"""){re.escape(name)}: \S', first):
                yield f"{path}:1: the first line reads '# {name}: what the file is for'"
        elif not path.endswith(".map") and not first.startswith("# "):
            yield f"{path}:1: the first line says in a comment what the file is for"


def lines_are_plain(tree):
    for path, text in tree.items():
        if text and not text.endswith("\n"):
            yield f"{path}: the last line does not end"
        for number, line in enumerate(text.split("\n"), 1):
            if len(line) > COLUMNS_MAX:
                yield f"{path}:{number}: {len(line)} columns; at most {COLUMNS_MAX}"
            if "\t" in line:
                yield f"{path}:{number}: a tab"
            if line != line.rstrip():
                yield f"{path}:{number}: white space at the end"


def files_are_short(tree):
    for path, text in tree.items():
        if text.count("\n") > LINES_MAX:
            yield f"{path}: {text.count(chr(10))} lines; at most {LINES_MAX}"


def library_keeps_to_itself(tree):
    """No printing, no ending of the process, no environment."""
    pattern = re.compile(r"(?<![\w.>])(" + "|".join(FORBIDDEN_CALLS) + r")\s*\(")
    for path, text in tree.items():
        if not is_c(path) or path.split("/")[0] not in LIBRARY_FOLDERS:
            continue
        if is_inside(path, EXAMPLES):
            continue
        allowed = [
            name
            for place, names in ALLOWED_CALLS.items()
            if path == place or (place.endswith("/") and path.startswith(place))
            for name in names
        ]
        code = without_comments(text)
        for match in pattern.finditer(code):
            name, line = match.group(1), line_of(code, match.start())
            if name not in allowed:
                yield f"{path}:{line}: a library does not call {name}"


def threads_ask_for_themselves(tree):
    """/proc/self has no memory and no files once the process's first thread has ended."""
    for path, text in tree.items():
        if not is_c(path) or path.split("/")[0] not in LIBRARY_FOLDERS:
            continue
        code = without_comments(text, strings_too=False)
        for match in re.finditer("/proc/self/", code):
            yield f"{path}:{line_of(code, match.start())}: /proc/thread-self is the caller's own"


def listed_tests_are_run(tree):
    """A file's list is its own: no other file, and no compiler, misses a call of its runner."""
    for path, text in tree.items():
        if path.endswith((".c", ".cpp")) and "run_listed_tests(" not in text:
            if re.search(r"^\w*TEST\w*\(", text, re.MULTILINE):
                yield f"{path}: no run_listed_tests for its tests"


def public_headers_are_public(tree):
    for path, text in tree.items():
        if not is_public_header(path) and not is_public_cxx_header(path):
            continue
        code = without_comments(text)
        for match in re.finditer(r"\btarn__\w+", code):
            yield f"{path}:{line_of(code, match.start())}: {match.group()} is private"
        for match in re.finditer(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", code, re.MULTILINE):
            if not match.group(1).startswith("TARN_"):
                yield f"{path}:{line_of(code, match.start())}: macro {match.group(1)} is not TARN_*"
        guard = posixpath.basename(path).upper().replace(".", "_")
        if f"#ifndef {guard}\n#define {guard}\n" not in code:
            yield f"{path}: the include guard is {guard}"
        if is_public_cxx_header(path):
            continue
        for name in declared_types(code):
            if not name.startswith("tarn_") or name.endswith("_t"):
                yield f"{path}: type {name} is not tarn_<noun> without _t"
        for name in public_functions(text):
            if not name.startswith("tarn_"):
                yield f"{path}: function {name} is not tarn_*"
        if 'extern "' not in code:
            yield f'{path}: no extern "C" for C++'


def declared_types(code):
    for match in re.finditer(r"\btypedef\s+(?:struct|enum|union)?\s*\w*\s*(\{)?", code):
        rest = code[match.end() :]
        if match.group(1):
            depth, end = 1, 0
            while depth and end < len(rest):
                depth += {"{": 1, "}": -1}.get(rest[end], 0)
                end += 1
            rest = rest[end:]
        statement = rest.split(";")[0]
        pointer = re.search(r"\(\s*\*\s*(\w+)\s*\)", statement)
        name = pointer or re.search(r"(\w+)\s*$", statement)
        if name:
            yield name.group(1)


def public_functions(text):
    """Names of what a header exports with TARN_API."""
    code = without_comments(re.sub(r"^[ \t]*#.*(\\\n.*)*", "", text, flags=re.MULTILINE))
    for match in re.finditer(r"\bTARN_API\b([^;{(]*?)(\w+)\s*\(", code):
        yield match.group(2)


def public_functions_exist_and_are_tested(tree):
    sources = {path: without_comments(text) for path, text in tree.items() if path.endswith(".c")}
    tests = "\n".join(code for path, code in sources.items() if is_inside(path, "tests"))
    for path, text in tree.items():
        if not is_public_header(path):
            continue
        folder = path.split("/")[0]
        for name in public_functions(text):
            definition = re.compile(rf"^[\w *]*\b{name}\([^;{{]*\)\s*\{{", re.MULTILINE)
            if not any(
                definition.search(code)
                for place, code in sources.items()
                if is_inside(place, folder)
            ):
                yield f"{path}: {name} is defined nowhere in {folder}/"
            if not re.search(rf"\b{name}\b", tests):
                yield f"{path}: {name} appears in no test"


def readme_lists_the_public_headers(tree, readme):
    for path in tree:
        is_public = is_public_header(path) or is_public_cxx_header(path)
        if is_public and posixpath.basename(path) not in readme:
            yield f"README.md: {path} has no line in the map"


def custom_commands_are_quoted(tree):
    """Without VERBATIM, CMake leaves a path with a bracket or a quote to the shell."""
    for path, text in tree.items():
        if not path.endswith((".txt", ".cmake")):
            continue
        for match in re.finditer(r"^[ \t]*(add_custom_\w+)\(", text, re.MULTILINE):
            depth, end = 1, match.end()
            while depth and end < len(text):
                depth += {"(": 1, ")": -1}.get(text[end], 0)
                end += 1
            call = text[match.start() : end]
            if re.search(r"\bCOMMAND\b", call) and not re.search(r"\bVERBATIM\b", call):
                yield f"{path}:{line_of(text, match.start())}: {match.group(1)} without VERBATIM"


RULES = (
    includes_stay_on_their_floor,
    foreign_headers_stay_in_their_folder,
    file_names_are_unique,
    private_header_has_its_source,
    first_line_says_what_for,
    lines_are_plain,
    files_are_short,
    library_keeps_to_itself,
    threads_ask_for_themselves,
    listed_tests_are_run,
    public_headers_are_public,
    public_functions_exist_and_are_tested,
    custom_commands_are_quoted,
)
