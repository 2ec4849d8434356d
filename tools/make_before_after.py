"""Show what a training changed: bicubic, the weights it began with, the weights it ended with, original.

    python tools/make_before_after.py NAME.run OUT.png [--rows 0,3] [--side 160]

The squares are those of the pages of samples, centred; the rows are numbered from the top of a page.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_SAMPLE_SIDE_PX, _CAPTION_PX, _GAP_PX = 192, 22, 4
_COLUMNS = ("bicubic", "before", "after", "original")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("out", type=Path, help="image to write")
    parser.add_argument("--rows", default="0,1", help="rows of the pages, from 0 on")
    parser.add_argument("--side", type=int, default=160, help="side of a square, at most 192")
    options = parser.parse_args()
    pages = sorted((options.run / "samples").glob("step_*.png"))
    first, last = (np.asarray(Image.open(path, formats=("PNG",))) for path in (pages[0], pages[-1]))
    margin_px = (_SAMPLE_SIDE_PX - options.side) // 2

    def square(page: np.ndarray, row: int, column: int) -> np.ndarray:
        top, left = (_SAMPLE_SIDE_PX * place + margin_px for place in (row, column))
        return page[top : top + options.side, left : left + options.side]

    rows = [int(row) for row in options.rows.split(",")]
    step_px = options.side + _GAP_PX
    figure = Image.new("RGB", (4 * step_px - _GAP_PX, _CAPTION_PX + len(rows) * step_px - _GAP_PX), "white")
    draw = ImageDraw.Draw(figure)
    for index, name in enumerate(_COLUMNS):
        draw.text((index * step_px + 4, 3), name, "black", ImageFont.load_default(14))
    for place, row in enumerate(rows):
        shown = [square(last, row, 1), square(first, row, 2), square(last, row, 2), square(last, row, 3)]
        for index, pixels in enumerate(shown):
            figure.paste(Image.fromarray(pixels), (index * step_px, _CAPTION_PX + place * step_px))
    figure.save(options.out)


if __name__ == "__main__":
    main()
