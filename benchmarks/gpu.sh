#!/usr/bin/env bash
# The GPU path in one script, for a bare machine with torch, an NVIDIA GPU and no network: the tests marked `cuda`,
# then `gpu.py`, all in under 9 minutes. Writes cuda-tests.txt, gpu.json and gpu.md.
#
#     benchmarks/gpu.sh OUT_FOLDER [--wheels FOLDER] [--rehearse]
#
# --wheels    install from here what is missing; `benchmarks/fetch_wheels.sh FOLDER` fills it on a machine with a network
# --rehearse  on the CPU with small sizes: every line runs, the figures mean nothing
# PYTHON names the Python that has torch (default: python3).
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
out="" wheels="" rehearse=""
while (($#)); do
    case $1 in
        --wheels) wheels=$2; shift 2 ;;
        --rehearse) rehearse=--rehearse; shift ;;
        -*) echo "gpu.sh: unknown option $1" >&2; exit 2 ;;
        *) out=$1; shift ;;
    esac
done
[[ -n $out ]] || { echo "gpu.sh: name a folder for the results" >&2; exit 2; }
mkdir -p "$out"
out=$(cd "$out" && pwd)

site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
missing_wheels() { # folder: the wheels in it whose package this Python does not have
    "$python" - "$1" <<'PYTHON'
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

for wheel in sorted(Path(sys.argv[1]).glob("*.whl")):
    try:
        distribution(wheel.name.partition("-")[0])
    except PackageNotFoundError:
        print(wheel)
PYTHON
}

if [[ -n $wheels ]]; then
    mapfile -t missing < <(missing_wheels "$wheels")
    if ((${#missing[@]})); then
        "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" "${missing[@]}"
        export PYTHONPATH=$PYTHONPATH:$site
    fi
fi

failed=0
echo "== tests marked cuda"
if [[ -n $rehearse ]]; then
    "$python" -m pytest -q -n 0 -m cuda tests/inference/test_cuda.py 2>&1 | tee "$out/cuda-tests.txt" || failed=1
else
    timeout 150 "$python" -m pytest -q -n 0 -o timeout=60 -m cuda tests 2>&1 | tee "$out/cuda-tests.txt" || failed=1
fi
echo "== gpu.py"
timeout 380 "$python" benchmarks/gpu.py "$out" ${rehearse:+"$rehearse"} || failed=1
exit "$failed"
