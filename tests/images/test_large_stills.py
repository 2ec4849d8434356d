"""Images for which memory is too small go through it in rows, and come out as they would otherwise."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from support.kept import Kind, kinds
from support.media import save
from support.networks import weights
from support.pictures import photograph

from upscaler import large_stills, upscale
from upscaler.batch import overlapped_stills
from upscaler.batch.overlapped_stills import OverlappedStills
from upscaler.errors import MediaError, MemoryNeededError
from upscaler.images import picture_rows, png_rows, stills, tiff_rows
from upscaler.images.library_settings import accepting
from upscaler.images.still import Still
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import ImageOptions, Options
from upscaler.pipeline import upscale_still
from upscaler.remote.files import Files
from upscaler.results import Message


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have memory be too small for every image."""
    for module in (picture_rows, png_rows, tiff_rows):
        monkeypatch.setattr(module, "BAND_BYTES", 600)
    monkeypatch.setattr(large_stills, "is_too_large", lambda source, engine: True)


def made(source: Path, target: Path, engine: Upscaler, **options: bool) -> list[str]:
    said: list[Message] = []
    upscale_still(
        Job(source, target, "still", replaces=True),
        engine,
        ImageOptions(**options),
        lambda progress: None,
        said.append,
    )
    return [message.text for message in said]


CHOSEN = {
    ".png": {"palette", "RGB with alpha", "16-bit gray with alpha"},
    ".tif": {"8-bit RGB", "16-bit RGB with alpha", "CMYK", "float32"},
    ".jpg": {"HDR with gain map"},
}
KINDS = [kind for kind in kinds() if kind.name in CHOSEN.get(kind.suffix, ())]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    path = weights(tmp_path_factory.mktemp("weights") / "w.safetensors", scale=2)
    return Upscaler(path, tile_px=20, precision="fp32")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.suffix} {kind.name}")
def test_the_file_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Upscaler, kind: Kind
) -> None:
    """To the byte, with all metadata, and with the same messages."""
    source, suffix = tmp_path / f"a{kind.suffix}", ".tif" if kind.suffix == ".tif" else ".png"
    kind.make(source)
    said = made(source, tmp_path / f"whole{suffix}", engine)
    with monkeypatch.context() as small:
        make_small(small)
        said_in_rows = made(source, tmp_path / f"rows{suffix}", engine)
    assert said_in_rows[0].endswith(", in rows: it is too large for memory")
    assert [said[0], *said_in_rows[1:]] == said
    assert (tmp_path / f"rows{suffix}").read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()


def hiding(path: Path) -> Path:
    """Pixels of which a part is fully transparent."""
    rgba = np.dstack([photograph(40, 44), photograph(40, 44, seed=1)[:, :, 0]])
    rgba[10:20, 5:30, 3] = 0
    Image.fromarray(rgba).save(path)
    return path


@pytest.mark.parametrize("options", [{}, {"keep_hidden": True}, {"strip": True}], ids=str)
def test_transparency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Upscaler, options: dict[str, bool]
) -> None:
    source = hiding(tmp_path / "a.png")
    made(source, tmp_path / "whole.png", engine, **options)
    make_small(monkeypatch)
    made(source, tmp_path / "rows.png", engine, **options)
    assert (tmp_path / "rows.png").read_bytes() == (tmp_path / "whole.png").read_bytes()


@pytest.mark.parametrize(
    ("name", "target", "options", "why"),
    [
        ("a.png", "b.jpg", {}, r"\.jpg is not written in rows, but \.png and \.tif are"),
        ("a.png", "b.png", {}, "fully transparent pixels"),
        ("a.gif", "b.png", {}, r"\.gif is not read in rows, but \.png and \.tif are"),
        ("a.png", "b.png", {"tileable": True}, "with --tileable, opposite borders are needed at once"),
    ],
)
def test_what_cannot_go_in_rows_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    target: str,
    options: dict[str, bool],
    why: str,
) -> None:
    source = hiding(tmp_path / name)
    engine = Upscaler(weights(tmp_path / "w.safetensors", scale=2), precision="fp32", **options)
    make_small(monkeypatch)

    def check_room(needed_bytes: int, what: str, hint: str) -> None:
        raise MemoryNeededError(f"{what} takes too much", hint)

    monkeypatch.setattr("upscaler.system.memory.check_room", check_room)
    with pytest.raises(MemoryNeededError, match=why):
        made(source, tmp_path / target, engine)


def test_a_damaged_file_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Upscaler
) -> None:
    make_small(monkeypatch)
    stills.write(tmp_path / "a.png", Still(photograph(60, 60)))
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(MediaError, match=r"a\.png' is damaged or truncated: the file is truncated"):
        made(tmp_path / "a.png", tmp_path / "b.png", engine)
    assert not (tmp_path / "b.png").exists()


def test_damaged_texts_of_a_png_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Upscaler
) -> None:
    texts = PngInfo()
    texts.add_text("prompt", "a cat")
    Image.fromarray(photograph(30, 40)).save(tmp_path / "a.png", pnginfo=texts)
    damaged = (tmp_path / "a.png").read_bytes().replace(b"a cat", b"a bat")
    (tmp_path / "a.png").write_bytes(damaged)
    make_small(monkeypatch)
    said = made(tmp_path / "a.png", tmp_path / "b.png", engine)
    assert said[1:] == ["damaged metadata of the PNG was left out"]
    assert b"prompt" not in (tmp_path / "b.png").read_bytes()


def test_a_header_of_too_many_pixels_is_named(tmp_path: Path) -> None:
    """Also from the header alone, as a dry run reads it; Pillow raises above twice its limit."""
    stills.write(tmp_path / "a.png", Still(photograph(20, 30)))
    with accepting(100), pytest.raises(MediaError, match=r"more pixels than --max-pixels allows \(100\)"):
        stills.read_size(tmp_path / "a.png")


def test_max_pixels(tmp_path: Path) -> None:
    stills.write(tmp_path / "a.tif", Still(photograph(20, 30)))
    hiding(tmp_path / "b.png")
    model = weights(tmp_path / "w.safetensors", scale=2)
    results = upscale(sorted(tmp_path.glob("*.[tp]*")), tmp_path / "out", model, max_pixels=600)
    assert [result.outcome for result in results] == ["done", "failed"]
    assert results[1].error_line.endswith(
        "b.png' has more pixels than --max-pixels allows (600) (raise it if you trust the file)"
    )


class Pool:
    """Helpers that never answer."""

    def __init__(self, module: str, count: int) -> None:
        self.asked: list[str] = []

    def exchange(self, request: dict[str, str]) -> Future[object]:
        self.asked.append(Path(request["path"]).name)
        return Future()


def test_large_images_of_a_batch_are_not_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlapped_stills, "HelperPool", Pool)
    jobs = [Job(save(tmp_path / f"{name}.png"), tmp_path / "x.png", "still") for name in "abc"]
    overlapped = OverlappedStills(jobs, 2, Files([], Options()), lambda source: source.name == "b.png")
    assert overlapped._pool.asked == ["a.png", "c.png"]
    assert overlapped.take(jobs[1]) is None, "it runs alone"


MEASURED = """
import resource, sys
from pathlib import Path
import numpy as np
from support.networks import Nearest
from upscaler.images import picture_rows, stills
from upscaler.images.library_settings import accepting
from upscaler.images.still import Still
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.models import registry, weight_file
from upscaler.options import ImageOptions, Options
from upscaler.pipeline import upscale_still
from upscaler.remote.files import Files
from upscaler.system import memory

folder, suffix, height, width = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
registry.NETWORKS["nearest"] = Nearest
network = Nearest(scale=2)
weight_file.save(folder / "n.safetensors", network, network.state_dict(), {})
engine = Upscaler(folder / "n.safetensors", precision="fp32")
row = np.tile(np.arange(0, 250, 10, dtype=np.uint8)[:, None], (1 + width // 25, 3))[:width]

def bands():
    for top in range(0, height, 100):
        rows = np.repeat(row[None], min(100, height - top), axis=0)
        yield Still(rows + np.uint8(top // 100 % 5))

def upscaled(name, height):
    said = []
    job = Job(folder / name, folder / f"2{name}", "still", replaces=True)
    note = lambda message: said.append(message.text)
    upscale_still(job, engine, ImageOptions(), lambda progress: None, note)
    return said[0]

stills.write_rows(folder / f"a{suffix}", bands(), height, width)
stills.write(folder / f"small{suffix}", Still(np.repeat(row[None, :300], 300, axis=0)))
upscaled(f"small{suffix}", 300)  # loads what stays
available = memory.available_bytes
memory.available_bytes = lambda: min(available(), 200_000_000)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
print(upscaled(f"a{suffix}", height))
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_memory_grows_with_the_width_only(tmp_path: Path, suffix: str) -> None:
    """12 megapixels to 48, which take 144 MB as a result alone, and 432 while they are written as a whole."""
    pytest.importorskip("resource")
    height, width = 3000, 4000
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    command = [sys.executable, "-c", MEASURED, str(tmp_path), suffix, str(height), str(width)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    said, grown_bytes = finished.stdout.splitlines()
    assert said == f"{width}x{height} -> {2 * width}x{2 * height} (x2), in rows: it is too large for memory"
    assert int(grown_bytes) < 200_000_000
    with Image.open(tmp_path / f"2a{suffix}") as image:
        assert image.size == (2 * width, 2 * height)
        last = np.asarray(image)[-1, -50:, 1]
    assert np.array_equal(
        last, np.arange(0, 250, 10).repeat(2)[2 * width % 50 - 50 :] + (height - 1) // 100 % 5
    )


def test_a_result_above_4_gb_is_a_bigtiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decided before its rows are there."""
    chosen: list[object] = []
    writer = tifffile.TiffWriter

    def noting(path: Path, *, bigtiff: bool, byteorder: str) -> tifffile.TiffWriter:
        chosen.append(bigtiff)
        return writer(path, bigtiff=bigtiff, byteorder=byteorder)

    monkeypatch.setattr(tifffile, "TiffWriter", noting)

    def ending() -> Iterator[Still]:
        yield Still(np.zeros((1, 40_000, 3), np.uint8))
        raise OSError(5, "no more rows")

    for height in (30_000, 60_000):
        with pytest.raises(MediaError, match="no more rows"):
            stills.write_rows(tmp_path / "a.tif", ending(), height, 40_000)
    assert chosen == [False, True] and not list(tmp_path.iterdir())
