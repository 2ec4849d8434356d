"""The folder beside a run's weight file, and what ``--restart`` deletes from it."""

from pathlib import Path

from upscaler.trainer.data.sources import RUN_SUFFIX

# What a run leaves there that the next one need not write again.
_LEFT_BEHIND = (
    *("state.pt", "metrics.csv", "samples.png", "progress.png", "degraded.png", "left-out.txt"),
    *("best-stage*.safetensors", "best-stage*.md", "samples/step_*.png", "events.out.tfevents.*"),
)


def beside(output: str) -> Path:
    """The folder of the run that writes this weight file."""
    return Path(output).with_suffix(RUN_SUFFIX)


def forget(folder: Path) -> None:
    """Delete what an earlier run left in its folder, and nothing else.

    Raises:
        OSError: Something cannot be deleted.
    """
    for pattern in _LEFT_BEHIND:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
