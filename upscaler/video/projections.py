"""360-degree video and stereoscopic 3D: read from a frame, and written into the finished file.

av does not pass this side data to a muxer. In mp4 and mov the boxes ``st3d`` and ``sv3d`` (Google's
"Spherical Video V2") are therefore added afterwards, in Matroska the element ``Projection``; for 3D, its
muxer reads a tag.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from av.video.frame import VideoFrame

from upscaler.video import boxes, matroska_projection
from upscaler.video.boxes import packed

if TYPE_CHECKING:
    from av.sidedata.sidedata import SideData

# FFmpeg's numbers.
_SIDE_BY_SIDE, _TOP_BOTTOM = 1, 2
_INVERTED = 1
_EQUIRECTANGULAR, _CUBEMAP, _TILE = 0, 1, 2
# Kind of 3D -> Matroska's names for it, with the left and with the right eye first.
_MATROSKA_NAMES = {
    _SIDE_BY_SIDE: ("left_right", "right_left"),
    _TOP_BOTTOM: ("top_bottom", "bottom_top"),
    3: ("block_lr", "block_rl"),
    4: ("checkerboard_lr", "checkerboard_rl"),
    6: ("row_interleaved_lr", "row_interleaved_rl"),
    7: ("col_interleaved_lr", "col_interleaved_rl"),
}
_MP4_STEREO = {_TOP_BOTTOM: 1, _SIDE_BY_SIDE: 2}
_METADATA_SOURCE = b"upscaler\0"


@dataclass(frozen=True)
class Projection:
    """How the pixels of a frame are meant to be seen.

    Attributes:
        stereo: FFmpeg's number for how two views share a frame, 0 for one view.
        right_first: Whether the first of the two is that of the right eye.
        spherical: FFmpeg's number of the projection of 360-degree video; ``None``: it is flat.
        rotation: Yaw, pitch and roll, 16.16 degrees.
        bounds: Left, top, right and bottom of a tile, 0.32 of the whole.
        padding_px: Around the faces of a cube.
    """

    stereo: int = 0
    right_first: bool = False
    spherical: int | None = None
    rotation: tuple[int, int, int] = (0, 0, 0)
    bounds: tuple[int, int, int, int] = (0, 0, 0, 0)
    padding_px: int = 0

    @property
    def stereo_mode(self) -> str:
        """Matroska's name of the kind of 3D; empty if there is none."""
        return _MATROSKA_NAMES.get(self.stereo, ("", ""))[self.right_first]

    def lost(self, suffix: str, *, is_mp4: bool, is_cropped: bool) -> Iterator[str]:
        """A line for each thing that a file of this suffix will not declare."""
        if self.spherical is not None and is_cropped:
            yield "360 degree metadata is lost: the picture is cropped"
        elif self.spherical is not None and not self._layout(1):
            yield f"360 degree metadata is lost: it cannot be written into {suffix}"
        if self.stereo and not (self._st3d() if is_mp4 else self.stereo_mode):
            yield f"stereoscopic 3D metadata is lost: it cannot be written into {suffix}"

    def boxes(self, factor: float, *, is_cropped: bool) -> bytes:
        """What the description of the video contains in mp4 and mov; empty if there is nothing to say.

        Args:
            factor: By how much the picture is larger than the source's.
            is_cropped: Whether parts of it are missing.
        """
        return self._st3d() + (b"" if is_cropped else self._sv3d(factor))

    def element(self, factor: float, *, is_cropped: bool) -> bytes:
        """What the description of the video contains in Matroska; empty if there is nothing to say.

        Args:
            factor: As for ``boxes``.
            is_cropped: As for ``boxes``.
        """
        layout = b"" if is_cropped else self._layout(factor)
        if not layout:
            return b""
        is_cube = self.spherical == _CUBEMAP
        kind = matroska_projection.CUBEMAP if is_cube else matroska_projection.EQUIRECTANGULAR
        private = layout[8:] if is_cube or any(self.bounds) else b""
        yaw, pitch, roll = (angle / (1 << 16) for angle in self.rotation)
        return matroska_projection.element(kind, private, (yaw, pitch, roll))

    def _st3d(self) -> bytes:
        if self.stereo not in _MP4_STEREO or self.right_first:
            return b""
        return packed(b"st3d", bytes(4) + bytes([_MP4_STEREO[self.stereo]]))

    def _sv3d(self, factor: float) -> bytes:
        layout = self._layout(factor)
        if not layout:
            return b""
        header = packed(b"prhd", bytes(4) + struct.pack(">3i", *self.rotation))
        source = packed(b"svhd", bytes(4) + _METADATA_SOURCE)
        return packed(b"sv3d", source + packed(b"proj", header + layout))

    def _layout(self, factor: float) -> bytes:
        """The box ``cbmp`` or ``equi``; empty for other projections."""
        if self.spherical == _CUBEMAP:
            return packed(b"cbmp", bytes(4) + struct.pack(">II", 0, round(self.padding_px * factor)))
        if self.spherical in (_EQUIRECTANGULAR, _TILE):
            left, top, right, bottom = self.bounds
            return packed(b"equi", bytes(4) + struct.pack(">4I", top, bottom, left, right))
        return b""


FLAT = Projection()


def read(frame: VideoFrame) -> Projection:
    """What a frame declares."""
    try:
        stereo, sphere = (
            cast("SideData | None", frame.side_data.get(kind)) for kind in ("STEREO3D", "SPHERICAL")
        )
    except ValueError:  # av 18.1: the frame also has side data of a type unknown to it
        return FLAT
    kind, flags = struct.unpack_from("=2i", memoryview(stereo)) if stereo is not None else (0, 0)
    if sphere is None:
        return Projection(kind, bool(flags & _INVERTED))
    spherical, yaw, pitch, roll, *rest = struct.unpack_from("=4i5I", memoryview(sphere))
    left, top, right, bottom, padding_px = rest
    return Projection(
        kind, bool(flags & _INVERTED), spherical, (yaw, pitch, roll), (left, top, right, bottom), padding_px
    )


def write_boxes(path: Path, more: bytes) -> None:
    """Add boxes to the description of the first track's samples in a finished mp4.

    Args:
        path: The file; its ``moov`` box is the last one, so that nothing else moves.
        more: From ``Projection.boxes``.

    Raises:
        OSError: The file cannot be read or written.
    """
    with path.open("r+b") as file:
        start = boxes.start_of_movie(file)
        file.seek(start)
        movie = file.read()
        file.seek(start)
        file.write(_grown(movie, (b"trak", b"mdia", b"minf", b"stbl", b"stsd", b""), more))


def _grown(box: bytes, path: tuple[bytes, ...], more: bytes) -> bytes:
    """A box with ``more`` at the end of the first box along a path; an empty name is the first of any."""
    kind = box[4:8]
    if not path:
        return packed(kind, box[8:] + more)
    at = 16 if kind == b"stsd" else 8  # after the version and the number of entries
    while path[0] and box[at + 4 : at + 8] != path[0]:
        at += struct.unpack_from(">I", box, at)[0]
    end = at + struct.unpack_from(">I", box, at)[0]
    return packed(kind, box[8:at] + _grown(box[at:end], path[1:], more) + box[end:])
