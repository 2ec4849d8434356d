"""Two workers of one core against one, and a Ray cluster against local processes, with the whole command.

    python benchmarks/scale.py [--pictures 50] [--frames 30] [--ray]

Method: a folder of 50 PNG pictures of 400x300 and 3 clips of 480x270, ``fast-photo`` x2, fp32. Each way
runs the whole command once, from start to end, in a process of its own, after one picture has warmed the
disk. All must write the same bytes. The targets: two workers at least 1.8 times as fast as one, on two
cores without other load; Ray at most 5 % over local processes, once the cluster is up (two nodes on this
machine, with a core each). Each way also runs with one picture, which is about its start-up: the last two
columns are the ratios of the rest.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pipeline import clip
from timing import print_table

ROOT = Path(__file__).parents[1]
# Of the commands: they run this checkout, wherever they are started.
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
}
_SCALE, _SIZE_PX, _CLIP_PX = 2, (300, 400), (270, 480)


def make_inputs(folder: Path, pictures: int, frames: int) -> None:
    """Write blurred noise, each picture another."""
    folder.mkdir()
    for number in range(pictures):
        coarse = np.random.default_rng(number).integers(0, 256, (_SIZE_PX[0] // 4, _SIZE_PX[1] // 4, 3))
        picture = Image.fromarray(coarse.astype(np.uint8)).resize(_SIZE_PX[::-1], Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:03}.png")
    for number in range(3):
        clip(folder / f"clip{number}.mp4", frames + number, *_CLIP_PX)


def timed(source: Path, target: Path, *how: str) -> float:
    """Seconds that the command takes."""
    command = [sys.executable, "-m", "upscaler", str(source), "-o", str(target), "--quiet"]
    settings = ["--scale", str(_SCALE), "--model", "fast-photo", "--precision", "fp32", "--device", "cpu"]
    start = time.monotonic()
    subprocess.run([*command, *settings, *how], check=True, env=ENVIRONMENT)
    return time.monotonic() - start


def content(folder: Path) -> dict[str, str]:
    """The hash of every file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def two_nodes() -> Any:  # noqa: ANN401 - ray has no types
    """A Ray cluster on this machine, with a core for each of two nodes."""
    from ray.cluster_utils import Cluster

    share = {"num_cpus": 1, "object_store_memory": 100 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=share | {"include_dashboard": False})
    cluster.add_node(**share)
    return cluster


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=50)
    parser.add_argument(
        "--frames", type=int, default=30, help="of the first clip; the others have 1 and 2 more"
    )
    parser.add_argument("--ray", action="store_true", help="also on a Ray cluster")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    cluster = None
    try:
        make_inputs(folder / "in", given.pictures, given.frames)
        timed(folder / "in" / "000.png", folder / "warm.png", "--threads", "1")
        ways = {
            "one worker": ("--workers", "1", "--threads", "1"),
            "two workers": ("--workers", "2", "--threads", "2"),
        }
        if given.ray:
            cluster = two_nodes()
            ways["two Ray workers"] = ("--cluster", cluster.address, "--threads", "1")
        picture = folder / "in" / "000.png"
        start_s = {name: timed(picture, folder / f"{name}.png", *how) for name, how in ways.items()}
        seconds = {name: timed(folder / "in", folder / name, *how) for name, how in ways.items()}
        made = [content(folder / name) for name in ways]
    finally:
        if cluster:
            cluster.shutdown()
        shutil.rmtree(folder)
    after_s = {name: taken - start_s[name] for name, taken in seconds.items()}
    rows = {}
    for name, taken in seconds.items():
        rows[name] = {
            "seconds": f"{taken:.1f}",
            "one worker / this": f"{seconds['one worker'] / taken:.2f}",
            "of these, start-up": f"{start_s[name]:.1f}",
            "after it, one worker / this": f"{after_s['one worker'] / after_s[name]:.2f}",
            "after it, this / two workers": f"{after_s[name] / after_s['two workers']:.2f}",
        }
    print_table(f"{given.pictures} pictures, 3 clips", rows)
    print("the same bytes" if all(each == made[0] for each in made) else "DIFFERENT BYTES")


if __name__ == "__main__":
    main()
