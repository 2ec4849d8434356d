"""Files that are not what they are called: nothing else is opened, and one line says so."""

from pathlib import Path

import pytest
from PIL import Image
from support.media import clip, identity, run_video, save
from support.messages import Messages

from upscaler import upscale
from upscaler.errors import MediaError
from upscaler.images import animation, stills
from upscaler.inference.engine import Upscaler
from upscaler.video import formats
from upscaler.video.demux import open_input

PLAYLISTS = {
    "ffconcat": "ffconcat version 1.0\nfile 'secret.mp4'\n",
    "ffconcat of itself": "ffconcat version 1.0\nfile 'film.mp4'\nfile 'film.mp4'\n",
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    "HLS within ffconcat": "ffconcat version 1.0\nfile 'inner.m3u8'\n",
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "DASH": '<?xml version="1.0"?><MPD><Period><BaseURL>secret.mp4</BaseURL></Period></MPD>',
    "subtitles": "1\n00:00:00,100 --> 00:00:00,400\nhello\n",
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    return identity(tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".mkv"])
def test_text_called_a_video_opens_no_other_file(
    engine: Upscaler, tmp_path: Path, kind: str, suffix: str
) -> None:
    clip(tmp_path / "secret.mp4", frames=3)
    (tmp_path / "inner.m3u8").write_text(PLAYLISTS["HLS"])
    source = tmp_path / f"film{suffix}"
    source.write_text(PLAYLISTS[kind].replace("film.mp4", source.name))
    with pytest.raises(MediaError, match="is not") as raised:
        run_video(engine, source, tmp_path / "out.mkv")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out.mkv").exists()


def test_a_playlist_is_told_from_a_damaged_file(tmp_path: Path) -> None:
    clip(tmp_path / "secret.mp4", frames=3)
    (tmp_path / "film.mp4").write_text(PLAYLISTS["ffconcat"])
    with pytest.raises(MediaError, match=r"is not in a supported container .*playlists"):
        open_input(tmp_path / "film.mp4")


def test_every_container_that_is_written_can_be_read(tmp_path: Path) -> None:
    for suffix in formats.CONTAINERS:
        encoder = "libvpx-vp9" if suffix == ".webm" else "libx264"
        with open_input(clip(tmp_path / f"a{suffix}", frames=2, encoder=encoder)) as container:
            assert set(container.format.name.split(",")) & set(formats.DEMUXERS)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".gif", ".eps"])
def test_postscript_starts_no_interpreter(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_: pytest.fail("Ghostscript started"))
    source = tmp_path / f"photo{suffix}"
    source.write_bytes(EPS)
    assert not animation.is_animated(source)
    for read in (stills.read, stills.read_size, lambda path: stills.read(path, tolerant=True)):
        with pytest.raises(MediaError, match="is not an image, or not in a supported format"):
            read(source)


@pytest.mark.parametrize("name", ["ICNS", "TGA", "SGI", "PDF"])
def test_formats_that_are_not_documented_are_refused(tmp_path: Path, name: str) -> None:
    source = tmp_path / "photo.png"
    with Image.open(save(tmp_path / "a.png", 32, 32)) as image:
        image.save(source, name)
    with pytest.raises(MediaError, match="is not an image, or not in a supported format"):
        stills.read(source)


def test_the_rest_of_a_folder_is_done(tmp_path: Path, tiny_weights: Path) -> None:
    folder = tmp_path / "mixed"
    save(folder / "good.png", 16, 16)
    clip(tmp_path / "secret.mp4", frames=3)
    (folder / "list.mp4").write_text(PLAYLISTS["ffconcat"].replace("secret", "../secret"))
    (folder / "page.jpg").write_bytes(EPS)
    messages = Messages()
    results = upscale(
        [folder], output=tmp_path / "out", model=tiny_weights, on_message=lambda _, text: messages(text)
    )
    outcomes = {result.source.name: result.outcome for result in results}
    assert outcomes == {"good.png": "done", "list.mp4": "failed", "page.jpg": "failed"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]
