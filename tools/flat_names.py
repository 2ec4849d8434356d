"""Names with which all images below a folder fit into a single folder; for the other scripts."""

from pathlib import Path

from upscaler.errors import TrainingError
from upscaler.trainer.data.sources import images_below


def flat_names(folder: Path) -> dict[Path, str]:
    """The image files below a folder, and a unique name without suffix for each.

    A name joins the names of the folders below ``folder`` and of the file; for a file directly in ``folder``,
    the name of that folder and of the file.

    Raises:
        TrainingError: Two files would get the same name.
    """
    names: dict[Path, str] = {}
    taken: dict[str, Path] = {}
    for path in images_below(folder):
        parts = path.relative_to(folder).with_suffix("").parts
        name = "-".join(parts if len(parts) > 1 else (folder.resolve().name, *parts))
        other = taken.setdefault(name.casefold(), path)  # some file systems ignore case
        if other != path:
            raise TrainingError(
                f"'{other}' and '{path}' would both become '{name}.png'", "rename one of them"
            )
        names[path] = name
    return names
