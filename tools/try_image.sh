#!/usr/bin/env bash
# A smoke test of the container image: an image and a clip of samples/ go through it, as another user, without a
# network. `tools/try_image.sh [IMAGE]`, after `docker build -t upscaler .`; $BUILDER names podman instead.
set -euo pipefail

image=${1:-upscaler}
engine=${BUILDER:-docker}
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$checkout"/samples/astronaut.png "$checkout"/samples/*.mp4 "$work"

upscale() {
    "$engine" run --rm --network none --user "$(id -u):$(id -g)" --volume "$work:/work" "$image" "$@"
}

test "$("$engine" run --rm --entrypoint id "$image" -u)" != 0 # not root by default
upscale --version
upscale . -o out --scale 2 --frames 5
for result in "$work"/out/*; do
    test -s "$result" && test -O "$result" # whole, and owned by who ran it
done
test "$(find "$work/out" -type f | wc -l)" = "$(find "$work" -maxdepth 1 -type f | wc -l)"
echo "the image works"
