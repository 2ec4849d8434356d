"""Pictures that tests draw themselves."""

import numpy as np
from numpy.typing import NDArray


def photograph(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Something with the makings of a photograph: shading, edges of many directions, texture, noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    picture = np.repeat((100 + 60 * np.sin(rows / height + 2 * columns / width))[..., None], 3, axis=2)
    for _ in range(24):
        angle, phase = random.uniform(0, np.pi, 2)
        along = rows * np.cos(angle) + columns * np.sin(angle)
        inside = np.hypot(rows - random.uniform(0, height), columns - random.uniform(0, width))
        disc = inside < random.uniform(4, min(height, width) / 4)
        texture = 30 * np.sin(along * random.uniform(0.3, 1.2) + phase)
        picture[disc] = random.uniform(30, 220, 3) + texture[disc][:, None]
    picture += random.normal(0, 1.5, picture.shape)
    return picture.round().clip(0, 255).astype(np.uint8)
