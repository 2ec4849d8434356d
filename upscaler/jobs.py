"""Input paths -> jobs: what is upscaled and where it goes. Finds what is impossible before work starts."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from upscaler import image_sequences
from upscaler.content import Content, content_of, is_animation, kind_of
from upscaler.errors import MediaError, UsageError
from upscaler.images.formats import (
    ANIMATION_SUFFIXES,
    LOSSLESS_SUFFIXES,
    READ_ONLY_SUFFIXES,
    WRITABLE_SUFFIXES,
    format_of,
)
from upscaler.models.shipped import DEFAULT_SCALE
from upscaler.options import DEFAULT_MODEL, Options
from upscaler.resume import job_folder
from upscaler.system import disk, file_names, folder_lock
from upscaler.video.formats import CONTAINERS, RAW_SUFFIX

Kind = Literal["still", "video", "preview"]

_NOUNS: dict[Kind, str] = {"still": "an image", "video": "a video", "preview": "a video"}
_PREVIEW, _BICUBIC = ".preview.png", ".bicubic.png"
# Folders in which systems keep thumbnails, deleted files and snapshots, in lower case; like hidden ones.
_SYSTEM_FOLDERS = {
    "#recycle", "#snapshot", "@eadir", "@recycle", "@recently-snapshot", "@tmp",  # Synology, QNAP
    "$recycle.bin", "recycler", "system volume information",  # Windows
    "__macosx", "lost+found", "lost.dir",  # macOS archives, Linux, Android
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One file to upscale. A ``preview`` writes one frame of a video as an image.

    Attributes:
        source: The file.
        target: The file to write.
        kind: What it is.
        replaces: Whether an existing target is replaced, also one that appears during the work.
        is_skippable: Whether the job is skipped if somebody else makes the target.
    """

    source: Path
    target: Path
    kind: Kind
    replaces: bool = True
    is_skippable: bool = False

    def has_result(self) -> bool:
        """Whether a file of a name that the job writes exists."""
        return any(path.exists() for path in targets_of(self))

    @property
    def writes_images(self) -> bool:
        """Whether a video becomes numbered images or an animation."""
        is_image = image_sequences.is_pattern(self.target) or kind_of(self.target) == "still"
        return self.kind == "video" and is_image

    @property
    def writes_y4m(self) -> bool:
        """Whether a video becomes a stream of raw frames."""
        return self.kind == "video" and self.target.suffix.lower() == RAW_SUFFIX

    @property
    def is_encoded(self) -> bool:
        """Whether a video becomes an encoded video, in segments."""
        return self.kind == "video" and not (self.writes_images or self.writes_y4m)

    @property
    def has_date(self) -> bool:
        """Whether one file becomes one other, which can have its date."""
        return not any(map(image_sequences.is_pattern, (self.source, self.target)))

    def make_target_folder(self) -> None:
        """Make the folder of the target, and the folders above it.

        Raises:
            MediaError: It cannot be made, or its name is that of a file.
        """
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MediaError(f"cannot make the folder '{self.target.parent}': {error.strerror}") from error


@dataclass(frozen=True)
class Unreadable:
    """A folder that was not searched, or only in part."""

    folder: Path
    reason: str

    def __str__(self) -> str:
        return f"cannot read folder '{self.folder}': {self.reason}"


@dataclass(frozen=True)
class JobList:
    """What is to be done.

    Attributes:
        jobs: In the order of the inputs; files in folders sorted by name.
        ignored: Files in folders whose suffix is neither an image's nor a video's, links to folders, and
            broken links.
        unreadable: Folders with files that may be missing from the jobs.
        skipped: Jobs whose target exists already, or whose source is the result of another job.
    """

    jobs: list[Job]
    ignored: list[Path]
    unreadable: list[Unreadable] = field(default_factory=list)
    skipped: list[Job] = field(default_factory=list)

    def ignored_kinds(self) -> str:
        """Counts of ignored files by suffix, and of links: ``2 .txt, 1 .zip, 1 linked``."""
        linked = {path for path in self.ignored if path.is_symlink() and not path.is_file()}
        suffixes = Counter(
            "linked" if path in linked else path.suffix.lower() or path.name for path in self.ignored
        )
        return ", ".join(f"{count} {suffix}" for suffix, count in sorted(suffixes.items()))


def plan(inputs: Iterable[Path], options: Options) -> JobList:
    """List the jobs, or raise what is wrong with them.

    Args:
        inputs: Files and folders; folders are searched recursively.
        options: Where results go, and whether existing ones are replaced or skipped.

    Raises:
        UsageError: An input is missing or neither image nor video; no input is left; two inputs with the same
            name have the same target; a target is an input, or exists; a preview of an image is requested; a
            name is too long, or in a folder that cannot be read.
    """
    try:
        job_list = _plan(list(inputs), options)
        _check_name_lengths(job_list.jobs)
    except OSError as error:
        name = error.filename or "."  # without a name, the current folder was deleted
        raise UsageError(f"cannot use '{name}': {error.strerror}") from error
    return job_list


def _plan(inputs: list[Path], options: Options) -> JobList:
    jobs: list[Job] = []
    ignored: list[Path] = []
    unreadable: list[Unreadable] = []
    single = len(inputs) == 1
    if options.output_path == Path("-"):
        raise UsageError("-o - is not a file", "results cannot be written to standard output")
    for path in inputs:
        if path.is_dir():
            found = _folder_jobs(path, options, single)
            jobs += found.jobs
            ignored += found.ignored
            unreadable += found.unreadable
        elif path.is_file() or image_sequences.is_pattern(path):
            jobs.append(_file_job(path, options, single))
        else:
            problem = "is neither a file nor a folder" if path.exists() else "does not exist"
            raise UsageError(f"'{path}' {problem}", "pass images, videos, or folders of them")
    if not jobs and unreadable:
        raise UsageError(str(unreadable[0]))
    if not jobs:
        names = ", ".join(f"'{path}'" for path in inputs)
        where = f"in {names}" if inputs else "were given"
        raise UsageError(f"no images or videos {where}", "in folders, files are recognised by their suffix")
    if options.preview:
        jobs = [_as_preview(job) for job in jobs]
    if options.lossless:
        _check_lossless(jobs)
    planned = jobs = _with_distinct_targets(jobs)
    results = _results_of_others(planned) if options.skip_existing else []
    jobs = [job for job in planned if job not in results]
    _check_possible_names(jobs)
    _check_collisions(jobs)
    _check_folders(jobs)
    _check_writable(jobs)
    existing = {} if options.overwrite else {job: paths for job in jobs if (paths := _existing_targets(job))}
    if existing and not options.skip_existing:
        raise _exist_error([path for paths in existing.values() for path in paths])
    remaining = [job for job in jobs if job not in existing]
    skipped = [job for job in planned if job in existing or job in results]
    # What exists and was not refused is the finished work of a run that was killed at its very end.
    remaining = [
        replace(
            job,
            replaces=options.overwrite or job.has_result(),
            is_skippable=options.skip_existing,
        )
        for job in remaining
    ]
    return JobList(remaining, ignored, unreadable, skipped)


def _file_job(path: Path, options: Options, single: bool) -> Job:
    if image_sequences.is_pattern(path):
        image_sequences.find(path)
        return _sequence_job(path, options, single)
    content = content_of(path)
    if content is None:
        raise UsageError(f"'{path}' is neither an image nor a video, by its content and by its suffix")
    kind, suffix = content.kind, _target_suffix(content, options)
    output = options.output_path
    if output is not None and single and _makes_images(path, kind, output):
        return Job(path, _check_images(output, options), "video")
    if output is not None and kind_of(output) == "video" and is_animation(path):
        kind = "video"
    if output is None:
        usual = f"{path.stem}_{_label(options)}"
        return Job(path, path.with_name(_target_name(path, kind, options, usual) + suffix), kind)
    is_file_name = kind_of(output) is not None and not output.is_dir()
    if single and is_file_name:
        return Job(path, _check_target(output, kind, options), kind)
    if is_file_name:
        raise UsageError(f"'{output}' is a file name, but there are several inputs", "use -o FOLDER")
    if single and output.suffix and not output.is_dir():
        raise UsageError(
            f"cannot write {_NOUNS[kind]} to '{output}': unknown suffix", f"use {_writable(kind)}"
        )
    return Job(path, output / (_target_name(path, kind, options, path.stem) + suffix), kind)


def _makes_images(path: Path, kind: Kind, output: Path) -> bool:
    """Whether the frames of a video become numbered images, or one animation; or those of an animation."""
    if image_sequences.is_pattern(output):
        return kind == "video" or is_animation(path)
    return kind == "video" and output.suffix.lower() in ANIMATION_SUFFIXES and not output.is_dir()


def _check_images(output: Path, options: Options) -> Path:
    _check_target(output, "still", options)
    return output


def _sequence_job(pattern: Path, options: Options, single: bool) -> Job:
    """The job for numbered images: a video, unless the output is numbered or an animation, too."""
    output, suffix = options.output_path, ".mp4"
    name = image_sequences.name_of(pattern)
    if output is None:
        usual = f"{name}_{_label(options)}"
        return Job(
            pattern, pattern.with_name(_target_name(pattern, "video", options, usual) + suffix), "video"
        )
    if single and _makes_images(pattern, "video", output):
        return Job(pattern, _check_images(output, options), "video")
    if kind_of(output) is not None and not output.is_dir():
        if not single:
            raise UsageError(f"'{output}' is a file name, but there are several inputs", "use -o FOLDER")
        return Job(pattern, _check_target(output, "video", options), "video")
    return Job(pattern, output / (_target_name(pattern, "video", options, name) + suffix), "video")


def _folder_jobs(folder: Path, options: Options, single: bool) -> JobList:
    # A link has its result beside itself, under its own name; `.` and `..` have no name of their own.
    named = _real(folder) if folder.name in ("", "..") else folder.absolute()
    root = options.output_path
    if root is None:
        if not named.name:
            raise UsageError(f"'{folder}' has no parent folder to write to", "use -o FOLDER")
        root = named.with_name(f"{named.name}_{_label(options)}")
    elif kind_of(root) and not root.is_dir():
        raise UsageError(f"'{root}' is a file name, but '{folder}' is a folder", "use -o FOLDER")
    elif not single:
        root = root / named.name
    jobs: list[Job] = []
    ignored: list[Path] = []
    unreadable: list[Unreadable] = []
    for path in _files(folder, root, ignored, unreadable):
        content = content_of(path) if kind_of(path) else None
        if content is None:
            ignored.append(path)
        else:
            name = _target_name(path, content.kind, options, path.stem) + _target_suffix(content, options)
            jobs.append(Job(path, (root / path.relative_to(folder)).with_name(name), content.kind))
    return JobList(jobs, ignored, unreadable)


def _files(
    folder: Path, target_root: Path, ignored: list[Path], unreadable: list[Unreadable]
) -> Iterator[Path]:
    """All files below ``folder``, sorted, but no hidden ones.

    Job folders, folders of the system and the folder of the targets are left out.

    Links to folders, which may be circular, and broken links are added to ``ignored``. Folders that cannot be
    read are added to ``unreadable``, and the rest is searched.
    """
    excluded = _real(target_root)

    def on_error(error: OSError) -> None:
        unreadable.append(Unreadable(Path(error.filename), error.strerror or str(error)))

    for parent, names, files in os.walk(folder, onerror=on_error):
        names[:] = sorted(
            name
            for name in names
            if not name.startswith(".")  # with AppleDouble files, `._photo.jpg`
            and name.lower() not in _SYSTEM_FOLDERS
            and not name.endswith(job_folder.SUFFIX)
            and _real(Path(parent) / name) != excluded
        )
        visible = [Path(parent) / name for name in sorted(files) if not name.startswith(".")]
        try:
            ignored += [path for name in names if (path := Path(parent) / name).is_symlink()]
            readable = [path for path in visible if path.is_file()]  # no pipes, no broken links
            ignored += [path for path in visible if path.is_symlink() and not path.is_file()]
        except OSError as error:  # the folder can be listed, but not entered
            unreadable.append(Unreadable(Path(parent), error.strerror or str(error)))
        else:
            yield from readable


def _real(path: Path) -> Path:
    """The path without links. ``Path.resolve`` would raise for a circle of links."""
    return Path(os.path.realpath(path))


def _label(options: Options) -> str:
    if options.size_px:
        return f"{options.size_px[0]}x{options.size_px[1]}"
    return f"x{DEFAULT_SCALE if options.scale is None else options.scale:g}"


def _target_name(path: Path, kind: Kind, options: Options, usual: str) -> str:
    """The name of a result without its suffix: as ``--name`` says, else the usual one."""
    if options.name is None:
        return usual
    return options.name.format(
        stem=path.stem,
        scale=f"{DEFAULT_SCALE if options.scale is None else options.scale:g}",
        size="x".join(map(str, options.size_px or ())),
        model="+".join(Path(model).stem for model in options.models) or DEFAULT_MODEL[kind],
    )


def _target_suffix(content: Content, options: Options) -> str:
    """What ``--format`` says of images; else the suffix of the source if we write its format."""
    suffix = content.suffix
    if content.kind == "still" and options.format:
        return f".{options.format}"
    if suffix.lower() in READ_ONLY_SUFFIXES:
        return READ_ONLY_SUFFIXES[suffix.lower()]
    if content.kind == "video" and suffix.lower() not in CONTAINERS:
        return ".mkv"
    return suffix


def _writable(kind: Kind) -> str:
    """The suffixes of results, for a message."""
    return ", ".join(WRITABLE_SUFFIXES if kind == "still" else CONTAINERS)


def _check_target(target: Path, kind: Kind, options: Options) -> Path:
    if options.name is not None:
        raise UsageError(f"--name and the name '{target.name}' exclude each other", "use -o FOLDER")
    if kind == "still" and options.format and format_of(target) != format_of(Path(f"a.{options.format}")):
        raise UsageError(f"--format {options.format} and '-o {target}' exclude each other")
    if target.suffix.lower() in READ_ONLY_SUFFIXES:
        name = target.suffix.lower().removeprefix(".").upper()
        raise UsageError(f"cannot write '{target}': {name} is only read", f"use {_writable(kind)}")
    if kind_of(target) != kind:
        raise UsageError(f"cannot write {_NOUNS[kind]} to '{target}'", f"use {_writable(kind)}")
    if kind == "video" and target.suffix.lower() not in (*CONTAINERS, RAW_SUFFIX):
        raise UsageError(f"cannot write '{target}': unsupported container", f"use {', '.join(CONTAINERS)}")
    return target


def _check_lossless(jobs: list[Job]) -> None:
    for job in jobs:
        image_format = format_of(job.target)
        if image_format and not image_format.lossless:
            writable = ", ".join(suffix.removeprefix(".") for suffix in LOSSLESS_SUFFIXES)
            raise UsageError(
                f"--lossless: '{job.target}' would not be, as {image_format.name}",
                f"add --format with one of {writable}",
            )


def _as_preview(job: Job) -> Job:
    if job.kind == "still":
        raise UsageError(f"--preview is for videos, but '{job.source}' is an image")
    return Job(job.source, job.target.with_suffix(_PREVIEW), "preview")


def _with_distinct_targets(jobs: list[Job]) -> list[Job]:
    """The same jobs, where ``a.avi`` beside ``a.mkv`` becomes ``a.avi_x4.mkv``.

    A source whose suffix the target keeps has the name without it; otherwise, the first one has it.
    """
    chosen: dict[Path, Job] = {}
    for job in jobs:
        earlier = chosen.setdefault(job.target, job)
        if _keeps_suffix(job) and not _keeps_suffix(earlier):
            chosen[job.target] = job
    return [job if _has_name(job, chosen[job.target]) else _with_suffix_in_name(job) for job in jobs]


def _keeps_suffix(job: Job) -> bool:
    return job.source.suffix.lower() == job.target.suffix.lower()


def _has_name(job: Job, chosen: Job) -> bool:
    """Whether a job keeps its target, which ``chosen`` has; not if its source has the same name."""
    return job is chosen or job.source.suffix == chosen.source.suffix


def _with_suffix_in_name(job: Job) -> Job:
    name = job.target.name.replace(job.source.stem, job.source.name, 1)
    return replace(job, target=job.target.with_name(name))


def targets_of(job: Job) -> list[Path]:
    """The files that a job writes; of numbered images, those that exist."""
    if job.writes_images and image_sequences.is_pattern(job.target):
        return [path for _, path in image_sequences.existing(job.target)]
    return [job.target, bicubic_beside(job.target)] if job.kind == "preview" else [job.target]


def bicubic_beside(preview: Path) -> Path:
    """Where a preview writes the same frame upscaled by bicubic."""
    return preview.with_name(preview.name.removesuffix(_PREVIEW) + _BICUBIC)


def _results_of_others(jobs: list[Job]) -> list[Job]:
    """Jobs whose source is the target of another: ``a_x4.jpg`` of an earlier run, in ``upscale *.jpg``."""
    targets = {_real(job.target) for job in jobs if _real(job.target) != _real(job.source)}
    return [job for job in jobs if _real(job.source) in targets]


def _check_possible_names(jobs: list[Job]) -> None:
    """First of all: of a name that is a device or no name at all, the system says that it exists."""
    if names := file_names.refused(job.target for job in jobs):
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        raise UsageError(
            f"the file system refuses the name '{names[0]}'{more}", "choose another name with -o"
        )


def _check_collisions(jobs: list[Job]) -> None:
    sources = {_real(job.source) for job in jobs}
    targets: dict[Path, Path] = {}
    alike: dict[str, list[Path]] = {}  # names that some file systems take for the same
    for source in sources:
        alike.setdefault(file_names.folded(source), []).append(source)
    for job in jobs:
        target = _real(job.target)
        twins = alike.setdefault(file_names.folded(target), [])
        target = next((twin for twin in twins if twin == target or file_names.are_same(twin, target)), target)
        twins.append(target)
        if target in sources:
            raise UsageError(f"'{job.target}' is an input and would be overwritten", "choose another -o")
        if targets.get(target) == job.source:
            raise UsageError(f"'{job.source}' is given twice")
        if target in targets:
            raise UsageError(
                f"'{targets[target]}' and '{job.source}' would both be written to '{job.target}'"
            )
        targets[target] = job.source


def _check_folders(jobs: list[Job]) -> None:
    for job in jobs:
        if job.target.is_dir():
            raise UsageError(f"'{job.target}' is a folder", "choose another name with -o")


def _check_writable(jobs: list[Job]) -> None:
    for folder in dict.fromkeys(job.target.parent.absolute() for job in jobs):
        nearest = disk.existing_folder(folder)
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise UsageError(f"the folder '{nearest}' cannot be written to", "choose another one with -o")


def _existing_targets(job: Job) -> list[Path]:
    """Files that a job would replace, except the finished work of a run that was killed at its very end."""
    job_folder.remove_leftovers(job.target)
    targets = targets_of(job)
    if job_folder.was_finished(job.target) and job.target in targets:
        targets.remove(job.target)
    return [path for path in targets if path.exists()]


def _exist_error(paths: list[Path]) -> UsageError:
    more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
    return UsageError(
        f"'{paths[0]}' already exists{more}", "--overwrite replaces files, --skip-existing keeps them"
    )


def _check_name_lengths(jobs: list[Job]) -> None:
    """Ask the file system whether the names of targets, job folders and their locks are short enough.

    Raises:
        UsageError: Windows refuses a path of this length.
        OSError: A name is too long.
    """
    longest_chars = file_names.longest_path()
    for job in jobs:
        longest = job_folder.longest_path_of(job.target) if job.kind == "video" else job.target
        if longest_chars is not None and len(str(longest.absolute())) > longest_chars:
            raise UsageError(
                f"'{job.target}' is too long: Windows allows {longest_chars} characters, folders included",
                "choose a shorter -o, or enable long paths in Windows",
            )
        if job.kind == "video":
            longest = folder_lock.lock_file_of(job_folder.folder_of(job.target))
        # A folder that does not exist yet accepts every name; ask the nearest parent that exists.
        existing = (parent for parent in longest.absolute().parents if parent.exists())
        parent = next(existing, longest.parent)
        with suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(parent / longest.name)
