"""Images of a batch overlap, and everything that is seen of it is as if they had run one after the other."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from support import phone_files
from support.command import files_below, run
from support.media import clip, save
from support.pictures import photograph

from upscaler import UpscalerError, helper_process, upscale
from upscaler.batch import overlapped_stills
from upscaler.images import still_helper
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.results import Message, Progress
from upscaler.system import processors

Overlap = Callable[[bool], None]


@pytest.fixture
def overlap(monkeypatch: pytest.MonkeyPatch) -> Overlap:
    """Has images of a batch overlap on two processors, or not."""

    def switch(on: bool) -> None:
        monkeypatch.setattr(processors, "count", lambda: 2)
        monkeypatch.setattr(overlapped_stills, "_WORTHWHILE_BYTES", 0 if on else 10**12)

    switch(True)
    return switch


def every_kind(folder: Path) -> Path:
    """Images of every kind, good and bad, and a clip among them."""
    deep: Any = photograph(24, 32).astype(np.uint16) * 257
    save(folder / "a.png")
    save(folder / "b.jpg")
    (folder / "c.png").write_text("not an image")
    frames = [Image.fromarray(photograph(24, 32, seed)) for seed in range(3)]
    frames[0].save(folder / "d.gif", save_all=True, append_images=frames[1:])
    tifffile.imwrite(folder / "e.tif", np.stack([deep, deep]), photometric="rgb")
    clip(folder / "f.mp4", frames=2)
    frames[0].convert("RGBA").save(folder / "g.webp", lossless=True)
    content = save(folder / "h.jpg", 96, 96).read_bytes()
    (folder / "h.jpg").write_bytes(content[: len(content) * 2 // 3])  # read in part, with a warning
    tifffile.imwrite(folder / "i.tif", deep, photometric="rgb")
    (folder / "j.jpg").write_bytes(phone_files.ultra_hdr())
    (folder / "z").mkdir()
    save(folder / "z" / "k.png", seed=1)
    return folder


def test_all_is_as_if_they_ran_one_after_the_other(
    tiny_weights: Path, tmp_path: Path, overlap: Overlap
) -> None:
    photos, seen = every_kind(tmp_path / "in"), {}
    for on in (False, True):
        overlap(on)
        out, report = tmp_path / "out", tmp_path / "report"
        out.mkdir()
        (out / "z").touch()  # where a folder has to be made
        options = ("--model", tiny_weights, "--scale", 2, "--quality", 80, "--keep-dates")
        said = run(photos, "-o", out, *options, "--json", report, code=1)
        seconds = re.compile(r'\(\d+\.\d s\)|\d+\.\d s|"seconds": [\d.]+|"frames_per_second": [\d.]+')
        lines = [seconds.sub("", text) for text in (said, report.read_text())]
        files = {
            name: ((out / name).read_bytes(), (out / name).stat().st_mtime_ns)
            for name in files_below(out)
            if name != "z"
        }
        seen[on] = lines, files
        out.rename(tmp_path / f"out {on}")
    assert seen[True] == seen[False]
    (said, report_lines), files = seen[True]
    assert report_lines.count("\n") == 11 and said.count("error: ") == 2 and "warning: " in said
    assert len(files) == 9 and "'c.png'" not in files


def test_results_are_named_in_their_order(tiny_weights: Path, tmp_path: Path, overlap: Overlap) -> None:
    """Also when a later, smaller image is written first."""
    folder = tmp_path / "in"
    for number, side_px in enumerate((700, 24, 24, 24)):
        save(folder / f"{number}.png", side_px, side_px)
    events: list[str] = []
    upscale(
        folder,
        tmp_path / "out",
        tiny_weights,
        2,
        on_progress=lambda job, progress: events.append(f"{job.source.stem} {progress.done}"),
        on_message=lambda job, message: events.append(f"{job.source.stem}: {message.text}" if job else ""),
    )
    assert [event[0] for event in events] == sorted(event[0] for event in events)
    assert {event[0] for event in events} == set("0123")
    assert files_below(tmp_path / "out") == [f"{number}.png" for number in range(4)]


def test_an_interrupt_keeps_what_was_reported_and_nothing_else(
    tiny_weights: Path, tmp_path: Path, overlap: Overlap
) -> None:
    for name in "abcdef":
        save(tmp_path / "in" / f"{name}.png", 200, 200)
    reported: list[str] = []

    def stop(job: Job | None, _message: Message) -> None:
        assert job
        reported.append(job.source.name)
        if job.source.name == "c.png":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upscale(tmp_path / "in", tmp_path / "out", tiny_weights, 2, on_message=stop)
    assert files_below(tmp_path / "out") == ["a.png", "b.png"]


def test_an_interrupt_while_an_image_is_packed_for_its_helper_leaves_no_file(
    tiny_weights: Path, tmp_path: Path, overlap: Overlap, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(still_helper, "write_request", stop)
    for name in "ab":
        save(tmp_path / "in" / f"{name}.png")
    with pytest.raises(KeyboardInterrupt):
        upscale(tmp_path / "in", tmp_path / "out", tiny_weights, 2)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_image_that_memory_cannot_hold_twice_is_read_here(
    tiny_weights: Path, tmp_path: Path, overlap: Overlap, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(count: int) -> bytearray:
        if count > 10_000:
            raise MemoryError
        return bytearray(count)

    monkeypatch.setattr(helper_process, "bytearray", too_large, raising=False)
    for name, side_px in (("a", 16), ("b", 200), ("c", 16)):
        save(tmp_path / "in" / f"{name}.png", side_px, side_px)
    results = upscale(tmp_path / "in", tmp_path / "out", tiny_weights, 2)
    assert [result.outcome for result in results] == ["done"] * 3
    assert files_below(tmp_path / "out") == ["a.png", "b.png", "c.png"]


def test_a_crash_names_its_file_and_costs_no_other(
    tiny_weights: Path, tmp_path: Path, overlap: Overlap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(still_helper, "MODULE", "support.doomed_stills")
    for name in ("a", "read-crash", "write-crash", "z"):
        save(tmp_path / "in" / f"{name}.png")
    results = upscale(tmp_path / "in", tmp_path / "out", tiny_weights, 2)
    assert [result.outcome for result in results] == ["done", "failed", "failed", "done"]
    read, written = results[1:3]
    assert (
        read.error_line == f"cannot read '{read.source}': its decoder crashes (SIGABRT) (the file is damaged)"
    )
    crash = f"cannot write '{written.target}': its encoder crashes (SIGABRT)"
    assert written.error_line == f"'{written.source}': {crash}"
    assert isinstance(written.error, UpscalerError)
    assert files_below(tmp_path / "out") == ["a.png", "z.png"]


def test_without_helpers_the_work_is_done_here(
    tiny_weights: Path, tmp_path: Path, overlap: Overlap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(still_helper, "MODULE", "support.does_not_exist")
    for name in "abc":
        save(tmp_path / "in" / f"{name}.png")
    results = upscale(tmp_path / "in", tmp_path / "out", tiny_weights, 2)
    assert [result.outcome for result in results] == ["done"] * 3
    assert files_below(tmp_path / "out") == ["a.png", "b.png", "c.png"]


def test_images_of_one_size_go_through_the_network_together(
    tiny_weights: Path, tmp_path: Path, overlap: Overlap, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, width in enumerate((40, 40, 40, 40, 48, 40)):
        save(tmp_path / "in" / f"{number}.png", 30, width, seed=number)
    together: list[int] = []
    real, waiting = Upscaler.images, overlapped_stills.OverlappedStills.waiting

    def images(engine: Upscaler, sources: Any, *arguments: Any) -> Any:  # noqa: ANN401 - passed on
        together.append(len(sources))
        return real(engine, sources, *arguments)

    def wait(overlapped: Any, job: Job) -> Any:  # noqa: ANN401 - likewise
        if job in overlapped._reads:
            overlapped._reads[job].answer.exception()  # so that it does not depend on the speed of reading
        return waiting(overlapped, job)

    monkeypatch.setattr(Upscaler, "images", images)
    monkeypatch.setattr(overlapped_stills.OverlappedStills, "waiting", wait)
    progress: list[tuple[str, int, int]] = []

    def note(job: Job, now: Progress) -> None:
        progress.append((job.source.stem, now.done, now.total))

    results = upscale(tmp_path / "in", tmp_path / "out", tiny_weights, 2, batch=3, on_progress=note)
    assert [result.outcome for result in results] == ["done"] * 6 and together == [3]
    assert progress == [(str(number), done, done) for number in range(6) for done in (0, 1)]
    engine = Upscaler(tiny_weights, 2)
    for number in range(6):
        alone = engine.image(np.asarray(Image.open(tmp_path / f"in/{number}.png"))).astype(int)
        written = np.asarray(Image.open(tmp_path / f"out/{number}.png"))
        assert np.abs(alone - written).max() <= 1
