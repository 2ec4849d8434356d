"""A folder of photographs through the whole command, one after the other and overlapping.

    python benchmarks/pictures.py [--count 10] [--megapixels 6]

Prints seconds per image from JPEG to PNG, x2 `fast-photo`: with the network, and with nearest in its place,
which is what is left of the time on a GPU or on many cores. "One by one" has no helper processes, as before
they were introduced; "workers" is `--workers` with one for each processor, their start included. They take
turns, twice with nearest and once with the network; the shortest counts. Processor time is that of this
process and of its helpers.
"""

import argparse
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image
from timing import print_table

from upscaler.batch import overlapped_stills
from upscaler.batch.batch import Batch
from upscaler.batch.observer import Observer
from upscaler.batch.result import Result
from upscaler.inference import devices
from upscaler.inference.engine import Upscaler
from upscaler.inference.plan import Plan
from upscaler.options import Options
from upscaler.process_settings import keep_freed_memory
from upscaler.system import processors

_WAYS = ("one by one", "overlapped", "workers")
PHOTOGRAPH = Path(__file__).parents[1] / "samples/astronaut.png"


def folder_of_photographs(folder: Path, count: int, megapixels: float) -> Path:
    """JPEGs of 3:2, whose details are those of a photograph of 512x512, mirrored again and again."""
    folder.mkdir()
    small = np.asarray(Image.open(PHOTOGRAPH).convert("RGB"))
    height, width = round((megapixels * 1e6 / 1.5) ** 0.5), round((megapixels * 1e6 * 1.5) ** 0.5)
    for number in range(count):
        rolled = np.roll(small, 37 * number, axis=1)
        rows, columns = (0, height - small.shape[0]), (0, width - small.shape[1])
        large = np.pad(rolled, (rows, columns, (0, 0)), mode="symmetric")
        Image.fromarray(large).save(folder / f"{number:03}.jpg", quality=90)
    return folder


def nearest(_engine: object, source: torch.Tensor, plan: Plan, **_: object) -> tuple[torch.Tensor, object]:
    """In place of ``Upscaler.upscale_flagged``."""
    larger = source.repeat_interleave(plan.height // source.shape[2], dim=2)
    return larger.repeat_interleave(plan.width // source.shape[3], dim=3), torch.ones(())


def processor_s() -> float:
    """Seconds of processor time so far, of this process and of its helpers that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


class Failing(Observer):
    """Ends the batch if a file fails."""

    def end(self, result: Result) -> None:
        """A file has ended."""
        assert result.outcome == "done", result.error_line


def timed(photographs: Path, results: Path, way: str) -> tuple[float, float]:
    """Seconds, and seconds of processor time, for a folder."""
    overlapped_stills._WORTHWHILE_BYTES = 0 if way == "overlapped" else sys.maxsize
    workers = processors.count() if way == "workers" else None
    start, used_s = time.perf_counter(), processor_s()
    options = Options(
        output=results, format="png", model="fast-photo", scale=2, overwrite=True, workers=workers
    )
    with Batch([photographs], options) as batch:
        batch.run(Failing())
    return time.perf_counter() - start, processor_s() - used_s


def measured(
    photographs: Path, results: Path, count: int, rounds: int, ways: Sequence[str]
) -> dict[str, str]:
    """A row of the table: for each way, seconds, times as fast as the first way, and processor time."""
    shortest = dict.fromkeys(ways, (float("inf"), 0.0))
    for _ in range(rounds):
        for way in ways:
            shortest[way] = min(shortest[way], timed(photographs, results, way))
    first_s = shortest[ways[0]][0]
    return {
        way: f"{clock_s / count:.2f} s, x {first_s / clock_s:.2f}, {used_s / count:.2f} s"
        for way, (clock_s, used_s) in shortest.items()
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--megapixels", type=float, default=6.0)
    arguments = parser.parse_args()
    keep_freed_memory()
    folder = Path(tempfile.mkdtemp())
    try:
        photographs = folder_of_photographs(folder / "in", arguments.count, arguments.megapixels)
        size = (photographs, folder / "out", arguments.count)
        with_network = measured(*size, rounds=1, ways=_WAYS)
        with mock.patch.object(Upscaler, "upscale_flagged", nearest):  # not in the workers' processes
            with_nearest = measured(*size, rounds=2, ways=_WAYS[:2]) | {_WAYS[2]: "-"}
    finally:
        shutil.rmtree(folder)
    print(devices.describe(devices.select("auto")))
    title = f"{arguments.count} JPEGs of {arguments.megapixels:g} MP"
    print_table(title, {"fast-photo x2": with_network, "nearest x2": with_nearest})


if __name__ == "__main__":
    main()
