#!/usr/bin/env bash
# The tests: first those that need no ROS graph, on two processes; then those that do. Each of the groups below is one pytest, hence one
# DDS domain: the cameras of one would be a fault to the others. Two groups run at a time; what the second says is shown when it has ended.
# Everything runs also when something has failed: all failures are shown. Arguments go to pytest.
# Usage (in a shell with env.sh sourced): test.sh [PYTEST ARGUMENTS]
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
graph=(test/ros test/faults test/underlay)
doctor=test/ros/test_ros_doctor.py

# pytest leaves with 5 when a selection (-k) fits nothing in a group.
run() {
    python -m pytest "$@" || [ $? = 5 ]
}
status=0
# Nav2's and MoveIt's messages come with a distribution. Where one of them is missing, all are built: test/interfaces/README.md.
if [ -x .venv/bin/python ] && ! python -c "import nav2_msgs, moveit_msgs, control_msgs" 2>/dev/null; then
    bash setup_tools/build_workspace.sh test_interfaces || status=1
    set +u # colcon's scripts read variables that nobody has set
    . .cache/ros/test_interfaces/install/local_setup.bash
    set -u
fi
python setup_tools/system_check.py --tests --install || status=1
# torchao is optional: wherever it is installed transformers imports it, and every start takes longer. One file gets it on its path.
quantized=test/model/test_model_quantized.py
extra=.cache/test_packages
if ! python -c "import torchao" 2>/dev/null && [ ! -d "$extra/torchao" ]; then
    python -m pip install --quiet --disable-pip-version-check --no-deps --target "$extra" torchao==0.18.0 >.cache/setup/pip_torchao.log 2>&1 || status=1
fi
run test -n 2 --dist loadscope "${graph[@]/#/--ignore=}" --ignore="$quantized" "$@" || status=1
PYTHONPATH="$extra:${PYTHONPATH:-}" run "$quantized" "$@" || status=1

log="$(mktemp)"
trap 'rm -f "$log"' EXIT
(
    run "$doctor" "$@" || failed=1
    run test/faults "$@" || failed=1
    exit "${failed:-0}"
) >"$log" 2>&1 &
second=$!
run test/ros --ignore="$doctor" "$@" || status=1
run test/underlay "$@" || status=1
wait "$second" || status=1
cat "$log"
exit $status
