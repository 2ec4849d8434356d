"""Type checkers know the arguments that are derived from options."""

from pathlib import Path

import pytest

USES = """
from upscaler import Upscaler, upscale

upscale(["photos/", "film.mp4"], output="out/", scale=2, start_s=1.5, size_px=(640, 480))
Upscaler("fast", 2, precision="fp32")
upscale("a.png", scale="2")
upscale("a.png", scal=2)
upscale("a.png", on_progress=print, on_message=lambda job, message: message.severity.nothing)
Upscaler("fast", 2, tile_px=2.5)
reveal_type(upscale("a.png")[0].messages[0].text)
"""


@pytest.mark.slow
def test_wrong_arguments_are_found_by_mypy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])  # where mypy finds the package
    mypy = pytest.importorskip("mypy.api")
    said, complaint, _ = mypy.run(
        ["--config-file=", "--strict", "--ignore-missing-imports", "--no-error-summary", "-c", USES]
    )
    assert not complaint
    lines = [line for line in said.splitlines() if line.startswith("<string>:") and ': note: "' not in line]
    assert [(int(line.split(":")[1]), line.rsplit("[")[-1].rstrip("]")) for line in lines[:-1]] == [
        (6, "arg-type"),
        (7, "call-arg"),
        (8, "union-attr"),
        (9, "arg-type"),
    ], said
    assert lines[-1] == '<string>:10: note: Revealed type is "str"'
