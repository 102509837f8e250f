#!/usr/bin/env bash
# Everything that `make setup` does: system check, virtual environment, underlay, roboref. Quick when nothing changed.
# Usage: setup.sh [PYTHON]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${1:-python3}"

if [ -n "${AMENT_PREFIX_PATH:-}" ] && [[ ":$AMENT_PREFIX_PATH:" != *":$PWD/.venv:"* ]]; then
    echo "setup: a ROS distribution is sourced in this shell (AMENT_PREFIX_PATH=$AMENT_PREFIX_PATH)." >&2
    echo "On a distribution roboref is built in a workspace: rosdep install, colcon build (docs/installation.md)." >&2
    echo "For the virtual environment of this checkout use a shell in which no distribution is sourced." >&2
    exit 1
fi
mkdir -p .cache/setup
exec 9>.cache/setup/lock
if command -v flock >/dev/null; then
    flock 9 # two set-ups of one checkout take turns
fi
# The check costs less than asking whether it is needed, and a library can vanish with an upgrade.
"$python" setup_tools/system_check.py --install
bash setup_tools/build_venv.sh "$python"
bash setup_tools/build_workspace.sh underlay
bash setup_tools/build_workspace.sh roboref
