"""A bucket, and what is in it."""

from pathlib import Path
from typing import Any

SECRET = "never-to-be-seen"


class Bucket:
    """What is in the bucket, seen by a client of its own."""

    def __init__(self, name: str) -> None:
        import s3fs

        self.name = name
        self.url = f"s3://{name}"
        self._system: Any = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
        self._system.mkdir(name)

    def put(self, path: Path, name: str) -> str:
        self._system.put_file(str(path), f"{self.name}/{name}")
        return f"{self.url}/{name}"

    def read(self, name: str) -> bytes:
        content: bytes = self._system.cat_file(f"{self.name}/{name}")
        return content

    def names(self) -> list[str]:
        return sorted(name.partition("/")[2] for name in self._system.find(self.name))
