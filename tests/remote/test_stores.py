"""Inputs and targets in an object store: real servers of S3's and of Google's protocol on this machine."""

import json
import socket
import sys
from pathlib import Path

import pytest
from support.command import files_below, run
from support.media import clip, save
from support.object_store import CLIENTS, SECRET, Bucket, refusing_server

from upscaler import upscale
from upscaler.cache_folder import cache_folder

STORES = pytest.mark.parametrize("bucket", ["s3", "gs"], indirect=True)


def staged_files(bucket: Bucket) -> list[str]:
    return [name for name in files_below(cache_folder("remote")) if bucket.name in name]


@STORES
def test_a_folder_of_pictures_and_a_film(bucket: Bucket, tmp_path: Path, tiny_weights: Path) -> None:
    """Results equal the local ones, in the same tree; nothing else is written anywhere."""
    local = tmp_path / "in"
    for name in ("a.png", "deep/b.png"):
        save(local / name, 16, 24)
    clip(local / "c.mkv", frames=3)
    (local / "notes.txt").write_text("no picture")
    for name in files_below(local):
        bucket.put(local / name, f"in/{name}")
    before = bucket.names()
    report = tmp_path / "report.jsonl"
    said = run(f"{bucket.url}/in", "-o", f"{bucket.url}/out/", "--model", tiny_weights, "--json", report)
    assert f"wrote {bucket.url}/out/deep/b.png" in said and "1 ignored (1 .txt)" in said
    run(local, "-o", tmp_path / "out", "--model", tiny_weights)
    made = files_below(tmp_path / "out")
    assert bucket.names() == sorted([*before, *(f"out/{name}" for name in made)])
    for name in made:
        if name.endswith(".png"):
            assert bucket.read(f"out/{name}") == (tmp_path / "out" / name).read_bytes(), name
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert {line["source"] for line in lines} == {
        f"{bucket.url}/in/{n}" for n in ("a.png", "deep/b.png", "c.mkv")
    }
    assert {line["target"] for line in lines} == {f"{bucket.url}/out/{name}" for name in made}
    assert SECRET not in said + report.read_text() and staged_files(bucket) == []


@pytest.mark.parametrize("bucket", ["s3", pytest.param("gs", marks=pytest.mark.slow)], indirect=True)
def test_next_to_the_input_and_existing_targets(bucket: Bucket, tmp_path: Path, tiny_weights: Path) -> None:
    source = bucket.put(save(tmp_path / "a.png", 16, 24), "p/a.png")
    given = (source, "--model", tiny_weights)
    run(*given)
    assert bucket.names() == ["p/a.png", "p/a_x2.png"]
    made = bucket.read("p/a_x2.png")
    bucket.put(tmp_path / "a.png", "p/a_x2.png")
    refused = run(*given, code=2)
    assert f"error: '{bucket.url}/p/a_x2.png' already exists (--overwrite replaces files" in refused
    assert "1 skipped" in run(*given, "--skip-existing")
    assert bucket.read("p/a_x2.png") != made
    run(*given, "--overwrite")
    assert bucket.read("p/a_x2.png") == made
    run(tmp_path / "a.png", "-o", f"{bucket.url}/q/", "--model", tiny_weights)
    run(source, "-o", tmp_path / "here.png", "--model", tiny_weights)
    assert bucket.read("q/a.png") == made == (tmp_path / "here.png").read_bytes()


@pytest.mark.slow
@STORES
@pytest.mark.parametrize("option", ["", "skip_existing"])
def test_a_target_that_appears_during_the_work(
    bucket: Bucket, tmp_path: Path, tiny_weights: Path, option: str
) -> None:
    source = bucket.put(clip(tmp_path / "a.mkv", frames=3), "a.mkv")
    (tmp_path / "precious").write_text("precious")
    said: list[str] = []
    (result,) = upscale(
        source,
        f"{bucket.url}/b.mkv",
        model=tiny_weights,
        on_progress=lambda *_: bucket.put(tmp_path / "precious", "b.mkv") and None,
        on_message=lambda _job, message: said.append(message.text),
        **{option: True} if option else {},
    )
    assert result.outcome == ("skipped" if option else "failed")
    assert bucket.read("b.mkv") == b"precious"
    if not option:
        assert f"'{bucket.url}/b.mkv' exists by now, and is not replaced" in result.error_line


@pytest.mark.slow
@STORES
def test_a_film_whose_upload_fails_is_not_made_twice(
    bucket: Bucket, tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = bucket.put(clip(tmp_path / "a.mkv", frames=3), "a.mkv")
    given = (source, "-o", f"{bucket.url}/b.mkv", "--model", tiny_weights)
    with monkeypatch.context() as patch:

        def gone(*_: object, **__: object) -> None:
            raise ConnectionError("gone")

        patch.setattr(f"{CLIENTS[bucket.scheme]}.put_file", gone)
        said = run(*given, code=1)
    assert f"error: '{source}': the server of '{bucket.url}' cannot be reached" in said
    assert "kept 1 segment in" in said and "rerun the same command to continue" in said
    assert bucket.names() == ["a.mkv"]
    assert "resuming after 3 frames of an earlier run" in run(*given)
    assert bucket.names() == ["a.mkv", "b.mkv"] and staged_files(bucket) == []


def test_access_is_refused(bucket: Bucket, tmp_path: Path, tiny_weights: Path, checks_access: None) -> None:
    picture = save(tmp_path / "a.png", 16, 24)
    output = ("-o", tmp_path / "b.png", "--model", tiny_weights)
    said = run(f"{bucket.url}/a.png", *output, code=1)
    assert f"error: access to '{bucket.url}/a.png' is refused (check the credentials" in said
    said = run(picture, "-o", f"{bucket.url}/b.png", "--model", tiny_weights, code=1)
    assert f"error: access to '{bucket.url}/b.png' is refused" in said
    assert SECRET not in said and "AKID" not in said


@pytest.mark.parametrize(("code", "said"), [(403, "access to"), (401, "there are no credentials for")])
def test_google_refuses_access(
    _google: None,
    tmp_path: Path,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    said: str,
) -> None:
    pytest.importorskip("gcsfs", reason="gcsfs is not installed")
    picture = save(tmp_path / "a.png", 16, 24)
    with refusing_server(code) as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        for given in (["gs://bucket/a.png"], [picture, "-o", "gs://bucket/b.png"]):
            line = run(*given, "--model", tiny_weights, code=1)
            assert line.count("\n") == 1 and f"error: {said} 'gs://bucket" in line
            assert "AWS" not in line and url not in line


@STORES
def test_what_does_not_exist_is_named(bucket: Bucket, tmp_path: Path, tiny_weights: Path) -> None:
    picture = save(tmp_path / "a.png", 16, 24)
    none = f"{bucket.scheme}://no-such-bucket"
    for given, code, said in [
        ([f"{bucket.url}/none.png"], 2, f"'{bucket.url}/none.png' does not exist"),
        ([f"{none}/a.png"], 1, f"'{none}' does not exist"),
        ([picture, "-o", f"{none}/b.png", "--model", tiny_weights], 1, f"'{none}' does not exist"),
    ]:
        line = run(*given, code=code)
        assert line.count("\n") == 1 and said in line


def test_one_line_for_each_thing_that_is_missing(
    bucket: Bucket, tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = pytest.importorskip("fsspec.registry")
    output = ("-o", tmp_path / "b.png", "--model", tiny_weights)

    def refused(*arguments: object, code: int = 1) -> str:
        said = run(*arguments, code=code)
        assert said.count("\n") == 1 and SECRET not in said
        return said

    assert "takes no user name and password" in refused(f"s3://me:{SECRET}@b/a.png", *output, code=2)
    assert "--compare needs local files" in refused(f"{bucket.url}/a.png", "--compare", code=2)
    assert "numbered images must be local files" in refused(f"{bucket.url}/%03d.png", *output, code=2)
    assert "'ftp://' is not supported" in refused("ftp://b/a.png", *output, code=2)
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    with socket.socket() as taken:  # nobody answers there
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        assert f"the server of '{bucket.url}' cannot be reached" in refused(f"{bucket.url}/a.png", *output)
    monkeypatch.delitem(registry._registry, "s3")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert "pip install 'upscaler[remote]'" in refused(f"{bucket.url}/a.png", *output, code=2)
