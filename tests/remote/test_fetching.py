"""Sources are fetched ahead, as far as their room goes."""

import threading
import time
from pathlib import Path

import pytest

from upscaler.errors import MediaError
from upscaler.remote.fetching import Fetching
from upscaler.remote.mirror import Mirror
from upscaler.remote.store import Store


class SlowStore(Store):
    """Gives what is asked for when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.gate = threading.Event()

    def get(self, url: str, path: Path) -> None:
        self.asked.append(url)
        self.gate.wait()
        if url.endswith("bad"):
            raise MediaError(f"'{url}' does not exist any more")
        path.write_bytes(b"all of it")


def waiting(store: SlowStore, count: int) -> list[str]:
    while len(store.asked) < count:
        time.sleep(0.001)
    return sorted(url.rpartition("/")[2] for url in store.asked)


def test_room_bounds_what_waits(tmp_path: Path) -> None:
    mirror, store = Mirror(tmp_path), SlowStore()
    paths = [tmp_path / "s3" / "bucket" / name for name in ("a", "b", "c", "bad", "large")]
    for path in paths:
        mirror.announce(path, 500 if path.name == "large" else 40, b"")
    fetching = Fetching(store, mirror, room_bytes=100)
    try:
        fetching.expect(paths)
        assert waiting(store, 2) == ["a", "b"]
        assert not fetching.is_here(paths[0])
        store.gate.set()
        fetching.need(paths[0])
        assert paths[0].read_bytes() == b"all of it" and len(store.asked) == 2
        fetching.release(paths[0])
        assert not paths[0].exists() and waiting(store, 3) == ["a", "b", "c"]
        with pytest.raises(MediaError, match="'s3://bucket/bad' does not exist any more"):
            fetching.need(paths[3])
        for path in paths[1:4]:
            fetching.release(path)
        assert waiting(store, 5)[-1] == "large"  # alone, more than the room
    finally:
        store.gate.set()
        fetching.close()


def test_names_of_objects_and_files(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path)
    path = mirror.local("s3://bucket/deep/a b.png")
    assert path == tmp_path / "s3" / "bucket" / "deep" / "a b.png"
    assert mirror.url(path) == "s3://bucket/deep/a b.png" and mirror.url(tmp_path.parent) is None
    for name in ("s3://bucket/../up.png", "s3://bucket//a.png", "s3://bucket/a\0.png"):
        assert mirror.local(name) is None
    assert mirror.shown(f"wrote {path}; kept '{path}.upscaling'") == (
        f"wrote s3://bucket/deep/a b.png; kept '{path}.upscaling'"
    )
