"""What a cluster would do, from the stage times that one machine has measured: throughput, limits, cost.

    upscale film.mkv --json report.jsonl && python benchmarks/simulate.py report.jsonl [--network-ms 4]

Method: the first finished film of the report gives the time of each stage for a frame (decode, network and
encode run side by side in a worker) and of merging and verifying, which one process does at the end. A film
is cut into ranges; workers take one after the other, as ``upscale --cluster`` hands them out, and each
range also pays for its start: the frames between a key frame and its first one, and what handing it out
takes. Storage and the network between nodes are one total rate. For many films, throughput is the smallest
of four rates: workers, storage, merging (one driver), handing out. What is not measured is an option with a
guess as default, and is printed.
"""

import argparse
import heapq
import json
from dataclasses import dataclass, replace
from pathlib import Path

from timing import print_table

WORKERS = (1, 2, 4, 10, 30, 100, 300, 1000)


@dataclass(frozen=True)
class Costs:
    """What things take.

    Attributes:
        decode_ms: For a frame; as the next two.
        network_ms: Likewise.
        encode_ms: Likewise.
        merge_ms: Likewise, merging and verifying together; one process for the whole film.
        start_s: Of a worker, before its first frame.
        task_ms: To hand out one range and to hear of its end, on the driver.
        seek_frames: Decoded before the first frame of a range.
        range_frames: Frames of a range.
        source_mbit: Source bytes of a frame, megabits.
        result_mbit: Result bytes of a frame, megabits.
        storage_gbit_per_s: Of the storage that all nodes share, all together.
        price_per_hour: Of a worker.
    """

    decode_ms: float
    network_ms: float
    encode_ms: float
    merge_ms: float
    start_s: float
    task_ms: float
    seek_frames: int
    range_frames: int
    source_mbit: float
    result_mbit: float
    storage_gbit_per_s: float
    price_per_hour: float

    @property
    def frame_s(self) -> float:
        """A frame in a worker whose stages overlap."""
        return max(self.decode_ms, self.network_ms, self.encode_ms) / 1000

    @property
    def moved_mbit(self) -> float:
        """What goes through storage for a frame: source, segment; merging reads and writes it again."""
        return self.source_mbit + 3 * self.result_mbit


def rates(costs: Costs, workers: int) -> dict[str, float]:
    """Frames per second that each part could do, with films enough for all workers."""
    range_s = costs.range_frames * costs.frame_s + costs.seek_frames * costs.decode_ms / 1000
    return {
        "workers": workers * costs.range_frames / range_s,
        "storage": 1000 * costs.storage_gbit_per_s / costs.moved_mbit,
        "merging": 1000 / costs.merge_ms,
        "driver": costs.range_frames / costs.task_ms * 1000,
    }


def one_film_s(costs: Costs, workers: int, frames: int) -> tuple[float, float]:
    """How long one film takes, ranges and merging.

    Returns:
        Seconds until the last range is done, and of merging.
    """
    share = rates(costs, min(workers, -(-frames // costs.range_frames)))  # more have nothing to do
    slower = max(1.0, share["workers"] / share["storage"])  # when storage does not keep up, all wait for it
    free = [costs.start_s] * workers
    handed_out_s, left = 0.0, frames
    while left > 0:
        count = min(costs.range_frames, left)
        handed_out_s += costs.task_ms / 1000
        begin_s = max(heapq.heappop(free), handed_out_s)
        busy_s = count * costs.frame_s + costs.seek_frames * costs.decode_ms / 1000
        heapq.heappush(free, begin_s + busy_s * slower)
        left -= count
    merge_s = frames * max(costs.merge_ms / 1000, 2 * costs.result_mbit / 1000 / costs.storage_gbit_per_s)
    return max(free), merge_s


def measured(report: Path) -> tuple[dict[str, float], float, float]:
    """Milliseconds of each stage for a frame, and megabits of a frame of the source and of the result.

    Raises:
        SystemExit: The report has no finished film whose files are still there.
    """
    for line in report.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if "stages" in entry and not entry["frames_resumed"]:
            frames = entry["frames_out"]
            stages = {name: 1000 * each["seconds"] / frames for name, each in entry["stages"].items()}
            sizes = [Path(entry[name]).stat().st_size * 8e-6 / frames for name in ("source", "target")]
            return stages, sizes[0], sizes[1]
    raise SystemExit(f"{report}: no finished film")


def span(seconds: float) -> str:
    """``5 s``, ``3.2 min`` or ``7.1 h``."""
    for unit, length_s in (("h", 3600), ("min", 60)):
        if seconds >= length_s:
            return f"{seconds / length_s:.1f} {unit}"
    return f"{seconds:.0f} s"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path, help="of upscale --json, with a film")
    parser.add_argument("--network-ms", type=float, help="of a frame on the device that is meant")
    parser.add_argument("--encode-ms", type=float, help="of a frame on the cores that a worker has")
    parser.add_argument("--decode-ms", type=float, help="likewise")
    parser.add_argument("--merge-ms", type=float, help="of a frame, merging and verifying")
    parser.add_argument("--source-mbit", type=float, help="of a frame of the source")
    parser.add_argument("--result-mbit", type=float, help="of a frame of the result")
    parser.add_argument("--hours", type=float, default=1.0, help="of film")
    parser.add_argument("--fps", type=float, default=24.0, help="of the film")
    parser.add_argument("--range-frames", type=int, default=480, help="of the part that a worker takes")
    parser.add_argument("--seek-frames", type=int, default=125, help="half the distance of key frames")
    parser.add_argument("--start-s", type=float, default=15.0, help="of a worker: process, libraries, engine")
    parser.add_argument("--task-ms", type=float, default=5.0, help="of the driver for a range")
    parser.add_argument("--storage-gbit", type=float, default=10.0, help="per second, all nodes together")
    parser.add_argument("--price", type=float, default=2.0, help="of a worker for an hour, any currency")
    given = parser.parse_args()
    stages, source_mbit, result_mbit = measured(given.report)
    costs = Costs(
        decode_ms=stages["decode"],
        network_ms=stages["network"],
        encode_ms=stages["encode"],
        merge_ms=stages["merge"] + stages["verify"],
        start_s=given.start_s,
        task_ms=given.task_ms,
        seek_frames=given.seek_frames,
        range_frames=given.range_frames,
        source_mbit=source_mbit,
        result_mbit=result_mbit,
        storage_gbit_per_s=given.storage_gbit,
        price_per_hour=given.price,
    )
    for name in ("network_ms", "encode_ms", "decode_ms", "merge_ms", "source_mbit", "result_mbit"):
        if getattr(given, name) is not None:
            costs = replace(costs, **{name: getattr(given, name)})
    shown = {name: f"{value:.3g}" for name, value in vars(costs).items()}
    print(", ".join(f"{name} {value}" for name, value in shown.items()))
    print_table("workers", {str(count): row(costs, count, given.hours, given.fps) for count in WORKERS})


def row(costs: Costs, workers: int, hours: float, fps: float) -> dict[str, str]:
    """A row of the table."""
    each = rates(costs, workers)
    limit = min(each, key=lambda name: each[name])
    frames = round(hours * 3600 * fps)
    ranges_s, merge_s = one_film_s(costs, workers, frames)
    # Many films: every worker is paid while the slowest part is at work.
    price = workers * costs.price_per_hour * (3600 * fps / each[limit]) / 3600
    return {
        "frames/s": f"{each[limit]:.3g}",
        "limit": limit,
        "of the workers used": f"{each[limit] / each['workers']:.0%}",
        "cost of an hour of film": f"{price:.3g}",
        f"one film of {hours:g} h": span(ranges_s + merge_s),
        "merging of it": span(merge_s),
    }


if __name__ == "__main__":
    main()
