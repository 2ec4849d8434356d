"""``--dry-run`` says what the same command without it does, and writes nothing."""

import re
from pathlib import Path

from PIL import Image
from support.command import files_below, run
from support.kept import animated
from support.media import clip
from support.pictures import photograph


def test_a_folder(tmp_path: Path, tiny_weights: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(photograph(24, 32)).save(folder / "a.jpg", exif=turned)
    animated("GIF", loop=1)(folder / "b.gif")
    (folder / "c.png").write_text("not an image")
    (folder / "d.txt").touch()
    clip(folder / "e.mkv", frames=6)
    (tmp_path / "p_x2").mkdir()
    (tmp_path / "p_x2/f.png").touch()
    Image.fromarray(photograph(24, 32)).save(folder / "f.png")
    before = files_below(tmp_path)
    command = (folder, "--model", tiny_weights, "--precision", "fp32", "--skip-existing")
    said = run(*command, "--dry-run", code=1)
    assert files_below(tmp_path) == before
    assert re.search(r"a.jpg -> .*p_x2/a.jpg: 24x32 -> 48x64 \(x2\), at most 9.22 kB", said)
    assert re.search(r"b.gif -> .*: 32x24 -> 64x48 \(x2\), 3 frames, at most", said)
    assert "c.png' is not an image" in said and re.search(r"f.png: skipped", said)
    assert re.search(r"e.mkv -> .*: 64x48 -> 128x96 \(x2\), h264 .*, about 6 frames, roughly", said)
    assert re.search(
        r"3 of 4 files would be made; 1 would fail; 1 skipped; 1 ignored .*; roughly .* of disk, .* free",
        said,
    )
    done = run(*command, code=1)
    assert re.search(r"a.jpg: 24x32 -> 48x64 \(x2\)", done)
    assert files_below(tmp_path / "p_x2") == ["a.jpg", "b.gif", "e.mkv", "f.png"]
    with Image.open(tmp_path / "p_x2/a.jpg") as result:
        assert result.size == (48, 64)


def test_what_is_refused_at_once(tmp_path: Path, tiny_weights: Path) -> None:
    Image.fromarray(photograph(24, 32)).save(tmp_path / "a.png")
    assert "exclude each other" in run(tmp_path / "a.png", "--dry-run", "--json", "-", code=2)
    (tmp_path / "a_x2.png").touch()
    assert "already exists" in run(tmp_path / "a.png", "--model", tiny_weights, "--dry-run", code=2)


def test_a_preview(tmp_path: Path, tiny_weights: Path) -> None:
    said = run(clip(tmp_path / "a.mkv", frames=6), "--preview", "--dry-run", "--model", tiny_weights)
    assert "64x48 -> 128x96 (x2), one frame, at most" in said
    assert files_below(tmp_path) == ["a.mkv"]
