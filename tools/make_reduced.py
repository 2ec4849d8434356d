"""Small versions of pictures, for another network to enlarge: pairs to learn from it.

    python tools/make_reduced.py train/ lr/ --scale 4
    upscale lr/ -o taught/ --model srresnet
    upscale-train taught/ --lr-dir lr/ -o learnt.safetensors --network balanced --from balanced-x4

The small pictures are reduced by the bicubic of the published tables, from whole multiples of the scale.
"""

import argparse
from pathlib import Path

import numpy as np
from flat_names import flat_names
from PIL import Image

from upscaler.errors import TrainingError
from upscaler.trainer.evaluation import bicubic


def main() -> None:
    """Write the reduced pictures as PNG, named after folders and file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--scale", type=int, default=4)
    arguments = parser.parse_args()
    try:
        names = flat_names(arguments.source)
    except TrainingError as error:
        raise SystemExit(f"error: {error}") from error
    arguments.target.mkdir(parents=True, exist_ok=True)
    for path, name in names.items():
        pixels = np.asarray(Image.open(path).convert("RGB"))
        height, width = (side - side % arguments.scale for side in pixels.shape[:2])
        low = bicubic.downscale(pixels[:height, :width], arguments.scale)
        Image.fromarray(low).save(arguments.target / f"{name}.png", compress_level=1)
    print(f"{len(names)} pictures in {arguments.target}")


if __name__ == "__main__":
    main()
