"""The network at work: frames in, larger frames out, on one device in one precision."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from upscaler import device as devices
from upscaler import tiling
from upscaler.arrays import Pixels
from upscaler.errors import DeviceError, UsageError
from upscaler.models import checkpoint, shipped
from upscaler.models.contract import Network
from upscaler.options import DEFAULT_SCALE, SCALE_MAX, EngineOptions

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_PEAK = {torch.uint8: 255, torch.uint16: 65535}

# LR pixels that go through the network at once. Bounds memory: 64 features of 262144 pixels in fp32 are
# 64 MiB, and a network holds a few such layers.
_PIXELS_AT_ONCE = {"cpu": 512 * 512, "cuda": 2048 * 2048}


@dataclass(frozen=True)
class Plan:
    """How pictures of one size are enlarged.

    Attributes:
        scales: Of the networks, in the order in which they run; empty when no network is needed.
        height: Of the result, after the last network and an antialiased reduction where they differ.
        width: Of the result.
    """

    scales: tuple[int, ...]
    height: int
    width: int


class Upscaler:
    """Enlarges pictures. Loads the weights once; not thread-safe: one thread at a time may use it.

    >>> from upscaler import Upscaler
    >>> larger = Upscaler("balanced", scale=2).image(array)      # (H, W, 3) uint8 -> (2H, 2W, 3) uint8

    Args:
        model: Name of shipped weights, or path of a weight file.
        scale: Factor from 1 to 8; ``None``: a weight file's own, or 4.
        size_px: (width, height) to fit inside instead, keeping the aspect.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (fp16 on CUDA, bf16 where the processor multiplies it fast, else fp32), ``fp32``,
            ``bf16`` or ``fp16``.
        tile_px: Side of a tile in LR pixels; ``None``: as much at once as suits the device.

    Raises:
        UsageError: The options contradict each other or are out of range.
        WeightsError: The model is unknown, or its file is damaged.
        DeviceError: The device is not there.
    """

    def __init__(
        self,
        model: str | Path = "balanced",
        scale: float | None = None,
        *,
        size_px: tuple[int, int] | None = None,
        device: str = "auto",
        precision: str = "auto",
        tile_px: int | None = None,
    ) -> None:
        EngineOptions(str(model), scale, size_px, device, precision, tile_px)  # checks ranges
        self.device = devices.pick(device)
        self.dtype = devices.fast_dtype(self.device) if precision == "auto" else _DTYPES[precision]
        self.size_px = size_px
        self.tile_px = tile_px
        self._files = weight_files(model)
        self.scale = default_scale(model) if scale is None else scale
        if max(self._files) == 1 and (self.scale != 1 or size_px):
            raise UsageError(f"model '{model}' restores without enlarging", "use --scale 1")
        self._networks: dict[int, Network] = {}
        if size_px is None:
            for network_scale in self._scales(self.scale):
                self._network(network_scale)  # a damaged weight file is better found now

    def plan(self, height: int, width: int) -> Plan:
        """How a picture of this size would be enlarged.

        Raises:
            UsageError: The size asked for is more than 8 times the picture's.
        """
        if self.size_px is None:
            factor = self.scale
            target = (max(1, round(height * factor)), max(1, round(width * factor)))
        else:
            factor = min(self.size_px[0] / width, self.size_px[1] / height)
            if factor > SCALE_MAX:
                raise UsageError(f"{self.size_px} is more than {SCALE_MAX:g} times {width}x{height}")
            target = (
                min(self.size_px[1], max(1, round(height * factor))),
                min(self.size_px[0], max(1, round(width * factor))),
            )
        return Plan(self._scales(factor), *target)

    def image(self, pixels: Pixels) -> Pixels:
        """Enlarge one picture.

        Args:
            pixels: ``(H, W, 3)`` RGB, uint8 or uint16.

        Returns:
            The enlarged picture, same channel order and dtype, rounded and clamped.
        """
        height, width = pixels.shape[:2]
        source = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
        plan = self.plan(height, width)
        result = self.enlarge(source.permute(2, 0, 1).unsqueeze(0), plan)
        array: Pixels = result.squeeze(0).permute(1, 2, 0).contiguous().numpy()
        return array

    def frames(self, frames: Iterable[Pixels]) -> Iterator[Pixels]:
        """Enlarge pictures one after the other, as they are asked for; see ``image``."""
        return map(self.image, frames)

    @torch.inference_mode()
    def enlarge(self, source: Tensor, plan: Plan) -> Tensor:
        """Enlarge a batch of frames as ``plan`` says.

        Args:
            source: RGB ``(B, 3, H, W)``, anywhere: uint8 or uint16 codes, or fp32 (nominally in [0, 1], not
                clamped).
            plan: From ``plan`` for this size; its target size may be changed.

        Returns:
            ``(B, 3, plan.height, plan.width)``, where the source is and in its dtype.
        """
        for scale in plan.scales:
            source = self._through(self._network(scale), source)
        if source.shape[-2:] != (plan.height, plan.width):
            source = _resized(source, plan.height, plan.width)
        return source

    def _scales(self, factor: float) -> tuple[int, ...]:
        """The networks that reach ``factor``: the smallest that does, else the largest and what is left."""
        scales: list[int] = []
        while (left := factor / math.prod(scales)) > 1 or (factor == 1 and not scales):
            reaching = [scale for scale in self._files if scale >= left]
            scales.append(min(reaching) if reaching else max(self._files))
        return tuple(scales)

    def _network(self, scale: int) -> Network:
        if scale not in self._networks:
            network = checkpoint.load(self._files[scale]).network()
            network = network.to(device=self.device, dtype=self.dtype)
            self._networks[scale] = network.to(memory_format=torch.channels_last)
        return self._networks[scale]

    def _through(self, network: Network, source: Tensor) -> Tensor:
        """Run a network over every tile of every frame; same device and dtype out as in."""
        frames, _, height, width = source.shape
        scale, multiple = network.contract.scale, network.contract.multiple_of
        at_once = _PIXELS_AT_ONCE[self.device.type]
        tile_px = self.tile_px or math.isqrt(at_once)
        if self.tile_px is None and height * width <= at_once:
            tile_px = max(height, width)
        tile_px = max(multiple, tile_px - tile_px % multiple)
        tiles = tiling.plan(height, width, tile_px, network.contract.reach_px)
        result = torch.empty(
            (frames, 3, height * scale, width * scale),
            dtype=source.dtype,
            device=source.device,
            memory_format=torch.channels_last,
        )
        pieces = [(frame, tile) for frame in range(frames) for tile in tiles]
        side = min(tile_px, height) * min(tile_px, width)
        batch = max(1, at_once // side)
        for first in range(0, len(pieces), batch):
            part = pieces[first : first + batch]
            low = torch.stack([_cut(source[frame], tile) for frame, tile in part])
            high = self._forward(network, low)
            for (frame, tile), piece in zip(part, high, strict=True):
                _paste(result[frame], piece, tile, scale)
        return result

    def _forward(self, network: Network, low: Tensor) -> Tensor:
        """Tiles ``(B, 3, h, w)`` of codes or floats -> fp32 ``(B, 3, h*scale, w*scale)`` on the device."""
        peak = _PEAK.get(low.dtype, 1)
        low = low.to(self.device).float()
        low = low.div_(peak) if peak != 1 else low
        height, width = low.shape[-2:]
        multiple, scale = network.contract.multiple_of, network.contract.scale
        down, right = -height % multiple, -width % multiple
        if down or right:
            low = F.pad(low, (0, right, 0, down), mode="replicate")
        low = low.contiguous(memory_format=torch.channels_last)
        try:
            high: Tensor = network(low)
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                f"{devices.describe(self.device)} has too little memory", "use a smaller --tile"
            ) from error
        return high[..., : height * scale, : width * scale]


def weight_files(model: str | Path) -> dict[int, Path]:
    """The weight files of a named model or of a file, by scale.

    Raises:
        WeightsError: The model is unknown, or its file is missing or damaged.
    """
    path = Path(model)
    if path.suffix == ".safetensors" or path.is_file():
        return {checkpoint.load(path).scale: path}
    return shipped.weight_files(str(model))


def default_scale(model: str | Path) -> float:
    """The factor when none is asked for: a weight file's own, 4 for a named model; raises as above."""
    files = weight_files(model)
    return DEFAULT_SCALE if str(model) in shipped.WEIGHTS else float(min(files))


def _cut(frame: Tensor, tile: tiling.Tile) -> Tensor:
    return frame[:, tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop]


def _paste(result: Tensor, piece: Tensor, tile: tiling.Tile, scale: int) -> None:
    """Put the kept part of an enlarged tile into its frame ``(3, H*scale, W*scale)``."""
    rows, columns = tile.rows, tile.columns
    kept = piece[
        :,
        (rows.keep_start - rows.start) * scale : (rows.keep_stop - rows.start) * scale,
        (columns.keep_start - columns.start) * scale : (columns.keep_stop - columns.start) * scale,
    ]
    target = result[
        :,
        rows.keep_start * scale : rows.keep_stop * scale,
        columns.keep_start * scale : columns.keep_stop * scale,
    ]
    target.copy_(_as_codes(kept, result.dtype))


def _as_codes(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Floats in [0, 1] -> rounded, clamped codes; floats stay as they are."""
    if dtype not in _PEAK:
        return values
    peak = _PEAK[dtype]
    return values.mul(peak).round_().clamp_(0, peak).to(dtype)


def _resized(source: Tensor, height: int, width: int) -> Tensor:
    """Antialiased bicubic, one channel at a time to bound the memory; same dtype out as in."""
    frames, channels = source.shape[:2]
    result = torch.empty(
        (frames, channels, height, width),
        dtype=source.dtype,
        device=source.device,
        memory_format=torch.channels_last if channels == 3 else torch.contiguous_format,
    )
    peak = _PEAK.get(source.dtype, 1)
    for frame in range(frames):
        for channel in range(channels):
            plane = source[frame, channel][None, None].float() / peak
            plane = F.interpolate(plane, size=(height, width), mode="bicubic", antialias=True)
            result[frame, channel].copy_(_as_codes(plane[0, 0], source.dtype))
    return result


def resize_plane(plane: Pixels, height: int, width: int) -> Pixels:
    """Enlarge or reduce one channel ``(H, W)``, uint8 or uint16, by antialiased bicubic."""
    source = torch.from_numpy(np.ascontiguousarray(plane))[None, None]
    array: Pixels = _resized(source, height, width)[0, 0].numpy()
    return array
