"""Downscale images, for another network to upscale: pairs to distil it from.

    python tools/make_reduced.py train/ lr/ --scale 4
    upscale lr/ -o taught/ --model srresnet
    upscale-train taught/ --lr-dir lr/ -o learnt.safetensors --network balanced --from balanced-x4

The images are cropped to multiples of the scale and downscaled by the bicubic of the published tables.
"""

import numpy as np
from folder_command import folder_parser, names_and_target
from PIL import Image

from upscaler.images.formats import READ_FORMATS
from upscaler.trainer.evaluation import bicubic


def main() -> None:
    """Run the command; PNG files are named after folders and file."""
    parser = folder_parser(__doc__)
    parser.add_argument("--scale", type=int, default=4)
    arguments = parser.parse_args()
    names, target = names_and_target(arguments)
    for path, name in names.items():
        pixels = np.asarray(Image.open(path, formats=READ_FORMATS).convert("RGB"))
        height, width = (side - side % arguments.scale for side in pixels.shape[:2])
        lr = bicubic.downscale(pixels[:height, :width], arguments.scale)
        Image.fromarray(lr).save(target / f"{name}.png", compress_level=1)
    print(f"{len(names)} pictures in {target}")


if __name__ == "__main__":
    main()
