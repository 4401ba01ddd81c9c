#!/bin/sh
# run.sh: tests and measures the build of tarn in this folder; see run.py, which it starts.
exec python3 -B "$(dirname -- "$0")/run.py" "$@"
