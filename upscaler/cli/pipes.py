"""``-`` among the arguments: standard input as a file to read, standard output as a file to write.

Decided here alone, for pictures and videos. What comes in is kept in a temporary file until the stream ends,
because a picture is only whole then and a video is read several times. An image that goes out is written to a
temporary file first, so that a reader gets a whole result or nothing; the frames of a video go out as they
are made, as y4m. The rest of the program sees two files.
"""

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, cast

from upscaler import image_sequences
from upscaler.content import content_of
from upscaler.errors import MediaError, UpscalerError, UsageError
from upscaler.images.formats import TIFF_SIGNATURES, TIFF_SUFFIX
from upscaler.options import Options
from upscaler.remote.urls import any_remote
from upscaler.video.formats import RAW_SUFFIX

STANDARD = Path("-")
_INPUT, _OUTPUT = "standard input", "standard output"
_ANY_SUFFIX = r"(?:\.\w+)*"
_CHUNK_BYTES = 1 << 20
# What needs files of its own beside the result.
_NOT_WITH_OUTPUT = ("name", "preview", "compare")


@dataclass(frozen=True)
class Pipes:
    """The arguments with files in place of ``-``.

    Attributes:
        inputs: Files and folders.
        options: With a folder as output if results go to standard output.
        is_output: Whether they do.
        raw_output: Standard output itself, which takes the frames of a video as they are made (y4m).
        names: What a user is shown in place of a temporary path, which is without its suffix here.
        staged: Puts URLs in place of the paths of staged files.
    """

    inputs: list[Path]
    options: Options
    is_output: bool = False
    raw_output: BinaryIO | None = None
    names: dict[str, str] = field(default_factory=dict)
    staged: Callable[[str], str] = str

    def shown(self, text: str) -> str:
        """A text for the user, without temporary paths."""
        for path, name in self.names.items():
            text = re.sub(rf"'?{re.escape(path)}{_ANY_SUFFIX}'?", name, text)
        return self.staged(text)

    def shown_json(self, line: str) -> str:
        """A line of the report, with ``-`` for a temporary path."""
        for path in self.names:
            escaped = re.escape(json.dumps(path)[1:-1])
            line = re.sub(escaped + _ANY_SUFFIX, str(STANDARD), line)
        return self.staged(line)

    def send(self, target: Path) -> None:
        """Copy a finished file to standard output, if results go there.

        Raises:
            MediaError: The reader is gone, or the disk is full.
        """
        if not self.is_output or self.raw_output:
            return
        unbuffered = _unbuffered_output()
        try:
            with target.open("rb") as file:
                while rest := file.read(_CHUNK_BYTES):
                    while rest:
                        rest = rest[unbuffered.write(rest) or 0 :]
        except OSError as error:
            raise MediaError(f"cannot write {_OUTPUT}: {error.strerror or error}") from error


def are_used(inputs: Sequence[Path], options: Options) -> bool:
    """Whether standard input is read, or results go to standard output."""
    return STANDARD in inputs or options.output_path == STANDARD


@contextmanager
def opened(inputs: Sequence[Path], options: Options, *, report_on_output: bool) -> Iterator[Pipes]:
    """Read standard input if it is among the inputs; temporary files are gone when the block ends.

    Args:
        inputs: Of the command.
        options: Of the command.
        report_on_output: Whether the JSON report goes to standard output.

    Raises:
        UsageError: What is asked for cannot go through a pipe, or a stream is closed, empty or a terminal.
    """
    reads, writes = STANDARD in inputs, options.output_path == STANDARD
    if not (reads or writes):
        yield Pipes(list(inputs), options)
        return
    _check(inputs, options, reads=reads, writes=writes)
    if writes and any_remote(inputs):
        raise UsageError(f"{_OUTPUT} takes local files only", "use -o FILE")
    if writes and report_on_output:
        raise UsageError("-o - and --json - exclude each other", "name a file for the report")
    with tempfile.TemporaryDirectory(prefix="upscale-") as name:
        folder = Path(name)
        pipes = Pipes(list(inputs), options, is_output=writes)
        try:
            if reads:
                source = _received(folder)
                pipes.names[str(source.with_suffix(""))] = _INPUT
                pipes = replace(pipes, inputs=[source if each == STANDARD else each for each in pipes.inputs])
            if writes:
                results = folder / "results"
                results.mkdir()
                target = results / pipes.inputs[0].stem
                pipes.names[str(target)] = _OUTPUT
                if _is_video(pipes.inputs[0]):
                    pipes = replace(pipes, raw_output=_unbuffered_output())
                    target = target.with_name(f"{target.name}{RAW_SUFFIX}")
                    pipes = replace(pipes, options=replace(options, output=target))
                else:
                    pipes = replace(pipes, options=replace(options, output=results))
            yield pipes
        except UpscalerError as error:
            raise type(error)(pipes.shown(error.message), pipes.shown(error.hint)) from error


def _check(inputs: Sequence[Path], options: Options, *, reads: bool, writes: bool) -> None:
    if reads and inputs.count(STANDARD) > 1:
        raise UsageError(f"{_INPUT} is given twice")
    if reads and options.output is None:
        raise UsageError(f"{_INPUT} needs -o", "-o FILE, or -o - for standard output")
    if not writes:
        return
    if len(inputs) != 1 or inputs[0].is_dir():
        raise UsageError(f"{_OUTPUT} takes one result", "pass one file, or use -o FOLDER")
    for name in _NOT_WITH_OUTPUT:
        if getattr(options, name):
            raise UsageError(f"--{name} and -o - exclude each other", "use -o FILE")
    if _stream(sys.stdout).isatty():
        raise UsageError(f"{_OUTPUT} is a terminal", "redirect it: upscale - -o - < a.png > b.png")


def _is_video(source: Path) -> bool:
    if image_sequences.is_pattern(source):
        return True
    content = content_of(source) if source.is_file() else None
    return content is not None and content.kind == "video"


def _unbuffered_output() -> BinaryIO:
    stream = _stream(sys.stdout)
    raw: BinaryIO = getattr(stream, "raw", stream)  # nothing is left to write when Python ends
    return raw


def _received(folder: Path) -> Path:
    """Standard input as a file."""
    stream = _stream(sys.stdin)
    if stream.isatty():
        raise UsageError(f"{_INPUT} is a terminal", "pipe an image into it: upscale - -o b.png < a.png")
    source = folder / "stdin"
    with source.open("wb") as file:
        shutil.copyfileobj(stream, file)
    if source.stat().st_size == 0:
        raise UsageError(f"{_INPUT} is empty")
    with source.open("rb") as file:
        is_tiff = file.read(4) in TIFF_SIGNATURES  # which, unlike others, are recognised by their suffix
    return source.rename(source.with_suffix(TIFF_SUFFIX)) if is_tiff else source


def _stream(text: object) -> BinaryIO:
    """The bytes of standard input or output.

    Raises:
        UsageError: It was closed before the start.
    """
    if text is None:
        raise UsageError("-: the standard stream is closed")
    return cast(BinaryIO, getattr(text, "buffer"))  # noqa: B009 - not of every text stream
