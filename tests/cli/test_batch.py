"""The command in Python: ``upscaler.upscale``."""

import inspect
import threading
from pathlib import Path

import pytest
from support.command import run
from support.makers import Ship
from support.media import clip, save

import upscaler
from upscaler import UpscalerError, upscale
from upscaler.errors import UsageError
from upscaler.jobs import Job
from upscaler.results import Message, Progress


@pytest.fixture(autouse=True)
def _models(ship: Ship) -> None:
    ship("fast-photo", 2)
    ship("real-fast", 4)
    ship("balanced-photo", 4)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sources(folder: Path) -> list[Path]:
    save(folder / "photos" / "a.png")
    save(folder / "photos" / "sub" / "b.jpg", seed=1)
    (folder / "photos" / "notes.txt").touch()
    return [folder / "photos", clip(folder / "film.mp4", frames=4, audio=["aac"])]


def test_the_function_writes_what_the_command_writes(tmp_path: Path) -> None:
    inputs = sources(tmp_path)
    run(*inputs, "-o", tmp_path / "command", "--scale", 2, "--crf", 30)
    results = upscale([str(path) for path in inputs], output=str(tmp_path / "python"), scale=2, crf=30)
    assert contents(tmp_path / "python") == contents(tmp_path / "command")
    assert [(result.source.name, result.kind, result.outcome) for result in results] == [
        ("a.png", "still", "done"),
        ("b.jpg", "still", "done"),
        ("film.mp4", "video", "done"),
    ]
    assert all(result.target.is_file() and result.seconds > 0 and result.error is None for result in results)
    assert [result.frames for result in results] == [1, 1, 4]
    assert any("64x48 -> 128x96" in message.text for message in results[2].messages)
    assert results[2].video is not None and results[2].video.frames_in == 4


def test_the_function_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    upscale(sources(tmp_path), output=tmp_path / "out", scale=2, crf=30)
    assert capfd.readouterr() == ("", "")


def test_progress_and_messages_arrive_as_they_arise(tmp_path: Path) -> None:
    progress: list[tuple[str, int, int]] = []
    messages: list[tuple[str, str]] = []

    def on_progress(job: Job, now: Progress) -> None:
        progress.append((job.source.name, now.done, now.total))

    def on_message(job: Job | None, message: Message) -> None:
        messages.append((job.source.name if job else "", message.text))

    film = clip(tmp_path / "film.mp4", frames=3)
    results = upscale(film, scale=2, on_progress=on_progress, on_message=on_message)
    assert progress == [("film.mp4", 1, 3), ("film.mp4", 2, 3), ("film.mp4", 3, 3)]
    assert messages == [("film.mp4", message.text) for message in results[0].messages] != []
    messages.clear()
    upscale(save(tmp_path / "a.png"), scale=2, crf=20, on_message=on_message)
    assert ("", "--crf ignored: no video among the inputs") in messages


def test_every_input_has_a_result(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("not an image")
    save(tmp_path / "a_x2.png")
    inputs = [tmp_path / "bad.png", save(tmp_path / "a.png"), save(tmp_path / "b.png")]
    results = upscale(inputs, scale=2, skip_existing=True)
    outcomes = {result.source.name: result.outcome for result in results}
    assert outcomes == {"bad.png": "failed", "a.png": "skipped", "b.png": "done"}
    (bad,) = [result for result in results if result.outcome == "failed"]
    assert isinstance(bad.error, UpscalerError) and "bad.png" in bad.error_line


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ({"scale": 9, "codec": "h246"}, ["--scale", 9, "--codec", "h246"]),
        ({"overwrite": True, "skip_existing": True}, ["--overwrite", "--skip-existing"]),
        ({"model": "no-such"}, ["--model", "no-such"]),
        ({"output": "other.mp4"}, ["-o", "other.mp4"]),
    ],
)
def test_the_function_raises_what_the_command_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, object], command: list[object]
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a.png")
    with pytest.raises(UpscalerError) as caught:
        upscale("a.png", **arguments)  # type: ignore[arg-type]
    said = run("a.png", *command, code=2)
    assert said.replace("'9'", "9") == f"error: {caught.value}\n"  # the command line has texts
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.png"]


def test_unknown_arguments_name_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown option 'scal' \(did you mean 'scale'\?\)"):
        upscale(save(tmp_path / "a.png"), scal=2)  # type: ignore[call-arg]


def test_a_second_call_at_the_same_time_is_an_error(tmp_path: Path) -> None:
    refused: list[UpscalerError] = []
    inside, go_on = threading.Event(), threading.Event()

    def second() -> None:
        inside.wait(30)
        try:
            upscale(tmp_path / "b.png", scale=2)
        except UpscalerError as error:
            refused.append(error)
        go_on.set()

    def wait(_job: Job, _progress: Progress) -> None:
        inside.set()
        assert go_on.wait(30)

    save(tmp_path / "a.png"), save(tmp_path / "b.png")
    thread = threading.Thread(target=second)
    thread.start()
    results = upscale(tmp_path / "a.png", scale=2, on_progress=wait)
    thread.join()
    assert [result.outcome for result in results] == ["done"]
    assert [str(error) for error in refused] == [
        "another upscale is running in this process (wait for it, or start another process)"
    ]
    assert upscale(tmp_path / "b.png", scale=2)[0].outcome == "done"  # it is free again


def test_an_exception_in_a_callback_ends_the_batch(tmp_path: Path) -> None:
    def stop(_job: Job, _progress: Progress) -> None:
        raise LookupError("enough")

    inputs = [save(tmp_path / "a.png"), save(tmp_path / "b.png")]
    with pytest.raises(LookupError, match="enough"):
        upscale(inputs, scale=2, on_progress=stop)
    assert not list(tmp_path.glob("*_x2.png"))
    assert len(upscale(inputs, scale=2)) == 2


def test_an_interrupt_is_raised(tmp_path: Path) -> None:
    def interrupt(_job: Job, _progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upscale(save(tmp_path / "a.png"), scale=2, on_progress=interrupt)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.png"]


def test_the_function_takes_the_options_of_the_command() -> None:
    from upscaler.option_fields import options_of
    from upscaler.options import Options

    names = list(inspect.signature(upscale).parameters)
    assert names[:4] == ["inputs", "output", "model", "scale"]
    assert set(names) == {each.name for each in options_of(Options)} | {"inputs", "on_progress", "on_message"}
    assert "upscale" in upscaler.__all__
