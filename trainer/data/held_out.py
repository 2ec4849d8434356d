"""Which photographs are held out for validation."""

_SHARE = 1 / 8
_MOST = 32

# A mean over fewer photographs says little; a training on few of them cannot spare more.
_AT_LEAST, _WHERE_THERE_ARE = 8, 40


def held_out_indices(count: int) -> list[int]:
    """An eighth of the photographs, evenly spread so that every part of a sorted folder is represented.

    At least one, at least eight where there are forty, and at most 32.

    Args:
        count: Number of photographs, at least two.
    """
    fewest = _AT_LEAST if count >= _WHERE_THERE_ARE else 1
    chosen = min(_MOST, max(fewest, int(count * _SHARE)))
    return [(index + 1) * count // chosen - 1 for index in range(chosen)]
