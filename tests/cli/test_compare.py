"""``--compare``: the page, as a browser shows it."""

import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command import files_below, run
from support.kept import animated
from support.media import clip
from support.pictures import photograph

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class _Addresses(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "data")]


def images_of(page: Path) -> list[Image.Image]:
    """The images of a page, which loads nothing else."""
    text = page.read_text(encoding="utf-8")
    parser = _Addresses()
    parser.feed(text)
    assert "url(" not in text and "@import" not in text and "fetch" not in text
    assert all(address.startswith("data:image/jpeg;base64,") for address in parser.found)
    return [Image.open(io.BytesIO(base64.b64decode(each.partition(",")[2]))) for each in parser.found]


def compared(tiny: Path, *arguments: object, code: int = 0) -> str:
    return run(*arguments, "--compare", "--model", tiny, "--precision", "fp32", code=code)


def test_a_page_beside_one_result(tmp_path: Path, tiny_weights: Path) -> None:
    Image.fromarray(photograph(24, 32)).save(tmp_path / "a<b>.png")
    said = compared(tiny_weights, tmp_path / "a<b>.png")
    page = tmp_path / "a<b>_x2.compare.html"
    assert f"wrote {page}" in said and "a&lt;b&gt;_x2.png" in page.read_text()
    before, after = images_of(page)
    assert before.size == after.size == (64, 48)
    with Image.open(tmp_path / "a<b>_x2.png") as result:
        assert np.abs(np.asarray(result).astype(int) - np.asarray(after)).mean() < 4
        bicubic = Image.open(tmp_path / "a<b>.png").resize((64, 48), Image.Resampling.BICUBIC)
        assert np.abs(np.asarray(bicubic).astype(int) - np.asarray(before)).mean() < 4
    assert "already exists" in compared(tiny_weights, tmp_path / "a<b>.png", code=2)
    compared(tiny_weights, tmp_path / "a<b>.png", "--overwrite")


def test_one_page_for_a_folder_with_originals(tmp_path: Path, tiny_weights: Path) -> None:
    folder, originals = tmp_path / "p", tmp_path / "originals"
    (folder / "sub").mkdir(parents=True)
    originals.mkdir()
    large = Image.fromarray(photograph(48, 64))
    large.save(originals / "a.png")
    large.resize((32, 24), Image.Resampling.BICUBIC).save(folder / "a.png")
    animated("GIF")(folder / "sub/b.gif")
    large.save(folder / "large.png")
    Image.fromarray(photograph(20, 20)).save(originals / "large.png")
    (folder / "bad.png").write_text("not an image")
    said = compared(tiny_weights, folder, "--reference", originals, code=1)
    assert files_below(tmp_path / "p_x2") == ["a.png", "compare.html", "large.png", "sub/b.gif"]
    page = tmp_path / "p_x2/compare.html"
    text = page.read_text()
    assert re.findall(r"<h2>(.*)</h2>", text) == ["a.png", "large.png", "sub/b.gif"]
    assert "the original is not shown: it has 20x20" in text and f"wrote {page}" in said
    rows = re.findall(r"<td>(\w+)</td><td>([\d.]+)</td><td>([\d.]+)</td>", text)
    assert [name for name, *_ in rows] == ["upscale", "bicubic"]
    assert all(15 < float(psnr) < 60 and 0.3 < float(ssim) < 1 for _, psnr, ssim in rows)
    sizes = [image.size for image in images_of(page)]
    assert sizes == [(64, 48)] * 4 + [(128, 96)] * 2 + [(64, 48)] * 2
    more = compared(tiny_weights, folder, "--skip-existing", code=1)  # those done before stay on the page
    assert "3 skipped" in more and len(images_of(page)) == 6


def test_of_large_images_the_middle_is_shown(tmp_path: Path, tiny_weights: Path) -> None:
    Image.fromarray(photograph(20, 1100)).save(tmp_path / "a.png")
    compared(tiny_weights, tmp_path / "a.png")
    page = tmp_path / "a_x2.compare.html"
    assert "the middle of 2200x40" in page.read_text()
    _, after = images_of(page)
    with Image.open(tmp_path / "a_x2.png") as result:
        middle = np.asarray(result)[:, 76:2124].astype(int)
    assert after.size == (2048, 40) and np.abs(middle - np.asarray(after)).mean() < 4


def test_a_preview_and_a_video(tmp_path: Path, tiny_weights: Path) -> None:
    video = clip(tmp_path / "v.mkv", frames=2)
    compared(tiny_weights, video, "--preview")
    before, after = images_of(tmp_path / "v_x2.preview.compare.html")
    assert before.size == after.size == (128, 96)
    said = compared(tiny_weights, video)
    assert "--compare leaves videos out: compare a frame with --preview" in said


def test_reference_alone_or_nowhere(tmp_path: Path, tiny_weights: Path) -> None:
    Image.fromarray(photograph(24, 32)).save(tmp_path / "a.png")
    assert "--reference needs --compare" in run(tmp_path / "a.png", "--reference", tmp_path, code=2)
    said = compared(tiny_weights, tmp_path / "a.png", "--reference", tmp_path / "x", code=2)
    assert "is not a folder" in said


# Run inside the page; what it finds is written into the document, which Chromium prints.
PROBE = """<script>
const errors = [];
addEventListener("error", event => errors.push(event.message || "a resource"), true);
addEventListener("load", () => {
  const pair = document.querySelector(".pair"), input = pair.querySelector("input");
  const visible = () => getComputedStyle(pair.querySelector(".after")).clipPath;
  const before = visible();
  input.value = 20;
  input.dispatchEvent(new Event("input"));
  const choice = [...document.querySelectorAll("[type=radio]")].at(-1);
  if (choice) choice.click();
  const shown = [...document.images].filter(each => !each.hidden);
  const result = {
    errors, before, after: visible(), left: pair.querySelector(".left").textContent,
    loaded: [...document.images].every(each => each.complete && each.naturalWidth > 0),
    fits: document.documentElement.scrollWidth <= innerWidth, width: innerWidth,
    widest: Math.max(...shown.map(each => each.getBoundingClientRect().width)),
    bar: pair.querySelector(".bar").getBoundingClientRect().left - pair.getBoundingClientRect().left,
    pair: pair.getBoundingClientRect().width,
    resources: performance.getEntriesByType("resource").filter(each => !each.name.startsWith("data:")).length,
  };
  const output = document.createElement("pre");
  output.id = "found";
  output.textContent = JSON.stringify(result);
  document.body.append(output);
});
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, for example Debian's package")
@pytest.mark.parametrize("width", [390, 1400])
def test_in_a_browser(tmp_path: Path, tiny_weights: Path, width: int) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "o").mkdir()
    Image.fromarray(photograph(200, 400)).save(tmp_path / "p/a.png")
    Image.fromarray(photograph(400, 800)).save(tmp_path / "o/a.png")
    Image.fromarray(photograph(30, 40)).save(tmp_path / "p/b.png")
    compared(tiny_weights, tmp_path / "p", "--reference", tmp_path / "o")
    page = tmp_path / "p_x2/compare.html"
    page.write_text(page.read_text().replace("<style>", PROBE + "<style>", 1))
    assert CHROMIUM
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"),
            *(f"--window-size={width},900", f"--user-data-dir={tmp_path / 'profile'}"),
            *("--virtual-time-budget=5000", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    found = json.loads(re.search(r'<pre id="found">(.*?)</pre>', done.stdout)[1])  # type: ignore[index]
    assert found["errors"] == [] and found["resources"] == 0 and found["loaded"]
    assert found["before"].endswith("50%)") and found["after"].endswith("20%)")
    assert found["left"] == "original"
    assert abs(found["bar"] - 0.2 * found["pair"]) < 2
    assert found["fits"] and found["widest"] <= found["width"]
    assert found["widest"] == (800 if width > 800 else found["pair"])
