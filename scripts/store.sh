#!/usr/bin/env bash
# Prints what docs/PERFORMANCE.md says of the store on disk: `scripts/store.sh [small|long|large]`.
#
# small: 60 blocks of 5,000 account and 5,000 slot updates, each synced, on 100,000 accounts and 100,000 slots, with one
#        worker and with two, in turn.
# long:  1,000 such blocks, for the space they take and the longest of them.
# large: the same on ENTRIES accounts and ENTRIES slots (default 5,000,000), in a process whose memory, with what the
#        system caches for it, is limited to a quarter of the state (as root, by a memory cgroup of version 1 or 2).
# Heeded: FOLDER (for `large`; kept, so that the state is loaded once), ROUNDS (default 2), BLOCKS (default 25 for large).
# Exit codes: 0 done, 1 something does not build or run, 2 wrong command line.
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-small}
case "$what" in
small | long | large) ;;
*)
    echo "usage: scripts/store.sh [small|long|large]" >&2
    exit 2
    ;;
esac
cargo build --release --locked --quiet --package braid-store --example updates
updates=target/release/examples/updates

# limited BYTES COMMAND...: in a memory cgroup of its own.
limited() {
    local bytes=$1 group file=memory.max
    shift
    group=/sys/fs/cgroup/braid-store-$$
    if [ -d /sys/fs/cgroup/memory ]; then
        group=/sys/fs/cgroup/memory/braid-store-$$
        file=memory.limit_in_bytes
    fi
    mkdir "$group"
    echo "$bytes" >"$group/$file"
    (
        echo "$BASHPID" >"$group/cgroup.procs"
        exec "$@"
    )
    rmdir "$group"
}

case "$what" in
small)
    for _ in $(seq "${ROUNDS:-2}"); do
        for workers in 1 2; do
            printf '\n== %s worker(s)\n' "$workers"
            "$updates" --blocks 60 --workers "$workers"
        done
    done
    ;;
long) "$updates" --blocks 1000 --workers 1 ;;
large)
    entries=${ENTRIES:-5000000}
    folder=${FOLDER:-$(mktemp -d)/store}
    sized=(--accounts "$entries" --slots "$entries" --folder "$folder" --keep)
    [ -e "$folder/state" ] || "$updates" --blocks 0 --workers 2 "${sized[@]}"
    limit=$(($(stat -c %s "$folder/state") / 4))
    # What the system still has of the file is another group's, and would be read for nothing.
    sync "$folder/state"
    dd if="$folder/state" iflag=nocache count=0 status=none
    printf '\n== at most %s MiB of memory\n' $((limit >> 20))
    limited "$limit" "$updates" --blocks "${BLOCKS:-25}" --workers 1 --cache-mib 64 --flat 65536 "${sized[@]}"
    ;;
esac
