"""The folders of an evaluation: what is compared, and where SR goes; none of them is taken for another."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from upscaler.errors import MediaError, UsageError
from upscaler.images import stills
from upscaler.trainer.evaluation.lr_images import LrSource, Rgb
from upscaler.trainer.evaluation.subject import SrFolder, Subject


@dataclass(frozen=True)
class EvaluationFolders:
    """The folders of an evaluation; ``None`` for those that it does not have.

    Attributes:
        hr: HR images or clips.
        lr: LR images or clips.
        sr: SR images or clips that are measured.
        save: Where SR is saved.
    """

    hr: Path
    lr: Path | None = None
    sr: Path | None = None
    save: Path | None = None

    @classmethod
    def of(cls, subject: Subject, hr: Path, lr_source: LrSource, save: Path | None) -> "EvaluationFolders":
        """The folders of an evaluation of this subject."""
        return cls(hr, lr_source.folder, subject.folder if isinstance(subject, SrFolder) else None, save)

    def only_hr(self, paths: Iterable[Path]) -> list[Path]:
        """Those of the files and folders in ``hr`` that are not in another folder that lies inside."""
        others = [folder.resolve() for folder in (self.lr, self.sr, self.save) if folder is not None]
        inside = {*others} - {self.hr.resolve()}
        return [path for path in paths if inside.isdisjoint({path.resolve(), *path.resolve().parents})]

    def prepare(self) -> None:
        """Make the folder for SR.

        Raises:
            UsageError: The folder with LR is missing, or saving would overwrite what is compared, or cannot.
        """
        if self.lr is not None and not self.lr.is_dir():
            raise UsageError(f"no folder '{self.lr}'", "--lr-dir takes a folder with LR images")
        if self.save is None:
            return
        if self.save.resolve() in {folder.resolve() for folder in (self.hr, self.lr, self.sr) if folder}:
            raise UsageError(f"--save '{self.save}' would overwrite what is compared", "use another folder")
        try:
            self.save.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write '{self.save}': {error.strerror}") from error

    def save_sr(self, name: Path, sr: Rgb) -> None:
        """Write an SR image under this path from ``save``, if there is one.

        Raises:
            MediaError: It cannot be written.
        """
        if self.save is None:
            return
        path = self.save / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MediaError(f"cannot write '{path.parent}': {error.strerror}") from error
        stills.write_rgb8(path, sr)


def require_different(names: Sequence[str], folder: Path, what: str) -> None:
    """Raise a UsageError if two of the images or clips in a folder have the same name."""
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        raise UsageError(f"'{folder}' has two {what} called '{duplicate}'", "move one of them away")
