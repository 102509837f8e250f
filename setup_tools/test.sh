#!/usr/bin/env bash
# The tests: first those that need no ROS graph, on two processes; then those that do, one after the other, so that they share no CPU.
# The second part runs also when the first has failed: all failures are shown. Arguments go to pytest.
# Usage (in a shell with env.sh sourced): test.sh [PYTEST ARGUMENTS]
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
graph=()
for folder in test/ros test/faults test/underlay; do
    [ ! -d "$folder" ] || graph+=("$folder")
done

status=0
# pytest leaves with 5 when a selection (-k) fits nothing in one of the two parts.
run() {
    python -m pytest "$@" || [ $? = 5 ] || status=1
}
run test -n 2 --dist loadscope "${graph[@]/#/--ignore=}" "$@"
[ ${#graph[@]} = 0 ] || run "${graph[@]}" "$@"
exit $status
