#!/bin/sh
# fetch_kernel.sh: puts the distribution's kernel for virtual machines into a folder, once.
#
#   fetch_kernel.sh DIR      DIR/vmlinuz, and DIR/package with the name of the package it came from
#
# The package is downloaded and unpacked, never installed, so no root is needed. Debian calls it
# linux-image-cloud-amd64, Ubuntu linux-image-virtual; both only name the newest one.
set -eu

mkdir -p "$1"
dir=$(cd "$1" && pwd)
[ ! -s "$dir/vmlinuz" ] || exit 0

scratch=$(mktemp -d "${TMPDIR:-/tmp}/tarn-kernel.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$scratch"
cd "$scratch"

for newest in linux-image-cloud-amd64 linux-image-virtual; do
  for package in $(apt-cache depends "$newest" 2>/dev/null |
    sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p'); do
    echo "$newest is $package"
    apt-get -q -o APT::Sandbox::User="$(id -un)" download "$package" || continue
    dpkg-deb -x "$package"_*.deb unpacked
    cp unpacked/boot/vmlinuz-* "$dir/vmlinuz.new"
    chmod 644 "$dir/vmlinuz.new"
    echo "$package" >"$dir/package"
    mv "$dir/vmlinuz.new" "$dir/vmlinuz"
    exit 0
  done
done
echo "no kernel for a virtual machine is to be had from apt-get" >&2
exit 1
