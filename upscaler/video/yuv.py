"""YUV planes <-> RGB tensors, in fp32 on the device of the planes.

Not swscale, which is measurably inaccurate: it cannot site chroma left, and by default repeats chroma
samples. RGB is never clamped; only the final codes are, to the range of their bits.
Matrices and ranges: ITU-T H.273; siting: H.264 Annex E, figure E-1.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from upscaler.color_matrices import Matrix, luma_weights
from upscaler.planes import ChromaAxis, PlaneOutput

Siting = Literal["left", "center", "topleft"]

# How much `_halved` sharpens the mean of two neighbours. With 5/44, alternating samples survive `_doubled`
# and `_halved` unchanged; the mean alone leaves 69 % of the alternation.
_SHARPNESS = 5 / 44
# Over how many luma pixels to each side the resampling of chroma spreads, in both directions together.
REACH_PX = 8
# Most bits whose codes fp16 holds, as a network that gives planes has to.
_PLANE_OUTPUT_BITS = 12


@dataclass(frozen=True)
class Layout:
    """How the planes of a frame encode colour.

    Attributes:
        kind: ``yuv`` (three planes), ``gray`` (one) or ``gbr`` (three, in that order).
        bits: Bits per sample, 8 to 16.
        horizontal: Luma columns per chroma column, 1 or 2.
        vertical: Luma rows per chroma row, 1 or 2.
        matrix: Of YUV; ignored for the other kinds.
        full_range: Whether codes use the full range instead of the limited one.
        siting: Where subsampled chroma samples lie relative to luma samples.
        alpha: Whether there is a last plane with the opacity, of luma's size and always of full range.
    """

    kind: Literal["yuv", "gray", "gbr"] = "yuv"
    bits: int = 8
    horizontal: int = 2
    vertical: int = 2
    matrix: Matrix = "bt709"
    full_range: bool = False
    siting: Siting = "left"
    alpha: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """Of the planes: uint8, or int16 for more than 8 bits (torch supports few operations on uint16)."""
        return torch.uint8 if self.bits == 8 else torch.int16


def guessed_matrix(height: int, width: int) -> Matrix:
    """The most likely matrix of an untagged video: BT.709 from 720 lines or 1280 columns on, else BT.601."""
    return "bt709" if height >= 720 or width >= 1280 else "bt601"


def to_rgb(planes: list[Tensor], layout: Layout) -> Tensor:
    """Planes of one frame -> RGB.

    Args:
        planes: ``(h, w)`` each, ``layout.dtype``; an alpha plane is ignored.
        layout: Of the planes.

    Returns:
        ``(3, H, W)`` RGB fp32, nominally in [0, 1] but not clamped: codes outside the nominal range survive a
        round trip.
    """
    black, span = _luma_range(layout)
    if layout.kind == "gbr":
        g, b, r = ((_as_float(plane) - black) / span for plane in planes[:3])
        return torch.stack([r, g, b])
    y = _as_float(planes[0]).sub_(black).div_(span)
    if layout.kind == "gray":
        return y.expand(3, -1, -1)
    height, width = y.shape
    zero, chroma_span = _chroma_range(layout)
    u, v = (
        _resampled(_as_float(plane), layout)[:height, :width].sub_(zero).div_(chroma_span)
        for plane in planes[1:3]
    )
    kr, kg, kb = luma_weights(layout.matrix)
    rgb = torch.empty(3, height, width, device=y.device)
    rgb[0] = y + 2 * (1 - kr) * v
    rgb[2] = y + 2 * (1 - kb) * u
    rgb[1] = (y - kr * rgb[0] - kb * rgb[2]) / kg
    return rgb


def from_rgb(rgb: Tensor, layout: Layout) -> list[Tensor]:
    """RGB -> planes of one frame, rounded to codes.

    Args:
        rgb: ``(3, H, W)`` RGB fp32, nominally in [0, 1].
        layout: Of the planes to return.

    Returns:
        ``(h, w)`` each, ``layout.dtype``, without alpha. Codes are clamped to the range of the bits, not to
        the limited range.
    """
    black, span = _luma_range(layout)
    r, g, b = rgb.unbind(0)
    if layout.kind == "gbr":
        return [_as_codes(channel * span + black, layout) for channel in (g, b, r)]
    kr, kg, kb = luma_weights(layout.matrix)
    # Not in strips that stay in a core's cache: alone that is faster, but next to an encoder the threads of
    # each small operation wait for one another, and a video took 10 % longer.
    y = kr * r + kg * g + kb * b
    luma = _as_codes(y * span + black, layout)
    if layout.kind == "gray":
        return [luma]
    zero, chroma_span = _chroma_range(layout)
    at_chroma = [_on_samples(channel, layout) for channel in (r, y, b)]  # the fewer the better
    u, v = (
        _between_samples(difference, layout)
        for difference in (
            (at_chroma[2] - at_chroma[1]) / (2 * (1 - kb)),
            (at_chroma[0] - at_chroma[1]) / (2 * (1 - kr)),
        )
    )
    return [luma, *(_as_codes(chroma * chroma_span + zero, layout) for chroma in (u, v))]


def plane_output(layout: Layout) -> PlaneOutput | None:
    """The same conversion for a network that gives planes; alpha is not among them.

    Args:
        layout: Of the planes.

    Returns:
        What such a network needs to know; ``None`` where codes have too many bits for it.
    """
    if layout.bits > _PLANE_OUTPUT_BITS:
        return None
    black, span = _luma_range(layout)
    kr, kg, kb = luma_weights(layout.matrix)
    zero, chroma_span = _chroma_range(layout)
    blue, red = chroma_span / (2 * (1 - kb)), chroma_span / (2 * (1 - kr))
    luma = (span * kr, span * kg, span * kb, black)
    colors = {
        "yuv": (
            luma,
            (-kr * blue, -kg * blue, (1 - kb) * blue, zero),
            ((1 - kr) * red, -kg * red, -kb * red, zero),
        ),
        "gray": (luma,),
        "gbr": ((0.0, span, 0.0, black), (0.0, 0.0, span, black), (span, 0.0, 0.0, black)),
    }[layout.kind]
    return PlaneOutput(
        colors,
        columns=_chroma_axis(layout, layout.horizontal, cosited=layout.siting != "center"),
        rows=_chroma_axis(layout, layout.vertical, cosited=layout.siting == "topleft"),
        peak=2**layout.bits - 1,
        dtype=layout.dtype,
    )


def _chroma_axis(layout: Layout, step: int, *, cosited: bool) -> ChromaAxis:
    """What ``_halved`` does to an axis."""
    if layout.kind != "yuv" or step == 1:
        return ChromaAxis()
    inner, outer = 0.5 + _SHARPNESS, -_SHARPNESS
    return ChromaAxis(2) if cosited else ChromaAxis(2, (outer, inner, inner, outer))


def to_alpha(planes: list[Tensor], layout: Layout) -> Tensor:
    """The alpha of a frame that has it.

    Args:
        planes: ``(h, w)`` each, ``layout.dtype``.
        layout: Of the planes.

    Returns:
        ``(H, W)`` fp32 in [0, 1]: 0 is transparent, 1 opaque.
    """
    return _as_float(planes[-1]) / float(2**layout.bits - 1)


def from_alpha(alpha: Tensor, layout: Layout) -> Tensor:
    """The alpha plane of a frame.

    Args:
        alpha: ``(H, W)`` fp32 in [0, 1].
        layout: Of the frame.

    Returns:
        ``(H, W)``, ``layout.dtype``, full range.
    """
    return _as_codes(alpha * (2**layout.bits - 1), layout)


def with_bars(planes: list[Tensor], layout: Layout, height: int, width: int) -> list[Tensor]:
    """Center a picture in a larger one that is black, or transparent if there is an alpha plane.

    Args:
        planes: ``(h, w)`` each, codes of ``layout.dtype``.
        layout: Of the planes.
        height: Of the larger picture, pixels.
        width: Likewise.

    Returns:
        ``(H, W)`` each, codes of ``layout.dtype``; the planes themselves if they have this size.
    """
    inner_height, inner_width = planes[0].shape
    if (inner_height, inner_width) == (height, width):
        return planes
    top = (height - inner_height) // (2 * layout.vertical)  # chroma rows
    left = (width - inner_width) // (2 * layout.horizontal)
    black, zero = round(_luma_range(layout)[0]), round(_chroma_range(layout)[0])
    results = []
    for index, plane in enumerate(planes):
        subsampled = layout.kind == "yuv" and index in (1, 2)
        rows, columns = (1, 1) if subsampled else (layout.vertical, layout.horizontal)
        first, last = (layout.vertical, layout.horizontal) if subsampled else (1, 1)
        is_alpha = layout.alpha and index == len(planes) - 1
        code = zero if subsampled else 0 if is_alpha else black
        full = plane.new_full((-(-height // first), -(-width // last)), code)
        y, x = top * rows, left * columns
        full[y : y + plane.shape[0], x : x + plane.shape[1]] = plane
        results.append(full)
    return results


def even_sized(layout: Layout, height: int, width: int) -> tuple[int, int]:
    """(height, width) rounded down to multiples of the chroma subsampling, which encoders require."""
    rows, columns = layout.vertical, layout.horizontal
    return max(rows, height - height % rows), max(columns, width - width % columns)


def _luma_range(layout: Layout) -> tuple[float, float]:
    """The code of black, and the number of codes from black to white."""
    if layout.full_range:
        return 0.0, float(2**layout.bits - 1)
    step = 2 ** (layout.bits - 8)
    return 16.0 * step, 219.0 * step


def _chroma_range(layout: Layout) -> tuple[float, float]:
    """The code of zero colour difference, and codes per unit of it; it ranges from -0.5 to 0.5."""
    zero = float(2 ** (layout.bits - 1))
    if layout.full_range:
        return zero, float(2**layout.bits - 1)
    return zero, 224.0 * 2 ** (layout.bits - 8)


def _as_float(plane: Tensor) -> Tensor:
    if plane.dtype == torch.int16:  # 16-bit codes above 32767 are stored as negative numbers
        return (plane.to(torch.int32) & 0xFFFF).float()
    return plane.float()


def _as_codes(values: Tensor, layout: Layout) -> Tensor:
    codes = values.round().clamp_(0, 2**layout.bits - 1)
    return codes.to(torch.uint8) if layout.bits == 8 else codes.to(torch.int32).to(torch.int16)


def _resampled(chroma: Tensor, layout: Layout) -> Tensor:
    """Upsample chroma along each subsampled axis."""
    if layout.horizontal == 2:
        chroma = _doubled(chroma, layout.siting != "center", -1)
    return _doubled(chroma, layout.siting == "topleft", -2) if layout.vertical == 2 else chroma


def _on_samples(channel: Tensor, layout: Layout) -> Tensor:
    """The pixels ``(h, w)`` that chroma is made from: along axes where it lies on pixels, only those."""
    if layout.horizontal == 2 and layout.siting != "center":
        channel = _every_second(channel, 0, -1)
    return _every_second(channel, 0, -2) if layout.vertical == 2 and layout.siting == "topleft" else channel


def _between_samples(chroma: Tensor, layout: Layout) -> Tensor:
    """Downsample along the axes where chroma lies between pixels."""
    if layout.horizontal == 2 and layout.siting == "center":
        chroma = _halved(chroma, -1)
    return _halved(chroma, -2) if layout.vertical == 2 and layout.siting != "topleft" else chroma


def _doubled(samples: Tensor, cosited: bool, axis: int) -> Tensor:
    """Upsample an axis, -1 or -2, by Catmull-Rom, repeating edges: ``n`` samples become ``2*n``.

    Cosited: outputs lie on a sample and half-way to the next; else a quarter to each side of it.
    """
    earlier, before, _, after, beyond = _neighbours(samples, 2, axis)
    if cosited:
        between = (9 * (samples + after) - before - beyond) / 16
        return torch.stack([samples, between], axis).flatten(axis - 1, axis)
    # Catmull-Rom weights at a quarter and three quarters of the way between two samples.
    near, far, low, lower = 111 / 128, 29 / 128, -9 / 128, -3 / 128
    left = lower * earlier + far * before + near * samples + low * after
    right = low * before + near * samples + far * after + lower * beyond
    return torch.stack([left, right], axis).flatten(axis - 1, axis)


def _halved(samples: Tensor, axis: int) -> Tensor:
    """Downsample an axis, -1 or -2, to samples between its own: ``n`` become ``ceil(n/2)``.

    Inverts ``_doubled`` on smooth chroma.
    """
    if samples.shape[axis] % 2:  # odd: the last sample is its own neighbour
        samples = torch.cat([samples, samples.narrow(axis, samples.shape[axis] - 1, 1)], axis)
    before, _, after = _neighbours(samples, 1, axis)
    near = _every_second(samples, 0, axis) + _every_second(samples, 1, axis)
    far = _every_second(before, 0, axis) + _every_second(after, 1, axis)
    return near / 2 + _SHARPNESS * (near - far)


def _every_second(samples: Tensor, first: int, axis: int) -> Tensor:
    return samples[..., first::2] if axis == -1 else samples[..., first::2, :]


def _neighbours(samples: Tensor, reach: int, axis: int) -> list[Tensor]:
    """Views in which sample ``i`` is sample ``i - reach``, ..., ``i + reach`` of the input; edges repeat."""
    length = samples.shape[axis]
    sizes = list(samples.shape)
    sizes[axis] = reach
    edges = [samples.narrow(axis, index, 1).expand(sizes) for index in (0, length - 1)]
    padded = torch.cat([edges[0], samples, edges[1]], axis)
    return [padded.narrow(axis, start, length) for start in range(2 * reach + 1)]
