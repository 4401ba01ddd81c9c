#!/usr/bin/env python3
# check_sites.py: the places where test_faults let an allocation fail are all that the library has.
"""check_sites.py TEST_PROGRAM SOURCE_DIR: runs the program with --sites, turns the addresses into
file and line with addr2line, and compares them with every call of malloc and its family in the
library's folders. A compiler cache that checkouts share writes the path of any of them, so that a
file is told by its place below the root."""
import os
import re
import subprocess
import sys
from pathlib import Path

FOLDERS = ["alloc", "alloc/adapters/*", "tensor", "numa", "cuda"]
# Reached with device memory only.
NEEDS_CUDA = ["cuda", "tensor/copy_device.c", "alloc/adapters/torch"]
CALL = re.compile(r"\b(malloc|calloc|realloc|aligned_alloc|posix_memalign|strdup|asprintf)\s*\(")
COMMENT = re.compile(r"/\*.*?\*/", re.S)


def calls_in(source):
    text = COMMENT.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), source.read_text())
    return {number for number, line in enumerate(text.splitlines(), 1) if CALL.search(line)}


def place_of(line, root):
    """addr2line's FILE:LINE as the place of a file of this tree, and a number; or None. Of several
    ends of the path that are files below the root the longest one counts."""
    path, _, number = re.sub(r" \(discriminator \d+\)$", "", line).rpartition(":")
    parts = Path(os.path.normpath(path)).parts
    for start in range(1 if parts[:1] == ("/",) else 0, len(parts)):
        place = Path(*parts[start:])
        if (root / place).is_file():
            return str(place), number
    return None


def sites_of(program, root):
    ran = subprocess.run([program, "--sites"], capture_output=True, text=True, check=False)
    if ran.returncode == 77 or ran.returncode < 0:
        sys.exit(f"{program} ended with {ran.returncode}\n{ran.stderr}")
    addresses = [line.split()[1] for line in ran.stdout.splitlines() if line.startswith("site ")]
    skipped = "skipped: cuda" in ran.stdout + ran.stderr
    if not addresses:
        sys.exit(f"{program} --sites named no place\n{ran.stdout}{ran.stderr}")
    # One byte back: the address is where the call returns to.
    wanted = [hex(int(address, 16) - 1) for address in addresses]
    lines = subprocess.run(["addr2line", "-e", program, *wanted], capture_output=True, text=True,
                           check=True).stdout.splitlines()
    return {place_of(line, root) for line in lines}, skipped


def main():
    program, root = sys.argv[1], Path(sys.argv[2]).resolve()
    sites, cuda_is_skipped = sites_of(program, root)
    missed = []
    count = 0
    for folder in FOLDERS:
        for source in sorted(root.glob(f"{folder}/*.c")):
            name = str(source.relative_to(root))
            if cuda_is_skipped and name.startswith(tuple(NEEDS_CUDA)):
                continue
            # A call may span lines; addr2line names one of them.
            for number in sorted(calls_in(source)):
                count += 1
                near = {(name, str(number + delta)) for delta in (0, 1, 2)}
                if not near & sites:
                    missed.append(f"{name}:{number}")
    for place in missed:
        print(f"{place}: no allocation failed here")
    print(f"{count - len(missed)} of {count} allocations in the library were made to fail")
    return 1 if missed or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
