#!/usr/bin/env bash
# Builds .venv with the versions of requirements/lock.txt and patches the ROS wheels in it. Does nothing when neither changed.
# Usage: build_venv.sh PYTHON
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="$1"
state=.cache/setup
log=$state/pip.log
mkdir -p "$state"

version="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
wanted="$("$python" setup_tools/fingerprint.py --contents requirements setup_tools/patch_wheels.py --text "$version")"
if [ -x .venv/bin/python ] && [ "$(cat "$state/venv.stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

# The pins are those of Python 3.11, the version everything is tested on. Elsewhere pip chooses the newest versions that the ranges allow.
constraints=(--constraint requirements/lock.txt)
if [ "$version" != 3.11 ]; then
    constraints=()
    echo "setup: Python $version is not the tested version (3.11): versions are resolved anew, not taken from requirements/lock.txt"
fi

if [ ! -x .venv/bin/python ] || [ "$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')" != "$version" ]; then
    rm -rf .venv
    "$python" -m venv .venv
fi
if [ ${#constraints[@]} = 0 ]; then
    # Without pins the pip that comes with Python 3.10 (23.0) was still trying versions after 25 minutes.
    .venv/bin/python -m pip install --disable-pip-version-check --no-input --quiet --upgrade pip
fi
echo "setup: installing Python packages into .venv (3.8 GB, 1-3 minutes on a good line; progress in $log)"
if ! .venv/bin/python -m pip install --disable-pip-version-check --no-input "${constraints[@]}" \
    -r requirements/offline.txt -r requirements/train.txt -r requirements/speech.txt -r requirements/ros.txt -r requirements/dev.txt >"$log" 2>&1; then
    echo "setup: pip failed; the end of $log:" >&2
    grep -v '^ *WARNING' "$log" | tail -n 20 >&2
    exit 1
fi
.venv/bin/python setup_tools/patch_wheels.py >>"$log"
echo "$wanted" >"$state/venv.stamp"
