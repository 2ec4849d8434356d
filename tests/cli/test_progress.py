"""The bar and its times: never cut, known for a whole folder, and a word while libraries load."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress as Bar

from upscaler.cli.bar import Line
from upscaler.cli.time_left import TimeLeft
from upscaler.commands import loading
from upscaler.jobs import Job
from upscaler.results import Progress

NAME = "a/very/long/way/to/a/film/that/is/in/no/hurry.mp4"


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def shown(width: int, *, files: int = 1, all_left_s: float | None = None, done: int = 45) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    bar = Bar(Line(console, Clock()), console=console)
    task = bar.add_task(
        NAME,
        total=100,
        count=f"[3/{files}]" if files > 1 else "",
        rate="12.50 frames/s",
        ends_s=Clock.now_s + 36_610,
        all_end_s=None if all_left_s is None else Clock.now_s + all_left_s,
    )
    bar.update(task, completed=done)
    console.print(bar.get_renderable())
    return str(console.file.getvalue())  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [20, 30, 40, 41, 60, 79, 80, 200])
@pytest.mark.parametrize("files", [1, 12, 10_000])
def test_times_are_never_cut(width: int, files: int) -> None:
    is_wide = width > 30 and files > 1
    text = shown(width, files=files, all_left_s=400_000 if is_wide else None)
    assert text.count("\n") == 1 and len(text.rstrip()) < width
    assert "10:10:10" in text
    assert ("all 111:06:40" in text) is is_wide
    if width >= 40:
        assert " 45%" in text
        assert ("[3/" in text) is (files > 1)
    if width >= 80:
        assert "hurry.mp4" in text and "12.50 frames/s" in text and "━" in text


def test_a_film_that_has_not_begun_has_no_times_yet() -> None:
    console = Console(file=io.StringIO(), width=40, color_system=None)
    bar = Bar(Line(console), console=console)
    bar.add_task(NAME, total=None, count="", rate="reading", ends_s=None, all_end_s=None)
    console.print(bar.get_renderable())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "hurry.mp4" in text and "%" not in text


def jobs(folder: Path, sizes: dict[str, int]) -> list[Job]:
    found = []
    for name, size in sizes.items():
        (folder / name).write_bytes(bytes(size))
        found.append(Job(folder / name, folder / f"x_{name}", "video" if name.endswith("mp4") else "still"))
    return found


def test_the_time_of_a_folder_follows_from_the_sizes_of_its_files(tmp_path: Path) -> None:
    clock = Clock()
    left = TimeLeft(jobs(tmp_path, {"a.jpg": 100, "b.jpg": 300, "c.png": 500, "d.jpg": 200}), clock)
    assert left.of_all() is None, "nothing is known yet"
    left.begin()
    clock.now_s += 10
    assert left.of_file(Progress(1, 2, "tiles")) == 10
    assert left.of_all() == pytest.approx(10 + 20 * 3 + 20 * 5 + 20 * 2), "the other format as this one"
    clock.now_s += 10
    left.end(was_worked_at=True)
    assert left.of_all() == pytest.approx(20 * 3 + 20 * 5 + 20 * 2)
    left.end(was_worked_at=False)  # skipped: takes no time, and says nothing
    left.begin()
    clock.now_s += 50
    left.of_file(Progress(1, 1, "tiles"))
    left.end(was_worked_at=True)
    assert left.of_all() is None, "for the last file, its own time says it"


def test_films_are_not_judged_by_images(tmp_path: Path) -> None:
    clock = Clock()
    left = TimeLeft(jobs(tmp_path, {"a.jpg": 100, "b.mp4": 100, "c.mp4": 300}), clock)
    clock.now_s += 10
    left.end(was_worked_at=True)
    assert left.of_all() is None
    left.begin()
    clock.now_s += 5  # opening, and a first frame of this run
    assert left.of_file(Progress(51, 100, "frames", resumed=50)) == pytest.approx(5 * 49)
    clock.now_s += 8
    assert left.of_file(Progress(60, 100, "frames", resumed=50)) == pytest.approx(8 / 9 * 40)
    # A tenth of this film took 13 s: 40 more, and the other one, which is three times as large.
    assert left.of_all() == pytest.approx(13 * 4 + 130 * 3)


def test_the_second_network_counts_its_tiles_again(tmp_path: Path) -> None:
    clock = Clock()
    left = TimeLeft(jobs(tmp_path, {"a.jpg": 1}), clock)
    for done in (1, 2, 3, 4):
        clock.now_s += 1
        left.of_file(Progress(done, 4, "tiles"))
    clock.now_s += 10
    assert left.of_file(Progress(1, 4, "tiles")) is None
    clock.now_s += 5
    assert left.of_file(Progress(2, 4, "tiles")) == 10


@pytest.mark.parametrize("command", ["upscaler.cli.app:app", "upscaler.trainer.cli:app"])
def test_terminals_say_that_libraries_load_before_they_do(tmp_path: Path, command: str) -> None:
    module, _, _ = command.partition(":")
    program = f"""
import sys, {module} as cli
def said():
    print("torch" in sys.modules)
    raise SystemExit
cli.say_loading = said
cli.app(["a.png", "-o", "b.png"])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_only_terminals_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, text in ((Terminal(), "loading\r"), (io.StringIO(), "")):
        monkeypatch.setattr(sys, "stderr", stream)
        loading.say_loading()
        assert stream.getvalue() == text
    stream.close()
    loading.say_loading()
    monkeypatch.setattr(sys, "stderr", None)
    loading.say_loading()
