"""The network at work: frames in, larger frames out, on one device in one precision."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from upscaler import device as devices
from upscaler import probe, tiling
from upscaler.arrays import Pixels
from upscaler.errors import DeviceError, UsageError, WeightsError
from upscaler.flight import alike, in_flight
from upscaler.models import checkpoint
from upscaler.models.contract import Network
from upscaler.models.fold import folded
from upscaler.options import SCALE_MAX, EngineOptions
from upscaler.resize import PEAK, as_codes, resized
from upscaler.runtime import Runtime

OnProgress = Callable[[int, int], None]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# LR pixels that go through the network at once, where memory does not set a lower bound: more than this was
# never faster.
_PIXELS_AT_ONCE = {"cpu": 512 * 512, "cuda": 2048 * 2048}
# Share of the device's free memory that the network may fill; the rest is for frames and fragmentation.
_MEMORY_SHARE = 0.6
_TILE_PX_MIN = 32  # besides the overlap
# Seconds of uncompiled work from which on compiling, which takes up to 15 s, is tried.
_COMPILE_FROM_S = 300.0
# From fast to safe; a batch with a value that is not finite is redone in the next one.
_SAFER = {torch.float16: torch.bfloat16, torch.bfloat16: torch.float32}


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
        runtime: ``eager``, ``compiled``, or ``auto``: compiled where much work lies ahead and a trial shows
            that it is faster; see ``prepare``.
        tile_px: Side of a tile in LR pixels; ``None``: as much at once as suits the device.
        batch: Tiles or frames that go through the network at once; ``None``: likewise.
        memory_limit_gb: Memory that the network's features may take; goes before tile and batch. ``None``: a
            share of what is free.

    Raises:
        UsageError: The options contradict each other or are out of range.
        WeightsError: The model is unknown, or its file is damaged.
        DeviceError: The device is not there.
    """

    def __init__(  # noqa: PLR0913 - one parameter per option
        self,
        model: str | Path = "balanced",
        scale: float | None = None,
        *,
        size_px: tuple[int, int] | None = None,
        device: str = "auto",
        precision: str = "auto",
        runtime: str = "auto",
        tile_px: int | None = None,
        batch: int | None = None,
        memory_limit_gb: float | None = None,
    ) -> None:
        EngineOptions(str(model), scale, size_px, device, precision, runtime, tile_px, batch, memory_limit_gb)
        self.device = devices.pick(device)
        if self.device.type == "cpu":
            devices.keep_freed_memory()
        self.dtype = devices.fast_dtype(self.device) if precision == "auto" else _DTYPES[precision]
        self.runtime = runtime
        self.size_px = size_px
        self.tile_px = tile_px
        self.batch = batch
        self.memory_limit_gb = memory_limit_gb
        self._files = checkpoint.weight_files(model)
        self.scale = checkpoint.default_scale(model) if scale is None else scale
        if max(self._files) == 1 and (self.scale != 1 or size_px):
            raise UsageError(f"model '{model}' restores without enlarging", "use --scale 1")
        self._runtimes: dict[tuple[int, torch.dtype], Runtime] = {}
        self._at_once_px: dict[int, int] = {}
        self._bounded: set[int] = set()  # scales at which memory ran out, or has a limit
        self._notices: list[str] = []
        if size_px is None:
            for network_scale in self._scales(self.scale):
                network = self._network(network_scale)  # a damaged weight file is better found now
                if tile_px is not None:
                    tiling.spans(2**20, tile_px, network.contract.reach_px)  # so is a tile that is too small

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
                size = f"{self.size_px[0]}x{self.size_px[1]}"
                raise UsageError(
                    f"{size} is more than {SCALE_MAX:g} times {width}x{height}", "use a smaller --size"
                )
            target = (
                min(self.size_px[1], max(1, round(height * factor))),
                min(self.size_px[0], max(1, round(width * factor))),
            )
        return Plan(self._scales(factor), *target)

    def image(self, pixels: Pixels, on_progress: OnProgress | None = None) -> Pixels:
        """Enlarge one picture.

        Args:
            pixels: ``(H, W, 3)`` RGB, uint8 or uint16.
            on_progress: Called with (tiles done, tiles in all) as they are finished, for every network anew.

        Returns:
            The enlarged picture, same channel order and dtype, rounded and clamped.

        Raises:
            UsageError: The array is of another shape or dtype.
        """
        source = _as_tensor(pixels)
        height, width = pixels.shape[:2]
        plan = self.plan(height, width)
        result = self.enlarge(source.permute(2, 0, 1).unsqueeze(0), plan, on_progress)
        array: Pixels = result.squeeze(0).permute(1, 2, 0).contiguous().numpy()
        return array

    def frames(self, frames: Iterable[Pixels]) -> Iterator[Pixels]:
        """Enlarge pictures of any sizes, in order; see ``image``.

        Pictures of one size that follow each other go through the network together, as many as ``batch_for``
        says; on a GPU some are read ahead, and upload, computing and download overlap.
        """

        def enlarge(sources: list[Tensor], _: int, sums: list[Tensor] | None) -> list[Tensor]:
            batch = torch.stack([source.permute(2, 0, 1) for source in sources])
            result = self.enlarge(batch, self.plan(*batch.shape[-2:]), sums=sums)
            return list(result.permute(0, 2, 3, 1).contiguous())

        sources = (_as_tensor(frame) for frame in frames)
        together = alike(
            sources,
            lambda source: (source.shape, source.dtype),
            lambda source: self.batch_for(*source.shape[:2]),
        )
        for results, _ in in_flight(((batch, len(batch)) for batch in together), enlarge, self.device):
            yield from (result.numpy() for result in results)

    def batch_for(self, height: int, width: int) -> int:
        """How many frames of this size go through the network together.

        On a processor one, however small: it is busy with one, and its caches hold one better.
        """
        if self.batch is not None:
            return self.batch
        scales = self.plan(height, width).scales
        if self.device.type == "cpu" or not scales:
            return 1
        return max(1, self.pixels_at_once(scales[0]) // (height * width))

    def prepare(self, height: int, width: int, frames: int) -> None:
        """Choose the fastest way to run, for ``frames`` frames of one size that lie ahead.

        Compiling takes seconds, so it is tried only for minutes of work; the compiled code stays in the
        user's cache folder and is found there the next time. Without this call ``auto`` means ``eager``.
        """
        if self.runtime != "auto" or not (scales := self.plan(height, width).scales):
            return
        runtime = self._runtime(scales[0])
        tile_px = self._tile_side(height, width, scales[0])
        low = torch.rand(1, 3, min(tile_px, height), min(tile_px, width), device=self.device)
        low = low.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            seconds_ahead = runtime.seconds(low) * frames * height * width / low[0, 0].numel()
            if seconds_ahead >= _COMPILE_FROM_S:
                runtime.compile_if_faster(low)

    @torch.inference_mode()
    def enlarge(
        self,
        source: Tensor,
        plan: Plan,
        on_progress: OnProgress | None = None,
        sums: list[Tensor] | None = None,
    ) -> Tensor:
        """Enlarge a batch of frames as ``plan`` says.

        Args:
            source: RGB ``(B, 3, H, W)``, anywhere: uint8 or uint16 codes, or fp32 (nominally in [0, 1], not
                clamped).
            plan: From ``plan`` for this size; its target size may be changed.
            on_progress: See ``image``.
            sums: Gets scalars on the device, all finite if and only if all values were; the caller then looks
                at them. ``None``: values are checked here, and what is not finite is redone.

        Returns:
            ``(B, 3, plan.height, plan.width)``, where the source is and in its dtype.
        """
        for scale in plan.scales:
            source = self._through(scale, source, on_progress, sums)
        if source.shape[-2:] != (plan.height, plan.width):
            source = resized(source, plan.height, plan.width)
        return source

    def _scales(self, factor: float) -> tuple[int, ...]:
        """The networks that reach ``factor``: the smallest that does, else the largest and what is left."""
        scales: list[int] = []
        while (left := factor / math.prod(scales)) > 1 or (factor == 1 and not scales):
            reaching = [scale for scale in self._files if scale >= left]
            scales.append(min(reaching) if reaching else max(self._files))
        return tuple(scales)

    def take_notices(self) -> list[str]:
        """What happened since the last call that a user should know of, each thing once."""
        notices, self._notices = self._notices, []
        return notices

    def _notice(self, text: str) -> None:
        if text not in self._notices:
            self._notices.append(text)

    def _network(self, scale: int) -> Network:
        return self._runtime(scale).network

    def _runtime(self, scale: int, dtype: torch.dtype | None = None) -> Runtime:
        dtype = dtype or self.dtype
        if (scale, dtype) not in self._runtimes:
            network = folded(checkpoint.load(self._files[scale]).network())
            network = network.to(device=self.device, dtype=dtype).to(memory_format=torch.channels_last)
            self._runtimes[scale, dtype] = Runtime(network, self._notice)
            if self.runtime == "compiled":
                self._runtimes[scale, dtype].compile()
        return self._runtimes[scale, dtype]

    def pixels_at_once(self, scale: int) -> int:
        """LR pixels that go through a network at once; probed once, lowered when memory runs out."""
        if scale not in self._at_once_px:
            most = _PIXELS_AT_ONCE[self.device.type]
            if self.memory_limit_gb is not None:
                self._bounded.add(scale)
            if self.memory_limit_gb is not None or self.device.type == "cuda":
                free = devices.free_memory_bytes(self.device) * _MEMORY_SHARE
                limit = free if self.memory_limit_gb is None else self.memory_limit_gb * 1e9
                needed = probe.bytes_per_pixel(self._network(scale), self.device)
                most = min(most, int(limit // needed))
            self._at_once_px[scale] = max(1, most)
        return self._at_once_px[scale]

    def _through(
        self, scale: int, source: Tensor, on_progress: OnProgress | None, sums: list[Tensor] | None
    ) -> Tensor:
        """Run a network over every frame; when memory runs out, again with half as much at once."""
        while True:
            try:
                return self._tiled(scale, source, on_progress, sums)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not devices.is_out_of_memory(error):
                    raise
                self._halve(scale, source[:, 0].numel(), error)

    def _halve(self, scale: int, present_px: int, error: BaseException) -> None:
        network = self._network(scale)
        smallest = 2 * network.contract.reach_px + _TILE_PX_MIN
        at_once = min(self.pixels_at_once(scale), present_px)
        if at_once <= smallest**2:
            raise DeviceError(
                f"{devices.describe(self.device)} has too little memory for one tile of {smallest} pixels",
                "close other programs, or use --device cpu",
            ) from error
        self._at_once_px[scale] = max(smallest**2, at_once // 2)
        self._bounded.add(scale)
        for runtime in self._runtimes.values():
            runtime.forget()
        self._notice("memory ran out: going on with smaller tiles, which gives the same picture")

    def _tiled(
        self, scale: int, source: Tensor, on_progress: OnProgress | None, sums: list[Tensor] | None
    ) -> Tensor:
        """Run a network over every tile of every frame; same device and dtype out as in."""
        frames, _, height, width = source.shape
        tile_px = self._tile_side(height, width, scale)
        tiles = tiling.plan(height, width, tile_px, self._network(scale).contract.reach_px)
        result = torch.empty(
            (frames, 3, height * scale, width * scale),
            dtype=source.dtype,
            device=source.device,
            memory_format=torch.channels_last,
        )
        pieces = [(frame, tile) for frame in range(frames) for tile in tiles]
        batch = self._tile_batch(min(tile_px, height) * min(tile_px, width), scale)
        parts = [pieces[first : first + batch] for first in range(0, len(pieces), batch)]

        def enlarged(low: list[Tensor], _: object, sums: list[Tensor] | None) -> list[Tensor]:
            high = self._finite(scale, low[0]) if sums is None else self._forward(scale, low[0])
            if sums is not None:
                sums.append(high.sum())
            return [as_codes(high, source.dtype)]

        cut = (([torch.stack([_cut(source[frame], tile) for frame, tile in part])], part) for part in parts)
        made: Iterator[tuple[list[Tensor], list[tuple[int, tiling.Tile]]]]
        if source.device == self.device:  # nothing to upload, and who called looks at the sums
            made = ((enlarged(low, part, sums), part) for low, part in cut)
        else:
            made = in_flight(cut, enlarged, self.device)
        done = 0
        for (high,), part in made:
            for (frame, tile), piece in zip(part, high, strict=True):
                _paste(result[frame], piece, tile, scale)
            done += len(part)
            if on_progress:
                on_progress(done, len(pieces))
        return result

    def _tile_side(self, height: int, width: int, scale: int) -> int:
        """Side of a tile: what was asked for, else as much as memory allows; all of a picture that fits."""
        contract, at_once = self._network(scale).contract, self.pixels_at_once(scale)
        if height * width <= at_once:
            side = max(height, width)
        else:
            side = max(math.isqrt(at_once), 2 * contract.reach_px + _TILE_PX_MIN)
            side = max(contract.multiple_of, side - side % contract.multiple_of)
        if self.tile_px is None:
            return side
        return min(side, self.tile_px) if scale in self._bounded else self.tile_px

    def _tile_batch(self, tile_area_px: int, scale: int) -> int:
        """Tiles at once: what was asked for, else as many as memory allows."""
        batch = max(1, self.pixels_at_once(scale) // tile_area_px)
        if self.batch is None:
            return batch
        return min(batch, self.batch) if scale in self._bounded else self.batch

    def _finite(self, scale: int, low: Tensor) -> Tensor:
        """Run a batch in the engine's precision, and again in safer ones while a value is not finite."""
        dtype = self.dtype
        while True:
            high = self._forward(scale, low, dtype)
            if math.isfinite(float(high.sum())):  # one value that is not finite makes the sum so
                return high
            if dtype not in _SAFER:
                raise WeightsError(
                    f"the network gives values that are not finite, in {_name(dtype)} too",
                    "the weights are damaged: train or copy them again",
                )
            self._notice(f"values overflowed in {_name(dtype)}: redone in {_name(_SAFER[dtype])}")
            dtype = _SAFER[dtype]

    def _forward(self, scale: int, low: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Tiles ``(B, 3, h, w)`` of codes or floats -> fp32 ``(B, 3, h*scale, w*scale)`` on the device."""
        runtime = self._runtime(scale, dtype)
        peak = PEAK.get(low.dtype, 1)
        low = low.to(self.device).float()
        low = low / peak if peak != 1 else low
        height, width = low.shape[-2:]
        multiple = runtime.network.contract.multiple_of
        down, right = -height % multiple, -width % multiple
        if down or right:
            low = F.pad(low, (0, right, 0, down), mode="replicate")
        high = runtime(low.contiguous(memory_format=torch.channels_last))
        return high[..., : height * scale, : width * scale]


def _as_tensor(pixels: Pixels) -> Tensor:
    """A picture's array as a tensor, of the same memory where that may be written to.

    Raises:
        UsageError: The array is no picture.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype not in (np.uint8, np.uint16):
        raise UsageError(
            f"an array of shape {pixels.shape} and {pixels.dtype} is no picture",
            "pass (height, width, 3) RGB, uint8 or uint16",
        )
    return torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())


def _name(dtype: torch.dtype) -> str:
    return next(name for name, known in _DTYPES.items() if known is dtype)


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
    target.copy_(kept)
