"""Libraries that guess what a file is may only choose among the formats that we name."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("upscaler", "models", "trainer", "tools")
OPENS_VIDEO = "upscaler/video/demux.py"


@functools.cache
def trees() -> dict[str, ast.Module]:
    """Every source file, parsed; the links inside upscaler/ are not followed."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    named = {path.relative_to(ROOT).as_posix(): path for path in paths}
    return {
        name: ast.parse(path.read_text(encoding="utf-8"))
        for name, path in named.items()
        if not name.startswith(("upscaler/models/", "upscaler/trainer/"))
    }


def calls(function: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call of ``module.function``, and the place of it."""
    for name, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == function:
                yield f"{name}:{node.lineno}", node


def test_pillow_is_given_the_formats() -> None:
    found = dict(calls("Image.open"))
    assert len(found) > 5
    without = [
        place for place, call in found.items() if "formats" not in {each.arg for each in call.keywords}
    ]
    assert without == []


def test_ffmpeg_is_given_the_containers() -> None:
    """One place opens videos, from a list, and numbered images; elsewhere it is told the container."""
    readers = {
        place: call
        for place, call in calls("av.open")
        if not (len(call.args) > 1 and isinstance(call.args[1], ast.Constant) and call.args[1].value == "w")
    }
    named = {
        place
        for place, call in readers.items()
        if any(each.arg == "format" and isinstance(each.value, ast.Constant) for each in call.keywords)
        and ast.unparse(call.args[0]) == "file"
    }
    assert [place.partition(":")[0] for place in sorted(set(readers) - named)] == [OPENS_VIDEO, OPENS_VIDEO]
    assert "INPUT_OPTIONS" in (ROOT / OPENS_VIDEO).read_text(encoding="utf-8")


def test_opencv_reads_no_file_by_itself() -> None:
    assert [place for place, _ in calls("cv2.imread")] == []
