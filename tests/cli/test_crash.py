"""Native code that crashes in the middle of a film costs that film alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import LENGTH, files_below
from support.media import clip, save

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, a crash ends the batch"),
]

# Once the command has loaded the reader of films, makes it crash at 0.7 s of some. Nothing is loaded before:
# a process that has threads forks no worker.
CRASHING = f"""
import ctypes, importlib.abc, importlib.util, sys
class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name != "upscaler.still_pipeline":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        self.loader, spec.loader = spec.loader, self
        return spec
    def create_module(self, spec):
        return self.loader.create_module(spec)
    def exec_module(self, module):
        self.loader.exec_module(module)
        from upscaler.video import reader, segments
        segments._FRAMES_MIN = segments._FRAMES_MAX = {LENGTH}
        whole = reader.VideoReader._as_frame
        def as_frame(self, frame):
            if self.path.name.startswith("doomed") and frame.pts * frame.time_base > 0.7:
                ctypes.string_at(0)
            return whole(self, frame)
        reader.VideoReader._as_frame = as_frame
        from upscaler.batch import overlapped_stills
        overlapped_stills._WORTHWHILE_BYTES, overlapped_stills.processors.count = 0, lambda: 2
        begin = module.begin_still
        def begin_still(job, *arguments):
            if job.source.name == "doomed.png":
                ctypes.string_at(0)
            return begin(job, *arguments)
        module.begin_still = begin_still
sys.meta_path.insert(0, Finder())
from upscaler.__main__ import main
main()
"""


def test_the_batch_goes_on_after_a_crash(tmp_path: Path, tiny_weights: Path) -> None:
    folder = tmp_path / "in"
    sources = [
        save(folder / "a.png", 16, 16),
        clip(folder / "b.mp4", frames=3),
        clip(folder / "doomed.mp4", frames=30),
        clip(folder / "e.mp4", frames=3),
    ]
    (folder / "f.png").write_text("no image")
    report = tmp_path / "report.jsonl"
    command = [
        sys.executable,
        "-c",
        CRASHING,
        str(folder),
        "-o",
        str(tmp_path / "out"),
        "--json",
        str(report),
    ]
    command += ["--model", str(tiny_weights), "--precision", "fp32"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"error: the program crashed on '{sources[2]}' (SIGSEGV) (the file may be damaged)" in done.stderr
    assert "3 of 5 files, 7 frames" in done.stderr and "2 failed" in done.stderr
    assert "Traceback" not in done.stderr
    results = [json.loads(line) for line in report.read_text().splitlines()]
    assert [Path(each["source"]).name for each in results] == [
        "a.png", "b.mp4", "doomed.mp4", "e.mp4", "f.png"
    ]  # fmt: skip
    assert [each["outcome"] for each in results] == ["done", "done", "failed", "done", "failed"]
    kept = [name for name in files_below(tmp_path / "out") if "doomed" in name]
    assert {Path(name).name for name in kept} >= {"job.json", "segment-000000.json", "segment-000000.mp4"}
    assert not [name for name in kept if ".part" in name or name.endswith(".lock")]
    # Without the fault, the same film goes on where it was.
    fixed = [each.replace("string_at(0)", "string_at(b'a')") for each in [*command, "--skip-existing"]]
    again = subprocess.run(fixed, capture_output=True, text=True, check=False)
    assert "resuming after" in again.stderr
    assert files_below(tmp_path / "out") == ["a.png", "b.mp4", "doomed.mp4", "e.mp4"]


def test_a_crash_on_a_later_image_is_not_blamed_on_the_one_that_is_being_written(
    tmp_path: Path, tiny_weights: Path
) -> None:
    folder = tmp_path / "in"
    save(folder / "a.png", 700, 700)
    for name in ("b", "doomed", "z"):
        save(folder / f"{name}.png")
    command = [sys.executable, "-c", CRASHING, str(folder), "-o", str(tmp_path / "out")]
    command += ["--model", str(tiny_weights), "--precision", "fp32"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"error: the program crashed on '{folder / 'doomed.png'}' (SIGSEGV)" in done.stderr
    assert "3 of 4 files, 3 frames" in done.stderr and "1 failed" in done.stderr
    assert files_below(tmp_path / "out") == ["a.png", "b.png", "z.png"]
