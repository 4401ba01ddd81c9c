#!/bin/sh
# run.sh: tests and measures the build of tarn in this folder on a machine with a GPU.
#
# usage: run.sh [--allow-sim]
#
# Needs nothing but a shell, Python 3, a C library and the GPU's driver. Results go to $OUT (./out
# by default): tests.log, and a JSON file per measurement. Without a GPU it fails, unless
# --allow-sim says that the simulated driver will do: that tries the folder out, and measures
# nothing.
set -u

start=$(pwd)
case ${OUT:=out} in /*) ;; *) OUT=$start/$OUT ;; esac
cd "$(dirname -- "$0")" || exit 1
LD_LIBRARY_PATH=$(pwd)/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH

allow_sim=0
case ${1-} in
  '') ;;
  --allow-sim) allow_sim=1 ;;
  *) echo "run.sh: unknown argument '$1'" >&2; exit 2 ;;
esac

[ -d tests ] || python3 -m tarfile -e tests.tar.xz . || exit 1

passed=0 failed=0 skipped=0
mkdir -p "$OUT" || exit 1
: >"$OUT/tests.log"

# run_test NAME LIMIT_S COMMAND...: one test; exit status 77 says that it could not run here.
run_test() {
  name=$1 limit_s=$2
  shift 2
  timeout -k 10 "$limit_s" "$@" >"$OUT/last.log" 2>&1 </dev/null
  status=$?
  { echo "== $name: exit status $status"; cat "$OUT/last.log"; } >>"$OUT/tests.log"
  # With a GPU at hand, nothing that asks for one may be skipped.
  case $on:$name:$status in cuda:*cuda*:77) status='77, though there is a GPU' ;; esac
  case $status in
    0) passed=$((passed + 1)) ;;
    77)
      echo "skipped $name: $(tail -n 1 "$OUT/last.log")"
      skipped=$((skipped + 1))
      ;;
    *)
      failed=$((failed + 1))
      echo "FAILED $name (exit status $status)"
      tail -n 40 "$OUT/last.log" | sed 's/^/    /'
      ;;
  esac
}

# measure NAME ARGUMENT...: one run of the command, shown, with its JSON in $OUT; counts as a test.
measure() {
  name=$1
  shift
  echo "==> tarn $*"
  if timeout -k 10 300 ./tarn "$@" --json "$OUT/$name.json" </dev/null; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED tarn $*"
  fi
}

./tarn info --json "$OUT/info.json" || exit 1
if grep -q '"gpus": \[{' "$OUT/info.json"; then
  on=cuda:0
elif [ "$allow_sim" = 1 ]; then
  on=sim
else
  echo "run.sh: no GPU driver here; --allow-sim tries the folder out on the simulated one" >&2
  exit 1
fi
echo "==> the tests"
# shellcheck source=/dev/null
. ./suite.sh
rm -f "$OUT/last.log"

measure replay replay traces/*.csv.gz --on "$on" --verify
measure replay_host replay traces/*.csv.gz --on host
for subject in alloc view copy transfer; do
  measure "$subject" bench "$subject" --on "$on"
done

echo "results: $OUT"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
