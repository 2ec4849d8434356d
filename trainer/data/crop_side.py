"""How large crops can be, given the sizes of the photographs; and what leaving small ones out would gain."""

from dataclasses import dataclass

# Crops shrink until this share of the photographs holds them.
_HOLDING_SHARE = 0.95

# More small photographs than this share are what the training is about.
_MOST_LEFT_OUT = 0.25


@dataclass(frozen=True)
class Gain:
    """What leaving out more photographs would gain.

    Attributes:
        left_out: How many photographs.
        of: Of how many.
        patch_px: Side of the crops without them, LR pixels.
        smallest_photo_px: The setting that leaves them out.
    """

    left_out: int
    of: int
    patch_px: int
    smallest_photo_px: int


@dataclass(frozen=True)
class CropSide:
    """The side of the largest crops, LR pixels, and what would make it larger."""

    patch_px: int
    gain: Gain | None = None


def choose(sides_px: list[int], scale: int, desired_px: int, smallest_photo_px: int) -> CropSide:
    """The side of a crop that 95 % of the photographs hold, without those that are left out as too small.

    Args:
        sides_px: The shorter side of every photograph, HR pixels.
        scale: HR size over LR size.
        desired_px: Side of a crop, LR pixels; crops are never larger.
        smallest_photo_px: Photographs with a shorter side below this are left out, unless crops of the
            desired side are smaller still.
    """
    smallest_px = min(desired_px, -(-smallest_photo_px // scale))
    held_px = sorted(side // scale for side in sides_px if side // scale >= smallest_px)
    if not held_px:
        return CropSide(smallest_px)
    patch_px = min(desired_px, held_px[int(len(held_px) * (1 - _HOLDING_SHARE))])
    return CropSide(patch_px, _gain(held_px, scale, desired_px, patch_px))


def _gain(held_px: list[int], scale: int, desired_px: int, patch_px: int) -> Gain | None:
    """The larger crops that would cover the most area per draw of all photographs, if there are any."""
    count = len(held_px)
    best: Gain | None = None
    best_area = count * patch_px**2
    for left_out in range(1, int(count * _MOST_LEFT_OUT) + 1):
        side_px = min(desired_px, held_px[left_out])
        area = (count - left_out) * side_px**2
        if side_px > patch_px and area > best_area:
            smaller = sum(side < side_px for side in held_px)
            best, best_area = Gain(smaller, count, side_px, side_px * scale), area
    return best
