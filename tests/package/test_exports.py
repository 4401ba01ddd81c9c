"""test_exports.py: the libraries export what the public headers declare, and nothing else.

    test_exports.py NM SOURCE_ROOT SHARED_LIBRARY STATIC_LIBRARY
"""
import pathlib
import re
import subprocess
import sys

FOLDERS = ("alloc", "alloc/adapters/*", "tensor", "numa", "cuda")


def declared(root):
    """Names of the functions that a header marks with TARN_API."""
    names = set()
    for folder in FOLDERS:
        for header in sorted(root.glob(f"{folder}/tarn_*.h")):
            text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", header.read_text(), flags=re.S)
            text = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", " ", text, flags=re.M)
            for mark in re.finditer(r"\bTARN_API\b([^;{]*)", text):
                name = re.search(r"\b(tarn_[a-z]\w*)\s*\(", mark.group(1))
                assert name, f"{header}: no function after TARN_API in {mark.group(0)!r}"
                names.add(name.group(1))
    return names


def defined(nm, *arguments):
    """Names of the symbols that a file defines for others; the version's own is not one."""
    output = subprocess.run([nm, "--defined-only", *arguments], check=True, text=True,
                            stdout=subprocess.PIPE).stdout
    rows = [line.split() for line in output.splitlines()]
    return {row[2].split("@")[0] for row in rows if len(row) == 3 and row[1] != "A"}


def is_sanitizers_own(name):
    return name.startswith(("__asan", "__odr_asan", "__ubsan", "__tsan", "__sanitizer"))


def main():
    nm, root, shared, static = sys.argv[1:5]
    names = declared(pathlib.Path(root))
    assert len(names) > 50, f"only {len(names)} functions found in the headers"
    failed = False
    for library, symbols in ((shared, defined(nm, "-D", shared)),
                             (static, defined(nm, "-g", static))):
        symbols = {name for name in symbols if not is_sanitizers_own(name)}
        for name in sorted(symbols - names):
            print(f"{library}: exports {name}, which no public header declares")
        for name in sorted(names - symbols):
            print(f"{library}: lacks {name}, which a public header declares")
        failed = failed or symbols != names
    print(f"{len(names)} functions declared")
    return 1 if failed else 0


sys.exit(main())
