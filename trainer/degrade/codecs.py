"""Video codecs: encode a whole clip and decode it, as most films that people have once were."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import av
import torch
from torch import Generator, Tensor
from torch.utils.dlpack import from_dlpack

from upscaler.video import yuv

_LAYOUT = yuv.Layout()  # 8 bits, 4:2:0, BT.709, limited range: what most videos have
_DVD_LAYOUT = yuv.Layout(matrix="bt601")


@dataclass(frozen=True)
class Codec:
    """How clips are encoded.

    Attributes:
        encoder: FFmpeg's name.
        decoder: FFmpeg's name.
        qualities: Lowest and highest value of its quality setting that films have; higher is worse.
        settings: FFmpeg's names of that setting.
        options: Further options. All encoders run in one thread and fast, and repeat their results.
        layout: How frames encode colour.
        smallest_px: Sides to which smaller frames are padded.
    """

    encoder: str
    decoder: str
    qualities: tuple[int, int]
    settings: tuple[str, ...]
    options: Mapping[str, str]
    layout: yuv.Layout = _LAYOUT
    smallest_px: int = 2

    def round_trip(self, clip: list[Tensor], quality: int) -> list[Tensor]:
        """Encode and decode a clip.

        Args:
            clip: RGB ``(3, h, w)`` uint8 on the CPU, all of one size.
            quality: Of the encoder, constant over the clip.

        Returns:
            ``(3, h, w)`` fp32 in about [0, 1] each.
        """
        height, width = clip[0].shape[-2:]
        encoder = av.CodecContext.create(self.encoder, "w")
        assert isinstance(encoder, av.VideoCodecContext)
        encoder.width = max(width + width % 2, self.smallest_px)
        encoder.height = max(height + height % 2, self.smallest_px)
        encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
        encoder.options = {**dict.fromkeys(self.settings, str(quality)), **self.options}
        decoder = av.CodecContext.create(self.decoder, "r")
        assert isinstance(decoder, av.VideoCodecContext)
        packets = []
        for time, image in enumerate(clip):
            frame = _frame(image, encoder.height, encoder.width, self.layout)
            frame.pts = time
            packets += encoder.encode(frame)
        packets += encoder.encode(None)
        frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
        assert len(frames) == len(clip), f"{self.encoder} gave {len(frames)} frames for {len(clip)}"
        return [_image(frame, self.layout)[:, :height, :width] for frame in frames]


# With look-ahead, x264 made different decisions for the same small frames; without it, results repeat.
H264 = Codec(
    "libx264",
    "h264",
    (16, 36),
    ("crf",),
    {
        "preset": "veryfast",
        "threads": "1",
        "rc-lookahead": "0",
        "x264-params": "mbtree=0:b-adapt=0:scenecut=0:weightp=0",
    },
)
_HEVC = Codec(
    "libx265",
    "hevc",
    (18, 38),
    ("crf",),
    {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1:wpp=0"},
    smallest_px=64,  # below 50, x265 writes beyond its buffers, and the process aborts (av 18.1)
)
_VP9 = Codec(
    "libvpx-vp9",
    "vp9",
    (20, 50),
    ("crf",),
    {"b": "0", "deadline": "realtime", "cpu-used": "6", "threads": "1"},
)
# Step of the quantiser, for DVDs. The encoder ignores a fixed quality unless each frame repeats it, which
# PyAV cannot.
MPEG2 = Codec("mpeg2video", "mpeg2video", (2, 12), ("qmin", "qmax"), {"threads": "1"}, _DVD_LAYOUT)
# By how often films come in them.
_CODECS = (H264, _HEVC, _VP9, MPEG2)
_SHARES = (0.5, 0.2, 0.15, 0.15)


def drawn_round_trip(clip: list[Tensor], crf: tuple[int, int] | None, generator: Generator) -> list[Tensor]:
    """Encode and decode a clip at a random quality.

    Args:
        clip: RGB ``(3, h, w)`` uint8 on the CPU, all of one size.
        crf: Lowest and highest CRF of H.264; ``None``: draw the codec, too, and its quality from what films
            have.
        generator: Source of the random numbers.

    Returns:
        ``(3, h, w)`` uint8 each.
    """
    codec = H264
    if crf is None:
        codec = _CODECS[int(torch.multinomial(torch.tensor(_SHARES), 1, generator=generator))]
    lowest, highest = crf or codec.qualities
    quality = int(torch.randint(lowest, highest + 1, (1,), generator=generator))
    return [
        image.mul_(255).round_().clamp_(0, 255).to(torch.uint8) for image in codec.round_trip(clip, quality)
    ]


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
