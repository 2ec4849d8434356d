"""Input paths -> a list of jobs: what is upscaled, where it goes, and every refusal before work starts."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from upscaler.errors import UsageError
from upscaler.images.formats import IMAGE_SUFFIXES
from upscaler.models.shipped import DEFAULT_SCALE
from upscaler.options import Options
from upscaler.resume import job_folder

Kind = Literal["still", "video", "preview"]

VIDEO_SUFFIXES = {
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts",
    ".vob", ".webm", ".wmv",
}  # fmt: skip
_WORDS: dict[Kind, str] = {"still": "picture", "video": "video", "preview": "video"}
_PREVIEW, _BICUBIC = ".preview.png", ".bicubic.png"
CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv", ".webm")  # that can be written


@dataclass(frozen=True)
class Job:
    """One file to upscale; a ``preview`` makes a picture of one frame of a video."""

    source: Path
    target: Path
    kind: Kind


@dataclass(frozen=True)
class Unreadable:
    """A folder that is not searched, or not as a whole, and why."""

    folder: Path
    reason: str

    def __str__(self) -> str:
        return f"the folder '{self.folder}' cannot be read: {self.reason}"


@dataclass(frozen=True)
class JobList:
    """What is to be done.

    Attributes:
        jobs: In the order of the arguments, folders sorted by name.
        ignored: Files in folders that are neither picture nor video by their suffix, links to folders, and
            links to nowhere.
        unreadable: Folders whose files may not be among the jobs.
        skipped: What would be done if its target did not exist.
    """

    jobs: list[Job]
    ignored: list[Path]
    unreadable: list[Unreadable] = field(default_factory=list)
    skipped: list[Job] = field(default_factory=list)

    def ignored_kinds(self) -> str:
        """How many files of which suffix are ignored, and links: ``2 .txt, 1 .zip, 1 linked``."""
        linked = {path for path in self.ignored if path.is_symlink() and not path.is_file()}
        suffixes = Counter(
            "linked" if path in linked else path.suffix.lower() or path.name for path in self.ignored
        )
        return ", ".join(f"{count} {suffix}" for suffix, count in sorted(suffixes.items()))


def plan(inputs: Iterable[Path], options: Options) -> JobList:
    """List the jobs, or refuse.

    Args:
        inputs: Files and folders (searched recursively).
        options: Where results go, and whether existing ones are replaced or left out.

    Raises:
        UsageError: An input is missing or of no known kind, there is nothing to do, two inputs have one
            target, a target is an input, or a target exists; a picture is to be previewed; a name is too
            long, or lies in a folder that cannot be looked into.
    """
    try:
        found = _planned(list(inputs), options)
        _refuse_long_names(found.jobs)
    except OSError as error:
        name = error.filename or "."  # of none, it is the current folder that is gone
        raise UsageError(f"'{name}' cannot be used: {error.strerror}") from error
    return found


def _planned(inputs: list[Path], options: Options) -> JobList:
    jobs: list[Job] = []
    ignored: list[Path] = []
    unreadable: list[Unreadable] = []
    single = len(inputs) == 1
    if options.output == Path("-"):
        raise UsageError("-o - is no file", "results are not written to standard output")
    for path in inputs:
        if path.is_dir():
            found = _folder_jobs(path, options, single)
            jobs += found.jobs
            ignored += found.ignored
            unreadable += found.unreadable
        elif path.is_file():
            jobs.append(_file_job(path, options, single))
        else:
            known = "is neither file nor folder" if path.exists() else "does not exist"
            raise UsageError(f"'{path}' {known}", "name pictures, videos, or folders of them")
    if not jobs and unreadable:
        raise UsageError(str(unreadable[0]))
    if not jobs:
        names = ", ".join(f"'{path}'" for path in inputs)
        raise UsageError(f"no picture and no video in {names}", "pictures and videos go by their suffix")
    if options.preview:
        jobs = [_as_preview(job) for job in jobs]
    _refuse_collisions(jobs)
    _refuse_folders(jobs)
    made = {} if options.overwrite else {job: existing for job in jobs if (existing := _existing(job))}
    if made and not options.skip_existing:
        _refuse_existing(made)
    ahead = [job for job in jobs if job not in made]
    return JobList(ahead, ignored, unreadable, skipped=list(made))


def kind_of(path: Path) -> Kind | None:
    """What a file is by its suffix."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "still"
    return "video" if suffix in VIDEO_SUFFIXES else None


def _file_job(path: Path, options: Options, single: bool) -> Job:
    kind = kind_of(path)
    if kind is None:
        raise UsageError(f"'{path}' is neither picture nor video by its suffix")
    output = options.output
    if output is None:
        return Job(path, path.with_name(f"{path.stem}_{_label(options)}{_target_suffix(path)}"), kind)
    names_file = kind_of(output) is not None and not output.is_dir()
    if single and names_file:
        return Job(path, _checked(output, kind), kind)
    if names_file:
        raise UsageError(f"'{output}' is a file name, but there are several inputs", "name a folder with -o")
    if single and output.suffix and not output.is_dir():
        known = ", ".join(IMAGE_SUFFIXES if kind == "still" else CONTAINERS)
        raise UsageError(f"'{output}' has no suffix of a {_WORDS[kind]} that can be written", f"use {known}")
    return Job(path, (output / path.name).with_suffix(_target_suffix(path)), kind)


def _folder_jobs(folder: Path, options: Options, single: bool) -> JobList:
    resolved = _real(folder)
    root = options.output
    if root is None:
        if not resolved.name:
            raise UsageError(f"'{folder}' has no folder beside it to write to", "name one with -o")
        root = resolved.with_name(f"{resolved.name}_{_label(options)}")
    elif kind_of(root) and not root.is_dir():
        raise UsageError(f"'{root}' is a file name, but '{folder}' is a folder", "name a folder with -o")
    elif not single:
        root = root / resolved.name
    jobs: list[Job] = []
    ignored: list[Path] = []
    unreadable: list[Unreadable] = []
    for path in _files(folder, root, ignored, unreadable):
        kind = kind_of(path)
        if kind is None:
            ignored.append(path)
        else:
            target = root / path.relative_to(folder)
            jobs.append(Job(path, target.with_suffix(_target_suffix(path)), kind))
    return JobList(jobs, ignored, unreadable)


def _files(
    folder: Path, target_root: Path, ignored: list[Path], unreadable: list[Unreadable]
) -> Iterator[Path]:
    """All files below ``folder``, sorted; hidden ones, job folders and all below the target are left out.

    Links to folders, which may lead in circles, and links to nowhere are added to ``ignored``. Folders that
    cannot be looked into are added to ``unreadable``, and the rest is searched.
    """
    skipped = _real(target_root)

    def note(error: OSError) -> None:
        unreadable.append(Unreadable(Path(error.filename), error.strerror or str(error)))

    for parent, names, files in os.walk(folder, onerror=note):
        names[:] = sorted(
            name
            for name in names
            if not name.startswith(".")
            and not name.endswith(job_folder.SUFFIX)
            and _real(Path(parent) / name) != skipped
        )
        visible = [Path(parent) / name for name in sorted(files) if not name.startswith(".")]
        try:
            ignored += [path for name in names if (path := Path(parent) / name).is_symlink()]
            found = [path for path in visible if path.is_file()]  # no pipes, no links to nowhere
            ignored += [path for path in visible if path.is_symlink() and not path.is_file()]
        except OSError as error:  # names can be listed, but nothing more
            unreadable.append(Unreadable(Path(parent), error.strerror or str(error)))
        else:
            yield from found


def _real(path: Path) -> Path:
    """The path without links; unlike ``Path.resolve``, one that ends in a circle of links is no error."""
    return Path(os.path.realpath(path))


def _label(options: Options) -> str:
    engine = options.engine
    if engine.size_px:
        return f"{engine.size_px[0]}x{engine.size_px[1]}"
    return f"x{DEFAULT_SCALE if engine.scale is None else engine.scale:g}"


def _target_suffix(path: Path) -> str:
    """The source's own suffix where that format can be written."""
    suffix = path.suffix
    if suffix.lower() in VIDEO_SUFFIXES and suffix.lower() not in CONTAINERS:
        return ".mkv"
    return suffix


def _checked(target: Path, kind: Kind) -> Path:
    if kind_of(target) != kind:
        raise UsageError(f"a {_WORDS[kind]} cannot be written to '{target}'", "check the suffix")
    if kind == "video" and target.suffix.lower() not in CONTAINERS:
        raise UsageError(f"'{target}' cannot be written", f"use {', '.join(CONTAINERS)}")
    return target


def _as_preview(job: Job) -> Job:
    if job.kind == "still":
        raise UsageError(f"--preview is for videos, and '{job.source}' is a picture")
    return Job(job.source, job.target.with_suffix(_PREVIEW), "preview")


def bicubic_beside(preview: Path) -> Path:
    """Where the same frame goes, enlarged without a network."""
    return preview.with_name(preview.name.removesuffix(_PREVIEW) + _BICUBIC)


def _refuse_collisions(jobs: list[Job]) -> None:
    sources = {_real(job.source) for job in jobs}
    targets: dict[Path, Path] = {}
    for job in jobs:
        target = _real(job.target)
        if target in sources:
            raise UsageError(f"'{job.target}' is an input and would be overwritten", "choose another -o")
        if targets.get(target) == job.source:
            raise UsageError(f"'{job.source}' is given twice")
        if target in targets:
            raise UsageError(
                f"'{targets[target]}' and '{job.source}' would both be written to '{job.target}'"
            )
        targets[target] = job.source


def _refuse_folders(jobs: list[Job]) -> None:
    for job in jobs:
        if job.target.is_dir():
            raise UsageError(f"'{job.target}' is a folder", "choose another name with -o")


def _existing(job: Job) -> list[Path]:
    """What a job would replace; not the work of a run that was killed in its last moment."""
    targets = [] if job_folder.was_finished(job.target) else [job.target]
    if job.kind == "preview":
        targets.append(bicubic_beside(job.target))
    return [path for path in targets if path.exists()]


def _refuse_existing(made: Mapping[Job, list[Path]]) -> None:
    first, *others = [path for existing in made.values() for path in existing]
    more = f" (and {len(others)} more)" if others else ""
    raise UsageError(
        f"'{first}' exists{more}", "--overwrite replaces what exists, --skip-existing makes what does not"
    )


def _refuse_long_names(jobs: list[Job]) -> None:
    """Let the file system say which names it does not take, those beside the targets included.

    Raises:
        OSError: Such a name is too long.
    """
    for job in jobs:
        longest = job_folder.folder_of(job.target) if job.kind == "video" else job.target
        # A folder that is still to be made refuses nothing, so the one in which it will be is asked.
        parents = (parent for parent in longest.absolute().parents if parent.exists())
        there = next(parents, longest.parent)
        with suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(there / longest.name)
