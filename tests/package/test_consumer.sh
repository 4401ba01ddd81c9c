#!/bin/sh
# test_consumer.sh: installs a build; a program finds it both ways, and each header stands alone.
#
#   test_consumer.sh BUILD CONSUMER WORK CC [CFLAGS]
set -eu
build=$1 consumer=$2 work=$3 cc=$4 cflags=${5:-}

rm -rf "$work"
mkdir -p "$work"
cmake --install "$build" --prefix "$work/first" >"$work/install.log"
mv "$work/first" "$work/prefix" # an installed tree may be moved
libdir=$(dirname "$(find "$work/prefix" -name libtarn.a)")

say_fine() {
  test "$("$@")" = "consumer: fine" || {
    echo "$1 did not say that it is fine" >&2
    exit 1
  }
}

# 1. find_package
cp -r "$consumer" "$work/source"
cmake -G Ninja -S "$work/source" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$work/prefix" \
  -DCMAKE_C_COMPILER="$cc" -DCMAKE_C_FLAGS="$cflags" -DCMAKE_CXX_FLAGS="$cflags" \
  >"$work/configure.log"
cmake --build "$work/cmake" >"$work/build.log" || {
  cat "$work/build.log" >&2
  exit 1
}
say_fine "$work/cmake/consumer_shared"
say_fine "$work/cmake/consumer_static"
if command -v c++ >/dev/null; then say_fine "$work/cmake/consumer_cxx"; fi

# 2. pkg-config
command -v pkg-config >/dev/null || {
  echo "pkg-config is missing" >&2
  exit 77
}
# In a place of its own: pkg-config quotes a space for the shell to read, but not a bracket, and the
# path of the build may hold any.
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cp -r "$work/prefix" "$place/a prefix"
libdir=$(dirname "$(find "$place/a prefix" -name libtarn.a)")
export PKG_CONFIG_PATH="$libdir/pkgconfig"
cd "$work"
eval "$cc $cflags source/consumer.c -o shared $(pkg-config --cflags --libs tarn)" \
  '"-Wl,-rpath,$libdir"'
eval "$cc $cflags source/consumer.c -o static $(pkg-config --cflags --libs tarn-static)"
say_fine ./shared
say_fine ./static

for program in cmake/consumer_shared shared; do
  readelf -d "$program" | grep -q 'NEEDED.*libtarn.so.0' || {
    echo "$program does not use the shared library" >&2
    exit 1
  }
done
for program in cmake/consumer_static static; do
  if readelf -d "$program" | grep -q 'NEEDED.*libtarn'; then
    echo "$program uses the shared library" >&2
    exit 1
  fi
done

# 3. Each header alone, as strict C11 and, where there is a compiler for it, as C++17.
include="$work/prefix/include/tarn"
check() {
  "$@" -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I "$include"
}
for header in $(cd "$include" && find . -name '*.h'); do
  printf '#include "%s"\n' "${header#./}" | tee "$work/alone.c" >"$work/alone.cc"
  check "$cc" -std=c11 "$work/alone.c"
  if command -v c++ >/dev/null; then check c++ -std=c++17 "$work/alone.cc"; fi
done
for header in $(cd "$include" && find . -name '*.hpp'); do
  printf '#include "%s"\n' "${header#./}" >"$work/alone.cc"
  if command -v c++ >/dev/null; then check c++ -std=c++17 "$work/alone.cc"; fi
done

# 4. The examples, by the commands at their tops, which want a path without a space.
ln -s "a prefix" "$place/prefix"
export PKG_CONFIG_PATH="$place/prefix/${libdir#"$place/a prefix/"}/pkgconfig"
cd "$place/prefix/share/doc/tarn/examples"
build() {
  command=$(sed -n "s/^ \*     $1 //p" "$3")
  eval "$2 $cflags -Werror $command"
}
for example in *.c; do build cc "$cc" "$example"; done
if command -v c++ >/dev/null; then
  for example in *.cpp; do build c++ c++ "$example"; done
fi
