"""Which photographs, and frames of videos, are held out for validation."""

from upscaler.errors import TrainingError
from upscaler.trainer.data.photo_pairs import PhotoPair

Versions = list[PhotoPair]  # the sizes of a photograph

_SHARE = 1 / 8
_MOST = 32

# A mean over fewer photographs says little; a training on few of them cannot spare more.
_AT_LEAST, _WHERE_THERE_ARE = 8, 40

_FEWEST_VIDEOS_TO_HOLD_OUT = 8


def held_out_indices(count: int) -> list[int]:
    """An eighth of the photographs, evenly spread so that every part of a sorted folder is represented.

    At least one, at least eight where there are forty, and at most 32.

    Args:
        count: Number of photographs, at least two.
    """
    fewest = _AT_LEAST if count >= _WHERE_THERE_ARE else 1
    chosen = min(_MOST, max(fewest, int(count * _SHARE)))
    return [(index + 1) * count // chosen - 1 for index in range(chosen)]


def hold_out(photos: list[Versions], videos: list[list[Versions]]) -> tuple[list[Versions], list[Versions]]:
    """Split photographs, and frames of videos, into those held out and those to train on."""
    if len(photos) < 2:
        groups = [[photo] for photo in photos] + videos
        return _split_groups(groups if len(groups) > 1 else [[frame] for frame in groups[0]])
    held_out, kept = _split_groups([[photo] for photo in photos])
    more, frames = _hold_out_videos(videos)
    return held_out + more, kept + frames


def beside_streamed(
    held_out: list[Versions], videos: list[list[Versions]], left_out: list[str]
) -> tuple[list[Versions], list[Versions]]:
    """The same where photographs are read during the training, except for those that are held out.

    Raises:
        TrainingError: There are none of those.
    """
    if not held_out:
        reasons = f": {left_out[0]}" if left_out else ""
        raise TrainingError(f"no photograph can be held out for validation{reasons}", "use --valid FOLDER")
    more, frames = _hold_out_videos(videos)
    return held_out + more, frames


def _hold_out_videos(videos: list[list[Versions]]) -> tuple[list[Versions], list[Versions]]:
    """The same for frames of videos beside photographs: few videos are not held out."""
    if len(videos) < _FEWEST_VIDEOS_TO_HOLD_OUT:
        return [], [frame for video in videos for frame in video]
    return _split_groups(videos)


def _split_groups(groups: list[list[Versions]]) -> tuple[list[Versions], list[Versions]]:
    """One of each group that is held out, and all of the others: frames of a video show the same."""
    chosen = held_out_indices(len(groups))
    held_out = [groups[index][len(groups[index]) // 2] for index in chosen]
    return held_out, [photo for index, group in enumerate(groups) if index not in chosen for photo in group]
