#!/usr/bin/env bash
# Builds one colcon workspace of this checkout into .cache/ros/NAME, on top of .venv.
# Does nothing when nothing that it builds from has changed.
# Usage: build_workspace.sh underlay|roboref|test_interfaces
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
shopt -s nullglob
name="$1"
venv="$PWD/.venv"
out="$PWD/.cache/ros/$name"
state=.cache/setup
log=$state/colcon_$name.log

# Python modules are linked into the install (and the checkout comes first on PYTHONPATH), so only which of them there are counts.
case "$name" in
underlay)
    source=underlay
    contents=(underlay/*/{package.xml,CMakeLists.txt,setup.py,setup.cfg,msg,srv,action})
    names=(underlay)
    ;;
roboref)
    source="$out/src"
    contents=(msg srv action package.xml CMakeLists.txt setup.cfg)
    names=(roboref_node launch config setup_tools)
    ;;
test_interfaces)
    source=test/interfaces
    contents=(test/interfaces/*/{package.xml,CMakeLists.txt,msg,srv,action})
    names=(test/interfaces)
    ;;
*)
    echo "usage: build_workspace.sh underlay|roboref|test_interfaces" >&2
    exit 2
    ;;
esac
wanted="$("$venv/bin/python" -I -S setup_tools/fingerprint.py --contents "${contents[@]}" --names "${names[@]}" \
    --text "$PWD" "$(cat $state/venv.stamp)")"
if [ -d "$out/install" ] && [ "$(cat "$state/$name.stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

echo "setup: building $name with colcon (progress in $log)"
if [ "$name" = roboref ]; then
    # CMake refuses exported include folders below the source folder, and .venv (numpy) is below the checkout: build from links to it.
    rm -rf "$source"
    mkdir -p "$source/roboref"
    for item in "${contents[@]}" "${names[@]}"; do
        [ ! -e "$item" ] || ln -s "$PWD/$item" "$source/roboref/$item"
    done
fi
# The build sees the virtual environment and nothing else, whatever the calling shell has sourced.
libraries=("$venv"/lib "$venv"/lib/python3*/site-packages/ros_*.libs)
unset PYTHONPATH COLCON_PREFIX_PATH
export PATH="$venv/bin:$PATH" AMENT_PREFIX_PATH="$venv" CMAKE_PREFIX_PATH="$venv" _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
LD_LIBRARY_PATH="$(IFS=:; echo "${libraries[*]}")"
export LD_LIBRARY_PATH
build() {
    "$venv/bin/python" -m colcon --log-base "$out/log" build --base-paths "$source" --build-base "$out/build" --install-base "$out/install" \
        --symlink-install --cmake-args "-DPython3_EXECUTABLE=$venv/bin/python" -DCMAKE_POLICY_VERSION_MINIMUM=3.5 -DBUILD_TESTING=OFF \
        >"$log" 2>&1
}
rm -f "$state/$name.stamp"
if ! build; then
    # An older build can stand in the way (a file renamed, a package removed): once more from nothing.
    rm -rf "$out/build" "$out/install"
    if ! build; then
        echo "setup: colcon failed; the end of $log:" >&2
        tail -n 30 "$log" >&2
        exit 1
    fi
fi
echo "$wanted" >"$state/$name.stamp"
