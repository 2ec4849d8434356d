"""A batch on an executor ends as it does in one process, also when workers are lost."""

import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Self

import pytest
from support.command import LENGTH
from support.interrupted import moving_clip
from support.media import save

from upscaler.batch import batch as batches
from upscaler.batch import shared_video
from upscaler.batch.batch import Batch, upscale
from upscaler.batch.driver import Driver
from upscaler.batch.observer import Observer
from upscaler.batch.result import Result
from upscaler.batch.task_runner import TaskRunner
from upscaler.batch.worker_places import like_a_worker
from upscaler.errors import UsageError
from upscaler.executors.executor import Finished, Joined, Lost, Report, Told
from upscaler.executors.local_processes import Place
from upscaler.executors.tasks import JobGroup, Task, VideoPlanning, VideoRange
from upscaler.jobs import Job, Kind
from upscaler.options import Options
from upscaler.remote.files import Files
from upscaler.results import Done
from upscaler.video import mux, segments, verify
from upscaler.video.frame_index import FrameIndex
from upscaler.video.survey import Survey
from upscaler.video_pipeline import OpenVideo

PICTURES = 9
_PATIENCE_S = 60


@pytest.fixture(autouse=True)
def _one_processor() -> Iterator[None]:
    """As each worker has: x264 writes the number of its threads into its files."""
    with like_a_worker(Place("this process", "cpu", 1)):
        yield


class Worker:
    """An executor of two places in this process.

    Args:
        loses: Whether the worker is lost with a task; then one event of it is told before.
    """

    slots = 2

    def __init__(self, loses: Callable[[Task], bool] = lambda _: False, crashed: bool = False) -> None:
        self._loses, self._crashed = loses, crashed
        self._waiting: deque[tuple[int, Task]] = deque()
        self.reports: deque[Report] = deque()
        self._runners = [TaskRunner(Place(f"worker {number}", "cpu", 1)) for number in (1, 2)]
        self.tasks: list[Task] = []
        self.lost = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.clear()

    def submit(self, number: int, task: Task) -> None:
        self._waiting.append((number, task))

    def next_report(self, timeout_s: float) -> Report | None:
        """Run the task submitted last first, so that jobs end out of order."""
        if not self.reports and self._waiting:
            number, task = self._waiting.pop()
            self.tasks.append(task)
            told: list[Report] = []
            if self._loses(task):
                self.lost += 1
                self.reports.append(Lost(number, "worker 1", "SIGKILL", self._crashed))
            else:
                runner = self._runners[number % 2]
                result = runner.run(task, lambda event: told.append(Told(number, event)))
                self.reports += [*told, Finished(number, result)]
        return self.reports.popleft() if self.reports else None


class Notes(Observer):
    def __init__(self) -> None:
        self.begun: list[str] = []
        self.results: list[Result] = []

    def begin(self, job: object) -> None:
        self.begun.append(job.source.name)

    def end(self, result: Result) -> None:
        assert self.begun[-1] == result.source.name
        self.results.append(result)


def run(
    monkeypatch: pytest.MonkeyPatch, worker: Worker, inputs: list[Path], output: Path, **options: object
) -> Notes:
    monkeypatch.setattr(batches, "executor_for", lambda *_: worker)
    notes = Notes()
    with Batch(inputs, Options(output, workers=2, **options)) as batch:
        batch.run(notes)
    return notes


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return [save(tmp_path / f"{number}.png", seed=number) for number in range(PICTURES)]


def test_pictures_are_those_of_one_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photos: list[Path], tiny_weights: Path
) -> None:
    broken = tmp_path / "4.png"
    broken.write_bytes(b"not a picture")
    upscale(photos, tmp_path / "alone", model=tiny_weights)
    notes = run(monkeypatch, worker := Worker(), photos, tmp_path / "shared", model=tiny_weights)
    assert [result.source for result in notes.results] == photos
    assert [result.outcome for result in notes.results] == ["done"] * 4 + ["failed"] + ["done"] * 4
    assert "4.png" in notes.results[4].error_line
    for path in photos:
        if path != broken:
            assert (tmp_path / "shared" / path.name).read_bytes() == (
                tmp_path / "alone" / path.name
            ).read_bytes()
    made = Counter(worker for result in notes.results if result.done for worker in result.done.made_by)
    assert set(made) == {"worker 1", "worker 2"} and made.total() == PICTURES - 1
    assert all(isinstance(task, JobGroup) for task in worker.tasks)


def names(task: Task) -> list[str]:
    assert isinstance(task, JobGroup)
    return [job.source.name for job in task.jobs]


@pytest.mark.parametrize(("crashed", "times"), [(True, 2), pytest.param(False, 4, marks=pytest.mark.slow)])
def test_a_group_is_split_until_the_bad_file_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_weights: Path, crashed: bool, times: int
) -> None:
    photos = [save(tmp_path / f"{number:02}.png", seed=number) for number in range(32)]
    worker = Worker(lambda task: "02.png" in names(task), crashed)
    notes = run(monkeypatch, worker, photos, tmp_path / "out", model=tiny_weights)
    failed = [result for result in notes.results if result.outcome != "done"]
    assert [result.source.name for result in failed] == ["02.png"]
    assert "SIGKILL" in failed[0].error_line
    alone = [task for task in worker.tasks if names(task) == ["02.png"]]
    assert len(alone) == times
    assert max(len(names(task)) for task in worker.tasks) == 4  # of 32, for two workers


def test_lost_work_is_given_to_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photos: list[Path], tiny_weights: Path
) -> None:
    lost: list[Task] = []
    worker = Worker(lambda task: len(lost) < 3 and not lost.append(task))
    notes = run(monkeypatch, worker, photos, tmp_path / "out", model=tiny_weights)
    assert {result.outcome for result in notes.results} == {"done"}
    assert len(notes.results) == PICTURES
    assert worker.lost == 3


def test_an_interrupt_ends_the_job_whose_turn_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photos: list[Path], tiny_weights: Path
) -> None:
    worker = Worker(lambda task: bool(worker.tasks[2:]) and signal.raise_signal(signal.SIGINT))
    notes = run(monkeypatch, worker, photos, tmp_path / "out", model=tiny_weights)
    assert notes.results[-1].outcome == "interrupted"
    assert not list(tmp_path.glob("out/.*"))


def test_what_workers_cannot_do_is_refused(tmp_path: Path, photos: list[Path]) -> None:
    for options, text in [
        ({"workers": 2, "devices": "cpu"}, "exclude each other"),
        ({"device": "cpu", "devices": "cpu,cpu"}, "exclude each other"),
        ({"devices": "all,cpu"}, "all, or a list"),
        ({"devices": "gpu"}, "must be all, or devices"),
        ({"workers": 0}, "at least 1"),
    ]:
        with pytest.raises(UsageError, match=text):
            Options(tmp_path, **options)


@pytest.mark.parametrize("strict", [True, False])
def test_devices_that_differ_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photos: list[Path], tiny_weights: Path, strict: bool
) -> None:
    named = iter(["A100", "H200"])
    monkeypatch.setattr("upscaler.batch.worker_places.devices.name", lambda _: next(named))
    options = Options(tmp_path / "out", model=tiny_weights, devices="cpu,cpu", strict_plan=strict)
    if strict:
        with pytest.raises(UsageError, match=r"--strict-plan: the devices differ \(A100, H200\)"):
            Batch(photos, options)
        return
    with Batch(photos, options) as batch:
        assert any("A100, H200" in message.text and "last bit" in message.text for message in batch.messages)


@pytest.mark.parametrize("strict", [True, False])
def test_devices_of_a_cluster_are_compared_when_workers_join(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photos: list[Path], tiny_weights: Path, strict: bool
) -> None:
    worker = Worker()
    worker.reports += [Joined(gpu) for gpu in ("A100", "A100", "H200")]
    how = {"model": tiny_weights, "strict_plan": strict}
    if strict:
        with pytest.raises(UsageError, match=r"--strict-plan: the devices differ \(A100, H200\)"):
            run(monkeypatch, worker, photos, tmp_path / "out", **how)
        assert not worker.tasks
        return
    notes = run(monkeypatch, worker, photos, tmp_path / "out", **how)
    said = [message.text for result in notes.results for message in result.messages]
    assert sum("the devices differ (A100, H200)" in text for text in said) == 1


def test_devices_are_compared_when_the_current_job_has_not_begun(tmp_path: Path) -> None:
    jobs = [Job(tmp_path / name, tmp_path / f"{name}.png", "still") for name in ("current", "overtakes")]
    files = Files([], Options())
    driver = Driver(jobs, Options(), Worker(), Observer(), files, lambda _: None, lambda *_: None)
    begun = driver._begin(jobs[1])
    for gpu in ("A100", "H200", "L40"):
        driver._take(Joined(gpu))
    assert ["A100, H200" in message.text for message in begun.work.messages] == [True]


@pytest.mark.parametrize("workers", [1, None])
def test_strict_plan_is_ignored_without_workers_only(
    tmp_path: Path, photos: list[Path], tiny_weights: Path, workers: int | None
) -> None:
    options = Options(tmp_path / "out", model=tiny_weights, workers=workers, strict_plan=True)
    with Batch(photos, options) as batch:
        said = [message.text for message in batch.messages]
    assert any("--strict-plan ignored" in text for text in said) is (workers is None)


FRAMES = 5 * LENGTH + 3


@pytest.fixture
def _short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_FRAMES_MIN", LENGTH)
    monkeypatch.setattr(segments, "_FRAMES_MAX", LENGTH)


def video_alone(tmp_path: Path, weights: Path, **encoder: object) -> tuple[Path, bytes]:
    """A video, and what one process makes of it."""
    source = moving_clip(tmp_path / "in.mp4", frames=FRAMES, **encoder)
    upscale(source, tmp_path / "alone.mp4", model=weights, preset="ultrafast")
    return source, (tmp_path / "alone.mp4").read_bytes()


@pytest.mark.usefixtures("_short_segments")
@pytest.mark.parametrize(
    "part",
    [{}, pytest.param({"start_s": 0.3, "end_s": 1.3}, marks=pytest.mark.slow)],
    ids=["whole", "part"],
)
def test_a_video_is_that_of_one_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_weights: Path, part: dict[str, float]
) -> None:
    source = moving_clip(tmp_path / "in.mp4", "libx264", {"g": "5", "bf": "2"}, frames=FRAMES)
    how = {"model": tiny_weights, "preset": "ultrafast", **part}
    alone = upscale(source, tmp_path / "alone.mp4", **how)
    notes = run(monkeypatch, worker := Worker(), [source], tmp_path / "out.mp4", **how)
    (result,) = notes.results
    assert result.error is None
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "alone.mp4").read_bytes()
    assert isinstance(worker.tasks[0], VideoPlanning)
    assert len(worker.tasks) > 4 and all(isinstance(task, VideoRange) for task in worker.tasks[1:])
    assert result.done and result.video and alone[0].done and alone[0].video
    assert [each.text for each in result.messages] == [each.text for each in alone[0].messages]
    assert set(result.done.made_by) == {"worker 1", "worker 2"}
    assert sum(result.done.made_by.values()) == result.frames == alone[0].frames
    assert result.video.seconds_in == alone[0].video.seconds_in
    assert result.video.frames_decoded <= alone[0].frames + 6 * len(worker.tasks)
    assert not list(tmp_path.glob("*.upscaling"))


@pytest.mark.usefixtures("_short_segments")
def test_a_range_whose_worker_is_lost_is_made_by_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_weights: Path
) -> None:
    source, alone = video_alone(tmp_path, tiny_weights)
    lost: list[Task] = []
    worker = Worker(lambda task: len(lost) < 3 and not lost.append(task))
    how = {"model": tiny_weights, "preset": "ultrafast"}
    notes = run(monkeypatch, worker, [source], tmp_path / "out.mp4", **how)
    assert (tmp_path / "out.mp4").read_bytes() == alone
    assert notes.results[0].done and sum(notes.results[0].done.made_by.values()) == FRAMES
    worker = Worker(lambda task: isinstance(task, VideoRange) and task.first == 2, crashed=True)
    notes = run(monkeypatch, worker, [source], tmp_path / "again.mp4", **how)
    assert notes.results[0].outcome == "failed" and "crashed on" in notes.results[0].error_line
    assert (tmp_path / "again.mp4.upscaling").is_dir()
    notes = run(monkeypatch, Worker(), [source], tmp_path / "again.mp4", **how)  # resumes
    assert (tmp_path / "again.mp4").read_bytes() == alone
    assert notes.results[0].video and notes.results[0].video.frames_resumed > 0


@pytest.mark.slow
@pytest.mark.usefixtures("_short_segments")
def test_an_interrupted_video_keeps_its_segments(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_weights: Path
) -> None:
    source, alone = video_alone(tmp_path, tiny_weights)
    how = {"model": tiny_weights, "preset": "ultrafast"}
    worker = Worker(lambda task: bool(worker.tasks[3:]) and signal.raise_signal(signal.SIGINT))
    notes = run(monkeypatch, worker, [source], tmp_path / "out.mp4", **how)
    assert notes.results[-1].outcome == "interrupted"
    assert any("kept" in message.text for message in notes.results[-1].messages)
    (result,) = upscale(source, tmp_path / "out.mp4", **how)  # alone
    assert result.video and result.video.frames_resumed == 2 * LENGTH
    assert (tmp_path / "out.mp4").read_bytes() == alone


@pytest.mark.usefixtures("_short_segments")
def test_surveying_and_merging_hold_up_no_other_video(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_weights: Path
) -> None:
    """The second one is surveyed once the first one is merged; that waits for a range of the second one."""
    first, second = (moving_clip(tmp_path / f"{name}.mp4", frames=FRAMES) for name in ("first", "second"))
    merging, made, waited = threading.Event(), threading.Event(), list[bool]()
    surveyed, finish_video = Batch._surveyed, shared_video.finish_video

    def survey(batch: Batch, job: Job) -> Survey | None:
        if job.source == second:
            waited.append(merging.wait(_PATIENCE_S))
        return surveyed(batch, job)

    def finish(video: OpenVideo, *rest: object) -> Done:
        if video.job.source == first:
            merging.set()
            waited.append(made.wait(_PATIENCE_S))
        return finish_video(video, *rest)

    monkeypatch.setattr(Batch, "_surveyed", survey)
    monkeypatch.setattr(shared_video, "finish_video", finish)
    worker = Worker(
        lambda task: isinstance(task, VideoRange) and task.job.source == second and bool(made.set())
    )
    how = {"model": tiny_weights, "preset": "ultrafast"}
    notes = run(monkeypatch, worker, [first, second], tmp_path / "out", **how)
    assert waited == [True, True]
    assert [result.outcome for result in notes.results] == ["done", "done"]


@pytest.mark.usefixtures("_short_segments")
@pytest.mark.parametrize(("step", "name"), [(mux, "segment_packets"), (verify, "_frame_times")])
def test_an_interrupt_ends_merging(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_weights: Path, step: ModuleType, name: str
) -> None:
    source = moving_clip(tmp_path / "in.mp4", frames=FRAMES)
    real = getattr(step, name)

    def slowly(*arguments: object, **named: object) -> Iterator[object]:
        item = next(real(*arguments, **named))
        yield item
        signal.raise_signal(signal.SIGINT)  # the main thread hears it
        for _ in range(100 * _PATIENCE_S):
            time.sleep(0.01)
            yield item
        ran_out.append(name)

    ran_out: list[str] = []
    monkeypatch.setattr(step, name, slowly)
    how = {"model": tiny_weights, "preset": "ultrafast"}
    (result,) = run(monkeypatch, Worker(), [source], tmp_path / "out.mp4", **how).results
    assert result.outcome == "interrupted"
    assert any("kept 6 segments" in message.text for message in result.messages)
    assert not ran_out  # or the merge would have ended by itself: with a file that has too many frames
    assert not any(thread.name == "merge" for thread in threading.enumerate())
    assert not (tmp_path / "out.mp4").exists()
    assert not (tmp_path / ".out.mp4.upscaling.lock").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("_short_segments")
@pytest.mark.parametrize("doubt", ["index", "samples", "no index"])
def test_what_cannot_be_cut_is_made_by_one_worker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_weights: Path, doubt: str
) -> None:
    encoder = {"options": {"g": "1000", "sc_threshold": "0"}} if doubt == "no index" else {}
    source, alone = video_alone(tmp_path, tiny_weights, **encoder)
    if doubt == "index":  # a frame that does not come
        read = FrameIndex.from_json
        monkeypatch.setattr(
            FrameIndex, "from_json", lambda content: replace(read(content), pts=[*read(content).pts, 10**6])
        )
    elif doubt == "samples":
        monkeypatch.setattr("upscaler.frames.video_range.digest", lambda frame: str(id(frame)))
    how = {"model": tiny_weights, "preset": "ultrafast"}
    notes = run(monkeypatch, worker := Worker(), [source], tmp_path / "out.mp4", **how)
    assert (tmp_path / "out.mp4").read_bytes() == alone
    assert isinstance(worker.tasks[-1], JobGroup)
    assert any("one worker makes it" in message.text for message in notes.results[0].messages)


@pytest.mark.slow
@pytest.mark.usefixtures("_short_segments")
@pytest.mark.parametrize("strict", [True, False])
def test_another_device_is_named_or_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_weights: Path, strict: bool
) -> None:
    source, alone = video_alone(tmp_path, tiny_weights)
    worker = Worker()
    submit = worker.submit

    def elsewhere(number: int, task: Task) -> None:
        if isinstance(task, VideoRange):
            task = replace(task, execution={**task.execution, "device": "another"})
        submit(number, task)

    monkeypatch.setattr(worker, "submit", elsewhere)
    how = {"model": tiny_weights, "preset": "ultrafast", "strict_plan": strict}
    (result,) = run(monkeypatch, worker, [source], tmp_path / "out.mp4", **how).results
    if strict:
        assert result.outcome == "failed" and "and another in the plan" in result.error_line
    else:
        assert (tmp_path / "out.mp4").read_bytes() == alone
        assert sum("last bit" in message.text for message in result.messages) == 1


@pytest.mark.parametrize(("group_px", "most"), [(1, 1), (2 * 24 * 32, 2), (10**9, 8)])
def test_groups_have_a_number_of_pixels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, group_px: int, most: int
) -> None:
    source = save(tmp_path / "a.png", 24, 32)
    jobs = [Job(source, tmp_path / f"{number}.png", "still") for number in range(64)]
    monkeypatch.setattr("upscaler.batch.driver._GROUP_PX", group_px)
    submitted: list[Task] = []
    worker = Worker()
    monkeypatch.setattr(worker, "submit", lambda _, task: submitted.append(task))
    files = Files([], Options())
    driver = Driver(jobs, Options(), worker, Observer(), files, lambda _: None, lambda *_: None)
    driver._feed()
    assert len(submitted) == 2 * worker.slots
    assert max(len(names(task)) for task in submitted) == most


@pytest.mark.parametrize("kind", ["video", "still"])
def test_what_others_have_made_is_not_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: Kind
) -> None:
    """More skipped jobs in front of a video than are looked at when a video is sought."""
    monkeypatch.setattr("upscaler.batch.driver._AHEAD_JOBS", 0)
    skips = {"replaces": False, "is_skippable": True}
    jobs = [Job(tmp_path / f"{number}", tmp_path / f"{number}.mkv", kind, **skips) for number in range(3)]
    for job in jobs:
        job.target.touch()
    jobs.append(Job(tmp_path / "3", tmp_path / "3.mkv", "video", **skips))
    surveyed: list[Job] = []
    files = Files([], Options())
    driver = Driver(jobs, Options(), worker := Worker(), Observer(), files, surveyed.append, lambda *_: None)
    monkeypatch.setattr(worker, "submit", lambda number, _: worker.reports.append(Lost(number, "", "", True)))
    driver.run()
    assert surveyed == jobs[3:]
