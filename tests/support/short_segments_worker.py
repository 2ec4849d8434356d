"""A worker with segments of ``LENGTH`` frames; it notes each one that it completes beside the job folder."""

from pathlib import Path

from support.command import LENGTH

from upscaler.batch import task_runner
from upscaler.video import segments


def main() -> None:
    segments._FRAMES_MIN = segments._FRAMES_MAX = LENGTH
    write_json = segments.write_json

    def noted(path: Path, content: object) -> None:
        write_json(path, content)
        with (path.parents[1] / "made.txt").open("a") as file:
            file.write(f"{path.stem}\n")

    segments.write_json = noted
    task_runner.main()
