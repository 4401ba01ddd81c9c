# make_ptx.py: compiles the kernels to cuda/kernels.ptx, which builds without nvcc take in.
#
# usage: make_ptx.py NVCC ROOT SOURCE...     (make_ptx.py --check ROOT SOURCE... compares alone)
#
# nvcc names the newest version of the PTX language, which older drivers refuse though nothing newer
# is used: it is lowered to that of CUDA 11.0. Comments and lines that only debuggers read go. The
# first line holds a hash of the sources without their comments and white space, so that anybody can
# tell, without nvcc, whether the file belongs to them.
import hashlib
import re
import subprocess
import sys

VERSION = "7.0"
ARCH = "compute_75"


def hash_of(root, sources):
    text = ""
    for name in sources:
        with open(f"{root}/{name}", encoding="utf-8") as file:
            source = re.sub(r"/\*.*?\*/|//[^\n]*", " ", file.read(), flags=re.DOTALL)
        text += name + "".join(source.split())
    return hashlib.sha256(text.encode()).hexdigest()


def shortened(ptx):
    lines = []
    for line in ptx.splitlines():
        line = re.sub(r"//.*", "", line).strip()
        if line.startswith(".version"):
            line = f".version {VERSION}"
        if line:
            lines.append(re.sub(r"\s+", " ", line))
    return "\n".join(lines) + "\n"


def main():
    root, sources = sys.argv[2], sys.argv[3:]
    first = f"// {hash_of(root, sources)}: of the sources; made by make_ptx.py"
    path = f"{root}/cuda/kernels.ptx"
    if sys.argv[1] == "--check":
        with open(path, encoding="utf-8") as file:
            if file.readline().rstrip("\n") == first:
                return 0
        print(f"{path} is older than its sources: build the target kernels_ptx, with nvcc")
        return 1
    made = subprocess.run(
        [sys.argv[1], "-ptx", f"-arch={ARCH}", f"-I{root}", "-o", "-", f"{root}/{sources[0]}"],
        check=True, capture_output=True, text=True,
    ).stdout
    with open(path, "w", encoding="utf-8") as file:
        file.write(first + "\n" + shortened(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
