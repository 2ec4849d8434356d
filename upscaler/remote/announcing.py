"""What is planned with: inputs, and targets that exist, as files with nothing but their first bytes."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from upscaler import jobs
from upscaler.content import kind_of
from upscaler.errors import MediaError, UsageError
from upscaler.remote.files import Files
from upscaler.remote.mirror import Mirror
from upscaler.remote.store import Entry, Store
from upscaler.video.formats import HEAD_BYTES

# From this number of names below one URL on, they are listed instead of asked for one by one.
_LISTED_FROM = 10


def announce_inputs(urls: Iterable[str], mirror: Mirror, store: Store) -> None:
    """Announce objects, and all objects below a URL that names none.

    Raises:
        UsageError: There are none.
        MediaError: The store cannot be asked.
    """
    for url in urls:
        single = store.find(url)
        entries = [single] if single else store.below(url)
        if not entries:
            raise UsageError(f"'{url}' does not exist", "pass an object, or a prefix as a folder")
        media = [entry for entry in entries if single or _is_media(entry, mirror)]
        heads = dict(zip(media, store.heads([entry.url for entry in media], HEAD_BYTES), strict=True))
        _announce(entries, mirror, heads)


def announce_targets(files: Files, mirror: Mirror, store: Store) -> None:
    """Announce those targets that exist, so that planning finds them.

    Raises:
        UsageError: The jobs are not possible.
        MediaError: The store cannot be asked.
    """
    # Nothing is refused or replaced here: it only says which names are meant.
    planned = jobs.plan(files.inputs, replace(files.options, overwrite=False, skip_existing=True))
    folders: dict[str, list[str]] = defaultdict(list)
    for job in planned.jobs:
        for path in jobs.targets_of(job):
            if url := mirror.url(path):
                folders[url.rpartition("/")[0]].append(url)
    for folder, urls in folders.items():
        if len(urls) < _LISTED_FROM:
            found = [entry for url in urls if (entry := store.find(url))]
        else:
            found = [entry for entry in store.below(folder) if entry.url in set(urls)]
        _announce(found, mirror, {})


def _is_media(entry: Entry, mirror: Mirror) -> bool:
    path = mirror.local(entry.url)
    return path is not None and kind_of(path) is not None


def _announce(entries: Iterable[Entry], mirror: Mirror, heads: dict[Entry, bytes]) -> None:
    for entry in entries:
        path = mirror.local(entry.url)
        if path is None:
            raise UsageError(f"'{entry.url}' cannot be the name of a file", "rename it, or leave it out")
        try:
            mirror.announce(path, entry.size_bytes, heads.get(entry, b""))
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            text = f"'{entry.url}': an object and a folder have the same name"
            raise UsageError(text, "rename one of them") from error
        except OSError as error:
            raise MediaError(f"cannot stage '{entry.url}': {error.strerror}") from error
