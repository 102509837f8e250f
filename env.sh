# A shell in which roboref runs: . ./env.sh   (bash; from any folder; sourcing it again changes nothing)
# It serves the virtual environment of `make setup`. On a ROS distribution source your workspace instead; nothing here is needed there.

_roboref_root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
_roboref_venv="$_roboref_root/.venv"

# _roboref_prepend VARIABLE FOLDER: puts the folder first unless the variable has it.
_roboref_prepend() {
    case ":${!1:-}:" in
    *":$2:"*) ;;
    *) export "$1=$2${!1:+:${!1}}" ;;
    esac
}

_roboref_environment() {
    local folder workspace
    if [ -n "${AMENT_PREFIX_PATH:-}" ] && [[ ":$AMENT_PREFIX_PATH:" != *":$_roboref_venv:"* ]]; then
        echo "env.sh: a ROS distribution is sourced already, so env.sh is not needed and changes nothing (docs/installation.md)." >&2
        return 0
    fi
    if [ ! -x "$_roboref_venv/bin/python" ]; then
        echo "env.sh: $_roboref_venv does not exist yet; run: make -C $_roboref_root setup" >&2
        return 1
    fi
    export VIRTUAL_ENV="$_roboref_venv"
    _roboref_prepend PATH "$_roboref_venv/bin"
    # The wheels would re-execute every Python once to set these two; both or neither.
    for folder in "$_roboref_venv"/lib/python3*/site-packages/ros_*.libs "$_roboref_venv/lib"; do
        _roboref_prepend LD_LIBRARY_PATH "$folder"
    done
    export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
    _roboref_prepend AMENT_PREFIX_PATH "$_roboref_venv"
    for workspace in underlay roboref; do
        workspace="$_roboref_root/.cache/ros/$workspace/install"
        if [ -f "$workspace/local_setup.bash" ]; then
            . "$workspace/local_setup.bash"
        else
            echo "env.sh: $workspace is not built yet; run: make -C $_roboref_root setup" >&2
        fi
    done
    # The checkout before the install: an edit counts at once.
    _roboref_prepend PYTHONPATH "$_roboref_root"
    # What follows are defaults; a value that is set stays.
    export FASTRTPS_DEFAULT_PROFILES_FILE="${FASTRTPS_DEFAULT_PROFILES_FILE:-$_roboref_root/config/fastdds.xml}"
    export ROS_AUTOMATIC_DISCOVERY_RANGE="${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"
    export MUJOCO_GL="${MUJOCO_GL:-egl}"
}

if _roboref_environment; then
    unset -f _roboref_environment _roboref_prepend
    unset _roboref_root _roboref_venv
else
    unset -f _roboref_environment _roboref_prepend
    unset _roboref_root _roboref_venv
    false
fi
