"""Which LR file belongs to an HR file ``a.png``: ``ax4``, ``a_x4`` or ``a``, with any image suffix."""

from pathlib import Path

from upscaler.errors import MediaError, TrainingError
from upscaler.images.formats import IMAGE_SUFFIXES
from upscaler.trainer.data.sources import Folders, Source

NO_LR_IMAGE = "it has no LR image"


def paired_stems(stem: str, scale: int) -> tuple[str, ...]:
    """Names without suffix of the LR or SR version of ``stem``; the first one that exists counts."""
    return f"{stem}x{scale}", f"{stem}_x{scale}", stem


def find_paired(folder: Path, hr_path: Path, scale: int, *, what: str, subfolder: Path = Path()) -> Path:
    """The LR or SR version of an HR file in a folder, by name.

    Args:
        folder: Folder of the LR or SR images.
        hr_path: The HR file.
        scale: HR size over LR size.
        what: What is searched for, for the message.
        subfolder: Subfolder of ``folder`` that is searched.

    Raises:
        MediaError: There is none.
    """
    stems = paired_stems(hr_path.stem, scale)
    folder = folder / subfolder
    candidates = (folder / f"{stem}{suffix}" for stem in stems for suffix in sorted(IMAGE_SUFFIXES))
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        names = ", ".join(f"{stem}.*" for stem in stems)
        raise MediaError(f"'{hr_path}' has no {what} in '{folder}'", f"looked for {names}")
    return found


class LrFiles:
    """The files in LR folders, found by the path and name of the photograph.

    With as many LR folders as folders of photographs, each LR folder belongs to the folder of photographs of
    the same index; otherwise every LR folder serves all photographs.

    Args:
        folders: The LR folders.
        scale: HR size over LR size.
        photographs: The HR files.
        photo_folders: Number of folders in which these were found.

    Raises:
        TrainingError: A folder is missing, or it is ambiguous which LR file belongs to a photograph.
    """

    def __init__(
        self, folders: tuple[str, ...], scale: int, photographs: list[Source], photo_folders: int
    ) -> None:
        self._scale = scale
        self._by_index = len(folders) == photo_folders
        self._paths: dict[tuple[int, Path], list[Path]] = {}
        for source in Folders(folders).images():
            self._paths.setdefault(self._key(source), []).append(source.path)
        taken: dict[Path, Source] = {}
        for photograph in photographs:
            candidates = self._candidates(photograph)
            if len(candidates) > 1:
                raise _ambiguous("LR images", candidates[0], candidates[1])
            # A photograph saved in two formats in one folder may well have one LR version.
            if not candidates:
                continue
            other = taken.setdefault(candidates[0], photograph)
            if other.folder_index != photograph.folder_index:
                raise _ambiguous("photographs", other.path, photograph.path)

    def of(self, photograph: Source) -> Path:
        """The LR file of a photograph.

        Raises:
            MediaError: There is none.
        """
        path = self.find(photograph)
        if path is None:
            raise MediaError(NO_LR_IMAGE)
        return path

    def find(self, photograph: Source) -> Path | None:
        """The LR file of a photograph, if there is one."""
        candidates = self._candidates(photograph)
        return candidates[0] if candidates else None

    def _key(self, source: Source) -> tuple[int, Path]:
        return source.folder_index if self._by_index else 0, source.relative.with_suffix("")

    def _candidates(self, photograph: Source) -> list[Path]:
        index, path = self._key(photograph)
        keys = ((index, path.with_name(stem)) for stem in paired_stems(path.name, self._scale))
        return next((self._paths[key] for key in keys if key in self._paths), [])


def _ambiguous(what: str, one: Path, other: Path) -> TrainingError:
    return TrainingError(
        f"the {what} '{one}' and '{other}' have the same path and name in their folders",
        "use one --lr-dir for each folder of photographs, in the same order, or rename them",
    )
