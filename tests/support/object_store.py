"""A bucket, and what is in it; and a server of Google's protocol that lets nobody in."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

SECRET = "never-to-be-seen"
# What the client of each store is called.
CLIENTS = {"s3": "s3fs.core.S3FileSystem", "gs": "gcsfs.core.GCSFileSystem"}


class Bucket:
    """What is in the bucket, seen by a client of its own.

    Args:
        scheme: ``s3`` or ``gs``.
        name: Of the bucket, which is made.
    """

    def __init__(self, scheme: str, name: str) -> None:
        self.name, self.scheme = name, scheme
        self.url = f"{scheme}://{name}"
        self._system: Any = _client(scheme)
        self._system.mkdir(name)

    def put(self, path: Path, name: str) -> str:
        self._system.put_file(str(path), f"{self.name}/{name}")
        return f"{self.url}/{name}"

    def read(self, name: str) -> bytes:
        content: bytes = self._system.cat_file(f"{self.name}/{name}")
        return content

    def names(self) -> list[str]:
        return sorted(name.partition("/")[2] for name in self._system.find(self.name))


def _client(scheme: str) -> Any:  # noqa: ANN401 - fsspec has no types
    if scheme == "gs":
        from gcsfs.core import GCSFileSystem as Client
    else:
        from s3fs import S3FileSystem as Client
    return Client(skip_instance_cache=True, use_listings_cache=False)


@contextmanager
def refusing_server(code: int) -> Iterator[str]:
    """A server that answers every request as Google's does where access is refused; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            message = "Caller does not have storage.objects.get access to the Google Cloud Storage object."
            content = json.dumps({"error": {"code": code, "message": message}}).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with suppress(ConnectionError):  # the client may have seen enough
                self.wfile.write(content)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
