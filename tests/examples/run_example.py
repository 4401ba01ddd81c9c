# run_example.py: an example prints what the comment at its top says.
#
# usage: run_example.py PROGRAM SOURCE
import re
import subprocess
import sys

program, source = sys.argv[1:]
with open(source, encoding="utf-8") as file:
    comment = file.read().split("*/")[0]
promised = re.search(r"^ \* prints\n \*\n((?: \*     .*\n)+)", comment, re.MULTILINE)
if promised is None:
    sys.exit(f"{source}: the comment at the top does not say what it prints")
promised = re.sub(r"^ \*     ", "", promised.group(1), flags=re.MULTILINE)
ran = subprocess.run([program], capture_output=True, text=True, timeout=50)
if (ran.returncode, ran.stdout) != (0, promised):
    sys.exit(f"exit status {ran.returncode}, printed\n{ran.stdout}{ran.stderr}not\n{promised}")
