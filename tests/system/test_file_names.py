"""Names that a file system takes for the same or refuses, and wildcards."""

import sys
from pathlib import Path

import pytest
from support.other_system_run import LIGHT, run

from upscaler.errors import UsageError
from upscaler.jobs import plan
from upscaler.options import Options
from upscaler.system import file_names, wildcards

# Prints the names of the planned targets, or the error.
PLAN = """
import sys
from pathlib import Path
from upscaler.errors import UsageError
from upscaler.jobs import plan
from upscaler.options import Options
try:
    jobs = plan(map(Path, sys.argv[2:]), Options(output=sys.argv[1])).jobs
    print("planned", ascii(sorted(job.target.name for job in jobs)))
except UsageError as error:
    print("refused", ascii(str(error)))
"""
COMPOSED, DECOMPOSED = "caf\N{LATIN SMALL LETTER E WITH ACUTE}.png", "cafe\N{COMBINING ACUTE ACCENT}.png"


def put(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [folder / name for name in names]


@pytest.mark.parametrize("names", [("one/a.png", "two/A.png"), ("one/" + COMPOSED, "two/" + DECOMPOSED)])
def test_names_that_linux_tells_apart_are_two_targets(tmp_path: Path, names: tuple[str, str]) -> None:
    jobs = plan(put(tmp_path, *names), Options(output=tmp_path / "out")).jobs
    assert [job.target.name for job in jobs] == [Path(name).name for name in names]
    assert not list(tmp_path.glob(".upscale-*"))


@pytest.mark.skipif(sys.platform != "linux", reason="takes away from Linux what other systems lack")
@pytest.mark.parametrize(
    ("system", "names", "said"),
    [
        ("windows", ("one/a.png", "two/A.png"), "would both be written"),
        ("windows", ("one/" + COMPOSED, "two/" + DECOMPOSED), "planned"),
        ("windows", ("CON.jpg", "b.jpg"), "refuses the name"),
        ("windows", ("12:30.jpg", "b.jpg"), "refuses the name"),
        ("windows", ("console.jpg", "b.jpg"), "planned"),
        ("windows", ("a" * 200 + ".jpg", "b.jpg"), "Windows allows 259 characters"),
        ("macos", ("one/a.png", "two/A.png"), "would both be written"),
        ("macos", ("one/" + COMPOSED, "two/" + DECOMPOSED), "would both be written"),
        ("macos", ("CON.jpg", "12:30.jpg"), "planned"),
    ],
)
def test_names_where_people_are(tmp_path: Path, system: str, names: tuple[str, str], said: str) -> None:
    sources = put(tmp_path, *names)
    target = tmp_path / ("out" * 12)
    assert said in run(system, PLAN, target, *sources, libraries=LIGHT)
    assert not list(tmp_path.glob(".upscale-*"))


def test_a_source_of_another_case_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_names, "are_same", lambda *_: True)
    source = put(tmp_path, "Photo.jpg")
    with pytest.raises(UsageError, match="would be overwritten"):
        plan(source, Options(output=tmp_path / "photo.jpg", overwrite=True))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.jpg", ["a.jpg", "b.jpg"]),
        ("?.png", ["c.png"]),
        ("[a].jpg", ["a.jpg"]),
        ("**/d.jpg", ["deep/d.jpg"]),
        ("[1].jpg", ["[1].jpg"]),  # a file of this name
        ("*.webp", ["*.webp"]),  # nothing: the next step says that it does not exist
    ],
)
def test_wildcards_are_expanded_unless_they_are_a_name(
    tmp_path: Path, pattern: str, found: list[str]
) -> None:
    put(tmp_path, "b.jpg", "a.jpg", "c.png", "[1].jpg", "deep/d.jpg", "1.jpg/x")
    expanded = [str(path.relative_to(tmp_path)) for path in wildcards.expand([tmp_path / pattern])]
    assert [name for name in expanded if name != "1.jpg" and (pattern != "*.jpg" or name[0] != "[")] == found
