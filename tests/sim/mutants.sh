#!/usr/bin/env bash
# Puts faults back, one at a time, and runs the simulator on each: it has to fail. Works on a copy below target/, with
# the patches of tests/sim/mutants. `tests/sim/mutants.sh NAME` takes only those whose name holds NAME. Prints a table;
# a patch that no longer applies is told, and counts as a failure.
set -euo pipefail
cd "$(dirname "$0")/../.."
filter=${1:-}
seconds=${SLUICEGATE_SIM_SECONDS:-120}
scratch=target/mutants
tree=$scratch/tree
mkdir -p "$scratch"

copy() {
  rm -rf "$tree"
  mkdir -p "$tree"
  git ls-files -z src tests Cargo.toml Cargo.lock README.md | tar --null -T - -cf - | tar -xmf - -C "$tree"
}
# Builds and runs the simulator in the copy.
simulate() {
  (cd "$tree" && SLUICEGATE_SIM_SECONDS=$seconds CARGO_TARGET_DIR=../build \
    cargo test -q --no-default-features --features kafka --test sim -- --nocapture random) >"$scratch/$1.log" 2>&1
}
# Whether it was a schedule that failed, and not the build.
found() { grep -q '^SLUICEGATE_SIM_SEED=' "$scratch/$1.log"; }

passed=0 failed=0
for patch in tests/sim/mutants/*.patch; do
  name=$(basename "$patch" .patch)
  case $name in *"$filter"*) ;; *) continue ;; esac
  copy
  if ! patch -s -p1 -d "$tree" <"$patch" >"$scratch/$name.log" 2>&1; then
    verdict="does not apply"
  elif simulate "$name"; then
    verdict="NOT FOUND in $seconds s"
  elif found "$name"; then
    verdict="found: $(grep -B2 '^SLUICEGATE_SIM_SEED=' "$scratch/$name.log" | head -1 | cut -c1-90)"
  else
    verdict="does not build: see $scratch/$name.log"
  fi
  case $verdict in found*) passed=$((passed + 1)) ;; *) failed=$((failed + 1)) ;; esac
  printf '%-36s %s\n' "$name" "$verdict"
done
rm -rf "$tree"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
