"""A real S3 server on this machine."""

import hashlib
from collections.abc import Iterator

import pytest
from support.object_store import SECRET, Bucket


@pytest.fixture(scope="module")
def _server() -> Iterator[str]:
    server_module = pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(_server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Bucket:
    """An empty bucket of the test's own; the environment has its credentials."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": _server,
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    return Bucket("b" + hashlib.sha256(request.node.name.encode()).hexdigest()[:20])


@pytest.fixture
def checks_access(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server, which runs in this process, knows no user and lets nobody in."""
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)
