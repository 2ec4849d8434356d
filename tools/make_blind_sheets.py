"""Sheets for comparing models by eye without knowing which is which, and the count of what was chosen.

    python tools/make_blind_sheets.py make B100/LRwebx4 sheets/ real=out/real x4plus=out/x4plus --scale 4
    python tools/make_blind_sheets.py count sheets/ choices.txt

Each row of a sheet shows a crop of one input, enlarged without smoothing, and what each model made of it, at
1:1, in an order drawn for every row. `sheets/key.json` has the orders: do not open it before you have chosen.
`choices.txt` has a line for every row, best first, with `=` between equals: `7: B A=D C`.
"""

import argparse
import itertools
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
from flat_names import flat_names
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from upscaler.images.formats import READ_FORMATS

ROWS_PER_SHEET = 4
GAP_PX, HEADING_PX = 6, 14

# From so many random crops of an input the one with most detail is shown.
TRIED_CROPS = 12


def read(path: Path) -> Image.Image:
    """The image as RGB."""
    with Image.open(path, formats=READ_FORMATS) as image:
        return image.convert("RGB")


def detailed_box(lr: Image.Image, side_px: int, random_: random.Random) -> tuple[int, int, int, int]:
    """A square of the input with much detail: left, top, right, bottom in LR pixels."""
    gray = np.asarray(lr.convert("L"), np.float32)
    width, height = lr.size
    boxes = []
    for _ in range(TRIED_CROPS):
        left, top = random_.randint(0, width - side_px), random_.randint(0, height - side_px)
        part = gray[top : top + side_px, left : left + side_px]
        detail = float(np.abs(np.diff(part, axis=0)).mean() + np.abs(np.diff(part, axis=1)).mean())
        boxes.append((detail, (left, top, left + side_px, top + side_px)))
    return max(boxes)[1]


def make(arguments: argparse.Namespace) -> None:
    """Write the sheets and the key."""
    folders = dict(value.split("=", 1) for value in arguments.models)
    scale, side_px = arguments.scale, arguments.crop_px // arguments.scale
    random_ = random.Random(arguments.seed)
    paths = [path for path in sorted(flat_names(arguments.inputs)) if min(read(path).size) >= side_px]
    arguments.sheets.mkdir(parents=True, exist_ok=True)
    key, rows = [], []
    for path in random_.sample(paths, min(arguments.count, len(paths))):
        lr = read(path)
        box = detailed_box(lr, side_px, random_)
        order = random_.sample(sorted(folders), len(folders))
        large = tuple(scale * side for side in box)
        tiles = [lr.crop(box).resize((side_px * scale,) * 2, Image.Resampling.NEAREST)]
        tiles += [read(Path(folders[name]) / f"{path.stem}.png").crop(large) for name in order]
        rows.append(np.hstack([_framed(tile) for tile in tiles]))
        key.append({"input": path.name, "box": box, "order": order})
    for first in range(0, len(rows), ROWS_PER_SHEET):
        pages = [_headed(row, first + number) for number, row in enumerate(rows[first:][:ROWS_PER_SHEET], 1)]
        Image.fromarray(np.vstack(pages)).save(arguments.sheets / f"{first // ROWS_PER_SHEET + 1:02}.png")
    (arguments.sheets / "key.json").write_text(json.dumps(key, indent=1))
    print(f"{len(rows)} rows")


def _framed(tile: Image.Image) -> NDArray[np.uint8]:
    return np.pad(np.asarray(tile), ((0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=255)


def _headed(row: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """The row below its number and the letters of its columns."""
    heading = Image.new("RGB", (row.shape[1], HEADING_PX), "white")
    draw = ImageDraw.Draw(heading)
    draw.text((2, 1), f"{number}: input", "black")
    columns = row.shape[1] // row.shape[0]
    for column in range(1, columns):
        draw.text((column * row.shape[1] // columns + 2, 1), chr(ord("A") + column - 1), "black")
    return np.vstack([np.asarray(heading), row])


def preferences(key: list[dict[str, list[str]]], choices: list[str]) -> Counter[tuple[str, str, str]]:
    """How often each model was better than, equal to or worse than each other.

    Args:
        key: What ``make`` wrote.
        choices: Lines such as ``7: B A=D C``, best first.

    Returns:
        Counts of ``(model, "better" | "equal" | "worse", other)``, each pair both ways.
    """
    counts: Counter[tuple[str, str, str]] = Counter()
    for line in choices:
        number, ranking = line.split(":")
        order = key[int(number) - 1]["order"]
        ranks = {
            order[ord(letter) - ord("A")]: rank
            for rank, equals in enumerate(ranking.split())
            for letter in equals.split("=")
        }
        for one, other in itertools.permutations(ranks, 2):
            verdict = ("equal", "worse", "better")[(ranks[one] > ranks[other]) - (ranks[one] < ranks[other])]
            counts[one, verdict, other] += 1
    return counts


def count(arguments: argparse.Namespace) -> None:
    """Print a line for every pair of models."""
    key = json.loads((arguments.sheets / "key.json").read_text())
    lines = [line for line in arguments.choices.read_text().splitlines() if line.strip()]
    counts = preferences(key, lines)
    for one, other in itertools.permutations(sorted(key[0]["order"]), 2):
        numbers = [counts[one, verdict, other] for verdict in ("better", "equal", "worse")]
        print(f"{one} against {other}: better {numbers[0]}, equal {numbers[1]}, worse {numbers[2]}")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(required=True)
    making = commands.add_parser("make")
    making.add_argument("inputs", type=Path)
    making.add_argument("sheets", type=Path)
    making.add_argument("models", nargs="+", metavar="NAME=FOLDER")
    making.add_argument("--scale", type=int, default=4)
    making.add_argument("--count", type=int, default=24)
    making.add_argument("--crop-px", type=int, default=160)
    making.add_argument("--seed", type=int, default=0)
    making.set_defaults(run=make)
    counting = commands.add_parser("count")
    counting.add_argument("sheets", type=Path)
    counting.add_argument("choices", type=Path)
    counting.set_defaults(run=count)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
