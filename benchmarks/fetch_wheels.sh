#!/usr/bin/env bash
# Download the wheels that `gpu.sh` needs on a machine that has torch, numpy, Pillow, OpenCV and nothing else of ours.
#
#     benchmarks/fetch_wheels.sh FOLDER [PYTHON_VERSION]      (3.12 by default; Linux on x86-64)
set -euo pipefail

folder=${1:?name a folder for the wheels}
version=${2:-3.12}
platforms=()
for glibc in 2_17 2_24 2_27 2_28 2_31 2_34; do
    platforms+=(--platform "manylinux_${glibc}_x86_64")
done
python3 -m pip download --no-deps --only-binary=:all: --python-version "$version" --implementation cp \
    "${platforms[@]}" --platform manylinux2014_x86_64 --platform manylinux1_x86_64 --platform any -d "$folder" \
    "av>=18.1,<19" safetensors tifffile typer rich click shellingham markdown-it-py mdurl pygments annotated-doc \
    pytest pytest-timeout pytest-xdist execnet iniconfig pluggy packaging
