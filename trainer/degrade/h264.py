"""H.264 there and back: what the pictures of a film come back as, made once per photograph."""

from fractions import Fraction

import av
import torch
from torch import Generator, Tensor
from torch.utils.dlpack import from_dlpack

from upscaler.trainer.degrade import artifacts
from upscaler.video import yuv

_FRAMES = 4

# x264's look-ahead was seen to decide differently about the same small frames; without it, all is repeatable.
_REPEATABLE = {
    "preset": "veryfast",
    "threads": "1",
    "rc-lookahead": "0",
    "x264-params": "mbtree=0:b-adapt=0:scenecut=0:weightp=0",
}

_LAYOUT = yuv.Layout()  # 8 bits, 4:2:0, BT.709, studio range: what most films have


def versions(hr: Tensor, scale: int, count: int, generator: Generator) -> list[Tensor]:
    """Reduced versions of one photograph, each out of a short coded film of its own.

    The film pans by up to three HR pixels a frame, so that frames are predicted from each other with vectors
    and rests, as in real films; one of its frames, the one that shows the photograph in place, is kept.
    Constant rate factor 16 to 36.

    Args:
        hr: RGB ``(3, H, W)`` uint8 on the processor; sides multiples of ``scale``.
        scale: HR size over LR size.
        count: How many versions.
        generator: Decides everything.

    Returns:
        ``count`` pictures ``(H/scale, W/scale, 3)`` uint8.
    """
    return [_version(hr, scale, generator) for _ in range(count)]


def _version(hr: Tensor, scale: int, generator: Generator) -> Tensor:
    crf = int(torch.randint(16, 37, (1,), generator=generator))
    kept = int(torch.randint(_FRAMES, (1,), generator=generator))
    down, right = torch.randint(-3, 4, (2,), generator=generator).tolist()
    film = [
        _reduced(_panned(hr, (time - kept) * down, (time - kept) * right), scale) for time in range(_FRAMES)
    ]
    made = _coded(film, crf)[kept]
    return made.mul_(255).round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()


def _reduced(picture: Tensor, scale: int) -> Tensor:
    levels = artifacts.by_bicubic(picture.unsqueeze(0).float(), scale)[0]
    return levels.round_().clamp_(0, 255).to(torch.uint8)


def frame(picture: Tensor, crf: int) -> Tensor:
    """A picture as a frame that is predicted from one panned by a pixel.

    Args:
        picture: RGB ``(3, h, w)`` uint8 on the processor.
        crf: Constant rate factor.

    Returns:
        ``(3, h, w)`` fp32 in about [0, 1].
    """
    return _coded([_panned(picture, 0, 1), picture], crf)[1]


def _panned(picture: Tensor, down: int, right: int) -> Tensor:
    """The picture moved by whole pixels; edges repeat."""
    height, width = picture.shape[-2:]
    rows = (torch.arange(height) - down).clamp_(0, height - 1)
    columns = (torch.arange(width) - right).clamp_(0, width - 1)
    return picture.index_select(1, rows).index_select(2, columns)


def _coded(film: list[Tensor], crf: int) -> list[Tensor]:
    """Frames ``(3, h, w)`` uint8 through encoder and decoder -> fp32 in about [0, 1]."""
    height, width = film[0].shape[-2:]
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height = width + width % 2, height + height % 2
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
    encoder.options = {"crf": str(crf), **_REPEATABLE}
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    packets = []
    for time, picture in enumerate(film):
        frame = _frame(picture, encoder.height, encoder.width)
        frame.pts = time
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    return [_picture(frame)[:, :height, :width] for frame in frames]


def _frame(picture: Tensor, height: int, width: int) -> av.VideoFrame:
    """As a frame of even size; the last row and column are repeated where there is none."""
    frame = av.VideoFrame(width, height, "yuv420p")
    even = _evened(picture, height, width).float().div_(255)
    for plane, target in zip(yuv.from_rgb(even, _LAYOUT), frame.planes, strict=True):
        from_dlpack(target).copy_(plane)
    return frame


def _evened(picture: Tensor, height: int, width: int) -> Tensor:
    rows = torch.arange(height).clamp_(max=picture.shape[-2] - 1)
    columns = torch.arange(width).clamp_(max=picture.shape[-1] - 1)
    return picture.index_select(1, rows).index_select(2, columns)


def _picture(frame: av.VideoFrame) -> Tensor:
    planes = [from_dlpack(plane) for plane in frame.planes]
    return yuv.to_rgb(planes, _LAYOUT)
