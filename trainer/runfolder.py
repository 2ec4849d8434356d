"""The folder beside a run's weight file: how it is told from others, and what is forgotten of it."""

from pathlib import Path

_SUFFIX = ".run"

# A run writes one of these before its first picture.
_SIGNS = ("config.toml", "state.pt", "metrics.csv")

# What a run leaves there that the next one need not write again.
_LEFT_BEHIND = (
    *("state.pt", "metrics.csv", "samples.png", "progress.png", "degraded.png", "left-out.txt"),
    *("best-stage*.safetensors", "best-stage*.md", "samples/step_*.png", "events.out.tfevents.*"),
)


def beside(output: str) -> Path:
    """The folder of the run that writes this weight file."""
    return Path(output).with_suffix(_SUFFIX)


def below(folder: Path) -> set[Path]:
    """The folders of runs somewhere below a folder: their pictures were made, not photographed."""
    named = (path for path in folder.rglob(f"*{_SUFFIX}") if path.is_dir())
    return {path for path in named if any((path / sign).exists() for sign in _SIGNS)}


def forget(folder: Path) -> None:
    """Delete what an earlier run left in its folder, and nothing else.

    Raises:
        OSError: Something cannot be deleted.
    """
    for pattern in _LEFT_BEHIND:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
