"""Round trips through a video encoder: H.264 clips of a photograph, single frames of H.264 and of MPEG-2."""

from fractions import Fraction

import av
import torch
from torch import Generator, Tensor
from torch.utils.dlpack import from_dlpack

from upscaler.trainer.degrade import artifacts
from upscaler.video import yuv

_FRAMES = 4

# With look-ahead, x264 made different decisions for the same small frames; without it, results repeat.
_REPEATABLE = {
    "preset": "veryfast",
    "threads": "1",
    "rc-lookahead": "0",
    "x264-params": "mbtree=0:b-adapt=0:scenecut=0:weightp=0",
}

_LAYOUT = yuv.Layout()  # 8 bits, 4:2:0, BT.709, limited range: what most videos have
_DVD_LAYOUT = yuv.Layout(matrix="bt601")


def versions(hr: Tensor, scale: int, count: int, generator: Generator) -> list[Tensor]:
    """Downscaled versions of one photograph, each a frame of a short encoded clip.

    The clip pans by up to three HR pixels a frame, so that frames are predicted with motion vectors and
    residuals, as in real videos. The frame that shows the photograph unshifted is returned. CRF 16 to 36.

    Args:
        hr: RGB ``(3, H, W)`` uint8 on the CPU; H and W multiples of ``scale``.
        scale: HR size over LR size.
        count: Number of versions.
        generator: Source of all random numbers.

    Returns:
        ``count`` images ``(H/scale, W/scale, 3)`` uint8.
    """
    return [_version(hr, scale, generator) for _ in range(count)]


def _version(hr: Tensor, scale: int, generator: Generator) -> Tensor:
    crf = int(torch.randint(16, 37, (1,), generator=generator))
    kept = int(torch.randint(_FRAMES, (1,), generator=generator))
    down, right = torch.randint(-3, 4, (2,), generator=generator).tolist()
    clip = [
        _downscaled(_panned(hr, (time - kept) * down, (time - kept) * right), scale)
        for time in range(_FRAMES)
    ]
    frame = _as_h264(clip, crf)[kept]
    return frame.mul_(255).round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()


def _downscaled(image: Tensor, scale: int) -> Tensor:
    levels = artifacts.downscale_bicubic(image.unsqueeze(0).float(), scale)[0]
    return levels.round_().clamp_(0, 255).to(torch.uint8)


def frame(image: Tensor, crf: int) -> Tensor:
    """Encode an image as a frame that is predicted from itself shifted by a pixel, and decode it.

    Args:
        image: RGB ``(3, h, w)`` uint8 on the CPU.
        crf: Constant rate factor.

    Returns:
        ``(3, h, w)`` fp32 in about [0, 1].
    """
    return _as_h264([_panned(image, 0, 1), image], crf)[1]


def dvd_frame(image: Tensor, quantiser: int) -> Tensor:
    """Encode an image as a predicted frame of MPEG-2, as ``frame`` does, and decode it.

    Args:
        image: RGB ``(3, h, w)`` uint8 on the CPU.
        quantiser: Step of the quantiser, 2 to 31; DVDs have about 3 to 12.

    Returns:
        ``(3, h, w)`` fp32 in about [0, 1].
    """
    # The encoder ignores a fixed quality unless each frame repeats it, which PyAV cannot.
    options = {"qmin": str(quantiser), "qmax": str(quantiser), "threads": "1"}
    return _decoded([_panned(image, 0, 1), image], ("mpeg2video", "mpeg2video"), options, _DVD_LAYOUT)[1]


def _panned(image: Tensor, down: int, right: int) -> Tensor:
    """The image shifted by whole pixels; edges are replicated."""
    height, width = image.shape[-2:]
    rows = (torch.arange(height) - down).clamp_(0, height - 1)
    columns = (torch.arange(width) - right).clamp_(0, width - 1)
    return image.index_select(1, rows).index_select(2, columns)


def _as_h264(clip: list[Tensor], crf: int) -> list[Tensor]:
    return _decoded(clip, ("libx264", "h264"), {"crf": str(crf), **_REPEATABLE}, _LAYOUT)


def _decoded(
    clip: list[Tensor], codec: tuple[str, str], options: dict[str, str], layout: yuv.Layout
) -> list[Tensor]:
    """Encode and decode frames ``(3, h, w)`` uint8 -> fp32 in about [0, 1]."""
    height, width = clip[0].shape[-2:]
    encoder = av.CodecContext.create(codec[0], "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height = width + width % 2, height + height % 2
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
    encoder.options = options
    decoder = av.CodecContext.create(codec[1], "r")
    assert isinstance(decoder, av.VideoCodecContext)
    packets = []
    for time, image in enumerate(clip):
        frame = _frame(image, encoder.height, encoder.width, layout)
        frame.pts = time
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    return [_image(frame, layout)[:, :height, :width] for frame in frames]


def _frame(image: Tensor, height: int, width: int, layout: yuv.Layout) -> av.VideoFrame:
    """The image as a frame of even size, padded with its last row and column."""
    frame = av.VideoFrame(width, height, "yuv420p")
    even = _padded(image, height, width).float().div_(255)
    for plane, target in zip(yuv.from_rgb(even, layout), frame.planes, strict=True):
        from_dlpack(target).copy_(plane)
    return frame


def _padded(image: Tensor, height: int, width: int) -> Tensor:
    rows = torch.arange(height).clamp_(max=image.shape[-2] - 1)
    columns = torch.arange(width).clamp_(max=image.shape[-1] - 1)
    return image.index_select(1, rows).index_select(2, columns)


def _image(frame: av.VideoFrame, layout: yuv.Layout) -> Tensor:
    planes = [from_dlpack(plane) for plane in frame.planes]
    return yuv.to_rgb(planes, layout)
