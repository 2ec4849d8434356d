"""Several runs and programs write into one folder: nothing is replaced without --overwrite."""

import sys
from pathlib import Path

import pytest
from PIL import Image
from support.command import files_below
from support.media import clip, save
from support.pictures import photograph

from upscaler import atomic, upscale
from upscaler.jobs import Job
from upscaler.results import Progress
from upscaler.resume.job_folder import JobFolder

needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links take a privilege on Windows")


def source_of(kind: str, folder: Path) -> Path:
    if kind == "video":
        return clip(folder / "a.mp4", frames=3)
    if kind == "still":
        return save(folder / "a.png", 16, 24)
    pictures = [Image.fromarray(photograph(16, 24, seed)) for seed in range(2)]
    source = folder / {"animation": "a.gif", "pages": "a.tif"}[kind]
    pictures[0].save(source, save_all=True, append_images=pictures[1:])
    return source


@pytest.mark.parametrize("kind", ["still", "animation", "pages", "video"])
@pytest.mark.parametrize("option", ["", "overwrite", "skip_existing"])
def test_a_target_that_appears_during_the_work(
    tmp_path: Path, tiny_weights: Path, kind: str, option: str
) -> None:
    source = source_of(kind, tmp_path)
    target = tmp_path / f"out{source.suffix}"

    def appear(_job: Job, _progress: Progress) -> None:
        target.write_text("precious")

    options = {option: True} if option else {}
    (result,) = upscale(
        source, output=target, model=tiny_weights, precision="fp32", on_progress=appear, **options
    )
    assert result.outcome == {"": "failed", "overwrite": "done", "skip_existing": "skipped"}[option]
    if option == "overwrite":
        assert target.read_bytes() != b"precious"
    else:
        assert target.read_text() == "precious"
        kept = [name for name in files_below(tmp_path) if name.startswith(target.name + ".upscaling/")]
        assert bool(kept) == (kind == "video" and not option)  # --overwrite would take its segments
        assert not [name for name in kept if "finished" in name or "merged" in name]
        assert set(files_below(tmp_path)) - set(kept) == {source.name, target.name}
    if not option:
        assert f"'{target}' exists by now, and is not replaced (--overwrite" in result.error_line


def test_targets_are_looked_for_again_before_each_file(tmp_path: Path, tiny_weights: Path) -> None:
    sources = [save(tmp_path / "in" / name, 16, 24) for name in ("a.png", "b.png", "c.png")]
    seen: list[Path] = []

    def other_run(job: Job, _progress: Progress) -> None:
        seen.append(job.source)
        (tmp_path / "out" / "b.png").parent.mkdir(exist_ok=True)
        (tmp_path / "out" / "b.png").write_text("of another run")

    results = upscale(
        sources, output=tmp_path / "out", model=tiny_weights, skip_existing=True, on_progress=other_run
    )
    assert [result.outcome for result in results] == ["done", "skipped", "done"]
    assert sources[1] not in seen
    assert (tmp_path / "out" / "b.png").read_text() == "of another run"


@pytest.mark.parametrize("skip_existing", [True, False])
def test_a_film_that_another_run_works_at(tmp_path: Path, tiny_weights: Path, skip_existing: bool) -> None:
    source = clip(tmp_path / "a.mp4", frames=3)
    with JobFolder(tmp_path / "out.mp4"):
        (result,) = upscale(
            source, output=tmp_path / "out.mp4", model=tiny_weights, skip_existing=skip_existing
        )
    assert result.outcome == ("skipped" if skip_existing else "failed")


@pytest.mark.parametrize("has_links", [True, False], ids=["hard links", "no hard links"])
def test_a_new_file_never_replaces_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    if not has_links:

        def refuse(_path: Path, _target: Path) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(Path, "hardlink_to", refuse)
    target = tmp_path / "a"
    with atomic.replacing(target, replaces=False) as partial:
        partial.write_text("new")
    assert target.read_text() == "new"
    with pytest.raises(FileExistsError), atomic.replacing(target, replaces=False) as partial:
        partial.write_text("newer")
    assert target.read_text() == "new"
    assert files_below(tmp_path) == ["a"]


@needs_links
def test_a_link_to_nothing_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "nothing")
    with atomic.replacing(tmp_path / "a", replaces=False) as partial:
        partial.write_text("new")
    assert files_below(tmp_path) == ["a"]
    assert not (tmp_path / "a").is_symlink()
