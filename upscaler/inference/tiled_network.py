"""One network on one device: frames go through it in tiles and batches, within the memory there is."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from upscaler.errors import DeviceError, WeightsError
from upscaler.inference import devices, int8, memory, tiling
from upscaler.inference.feathering import FeatheredMerge
from upscaler.inference.overlap import run_overlapped
from upscaler.inference.padding import pad_reflected
from upscaler.inference.resize import memory_format_of
from upscaler.inference.rows import Rows, Window
from upscaler.inference.runtime import Runtime
from upscaler.inference.self_ensemble import PASSES_TTA, ensemble
from upscaler.models.contract import Network
from upscaler.models.film import Film
from upscaler.models.film_step import FilmStep
from upscaler.models.model_file import ModelFile
from upscaler.models.plane_network import PlaneNetwork
from upscaler.options import EngineOptions
from upscaler.pixels import as_codes, as_floats
from upscaler.planes import PlaneOutput
from upscaler.results import Message, OnMessage

OnProgress = Callable[[int, int], None]
OnPass = Callable[[int], None]
Pieces = list[tuple[int, tiling.Tile]]  # tiles, each with the number of its frame

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "int8": torch.int8}

# Area of a batch from which on larger ones are not faster. On one core of a Xeon (Sapphire Rapids), fp32, the
# time per pixel varied by less than 8 % from 0.15 to 2 million pixels, squares and strips alike; see
# docs/performance.md.
_FAST_BATCH_PX = {"cpu": 512 * 512, "cuda": 2048 * 2048, "mps": 1024 * 1024, "xpu": 2048 * 2048}
# Memory for the network's features on a processor. It keeps the overlap of `restore`, 52 pixels, below 6 % of
# the work at 12 megapixels. Networks of x8 have more, because their results are that large.
_CPU_FEATURES_GB = 1.3
_CPU_FEATURES_GB_X8 = 2.6
# Share of the free memory of the device that the network may fill; the rest is for frames and fragmentation.
_FREE_MEMORY_SHARE = 0.6


class TiledNetwork:
    """A network on a device.

    Args:
        weights: Of the network.
        device: Where it runs.
        dtype: In which it runs, unless the network is not sound in it, or values overflow.
        options: Of these, ``runtime``, ``tile_px``, ``batch``, ``memory_limit_gb``, ``tta`` and, for planes,
            ``strength``.
        on_message: Called with what the user should know.
        in_steps: Run a network for films step by step; results are those of ``FilmStep``, in fp32.

    Raises:
        UsageError: The tile asked for is too small for this network.
        WeightsError: The weights do not fit the network.
    """

    def __init__(
        self,
        weights: ModelFile,
        device: torch.device,
        dtype: torch.dtype,
        options: EngineOptions,
        on_message: OnMessage,
        *,
        in_steps: bool = False,
    ) -> None:
        self._weights, self._device, self._dtype = weights, device, dtype
        self._in_steps = in_steps
        self._options, self._on_message = options, on_message
        self._runtimes: dict[tuple[torch.dtype, PlaneOutput | None], Runtime] = {}
        self._max_batch_px: int | None = None
        self._first_max_batch_px: int | None = None  # before memory ran out
        self._others_bytes = 0
        self._bytes_each: int | None = None
        self._bounded = options.memory_limit_gb is not None  # or when memory has run out
        self._choose_sound_dtype()
        if options.tile_px is not None:
            tiling.check_side(options.tile_px, self.network.contract.receptive_radius_px)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which the network runs."""
        return self._dtype

    @property
    def _computes_codes(self) -> bool:
        """Whether the device has integers of 16 bits without sign; else codes stay on the host."""
        return self._device.type in ("cpu", "cuda")

    def _choose_sound_dtype(self) -> None:
        """Replace the dtype asked for by a safer one where the network is not sound in it."""
        asked, sound = self._dtype, self._weights.dtypes
        if asked is torch.int8 and int8.is_possible(self._weights.inference_network(), self._device):
            return
        while self._dtype not in sound:
            self._dtype = devices.safer_dtype(self._device, self._dtype) or torch.float32
        if self._dtype is not asked and self._options.precision != "auto":
            what = "cannot run here in" if asked is torch.int8 else "is not sound in"
            text = f"the network {what} {name_of(asked)}: it runs in {name_of(self._dtype)}"
            self._on_message(Message("info", text))

    def _eager(self, dtype: torch.dtype, planes: PlaneOutput | None) -> Network:
        network = self._weights.inference_network()
        if dtype is torch.int8:  # of the body; all else is in fp32
            network, dtype = int8.with_int8_body(network), torch.float32
        if self._in_steps:
            assert isinstance(network, Film), "of the networks, only those for films run in steps"
            network = FilmStep(network, planes, self._options.strength)
        elif planes is not None:
            network = PlaneNetwork(network, planes, self._options.strength)
        return network.to(device=self._device, dtype=dtype).to(memory_format=network.memory_format)

    @property
    def network(self) -> Network:
        """The network with exact rewrites for inference; it gives RGB."""
        return self.runtime().network

    def runtime(self, dtype: torch.dtype | None = None, planes: PlaneOutput | None = None) -> Runtime:
        """The runtime, created on first use.

        Args:
            dtype: In another precision than the engine's.
            planes: For a network that gives these planes; see ``run``.
        """
        key = (dtype or self._dtype, planes)
        if key not in self._runtimes:
            self._runtimes[key] = Runtime(self._eager(*key), self._on_message)
            if self._options.runtime == "compiled":
                self._runtimes[key].compile()
        return self._runtimes[key]

    @property
    def max_batch_px(self) -> int:
        """Most LR pixels that go through the network together; lowered when memory runs out."""
        if self._max_batch_px is None:
            bytes_each = self._bytes_per_pixel() + self._ensemble_bytes
            device = self.runtime().works.device
            self._max_batch_px = max(1, int(self._features_bytes(device) // bytes_each))
            if device.type != "cpu":
                self._max_batch_px = min(self._max_batch_px, _FAST_BATCH_PX[device.type])
            self._warn_of_small_limit(self._max_batch_px, bytes_each)
            self._first_max_batch_px = self._max_batch_px
        return self._max_batch_px

    @max_batch_px.setter
    def max_batch_px(self, pixels: int) -> None:
        self._max_batch_px = pixels

    def forget_lack_of_memory(self) -> None:
        """After a job: what did not fit into memory need not concern the next one."""
        self._max_batch_px = self._first_max_batch_px
        self._bounded = self._options.memory_limit_gb is not None

    @contextmanager
    def leaving_to_others(self, others_bytes: int) -> Iterator[None]:
        """Until the block ends, leave this much main memory to others, such as an encoder.

        ``max_batch_px`` is lowered if less is left, never raised; where memory runs out, it stays lower.
        """
        own_px, first_px = self._max_batch_px, self._first_max_batch_px
        self._others_bytes = others_bytes
        if own_px is not None:
            self._max_batch_px = None
            self._max_batch_px = min(own_px, self.max_batch_px)
        bounded_px = self._max_batch_px
        try:
            yield
        finally:
            bounded_px = bounded_px or self._first_max_batch_px
            if self._max_batch_px == bounded_px:
                self._max_batch_px = own_px
            self._first_max_batch_px = first_px
            self._others_bytes = 0

    def _bytes_per_pixel(self) -> int:
        """Memory for every LR pixel of a batch, measured once, where the network can run."""
        if self._bytes_each is None:
            runtime = self.runtime()
            try:
                self._bytes_each = memory.bytes_per_pixel(runtime.works, runtime.works.device)
            except NotImplementedError as error:
                runtime.go_to_processor(error)
                self._bytes_each = memory.bytes_per_pixel(runtime.works, runtime.works.device)
        return self._bytes_each

    def _features_bytes(self, device: torch.device) -> float:
        """Memory for the network's features: what was asked for, else what suits the device."""
        if self._options.memory_limit_gb is not None:
            return self._options.memory_limit_gb * 1e9
        others_bytes = self._others_bytes if device.type in ("cpu", "mps") else 0
        left = max(0, devices.free_memory_bytes(device) - others_bytes) * _FREE_MEMORY_SHARE
        if device.type != "cpu":
            return left
        enough_gb = _CPU_FEATURES_GB_X8 if self.network.contract.scale == 8 else _CPU_FEATURES_GB
        return min(left, enough_gb * 1e9)

    def _warn_of_small_limit(self, pixels: int, bytes_each: int) -> None:
        """Report a memory limit below what the smallest tile takes, which is used anyway."""
        side = self._smallest_tile_px
        if self._options.memory_limit_gb is not None and pixels < side**2:
            needed_gb = side**2 * bytes_each / 1e9
            text = (
                f"the memory limit of {self._options.memory_limit_gb:g} GB is too small for a tile of {side} "
                f"pixels, which takes about {needed_gb:.2g} GB: using that"
            )
            self._on_message(Message("info", text))

    @property
    def _smallest_tile_px(self) -> int:
        return tiling.min_side_px(self.network.contract.receptive_radius_px)

    @property
    def _ensemble_bytes(self) -> int:
        """For every LR pixel: the sum of the symmetries, and the one transformed back, in fp32."""
        return 2 * 3 * 4 * self.network.contract.scale**2 if self._options.tta else 0

    def run(
        self,
        source: Tensor,
        into: torch.dtype,
        *,
        check: bool,
        on_progress: OnProgress | None = None,
        planes: PlaneOutput | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run the network over every frame; when memory runs out, again with half as much at once.

        Args:
            source: RGB ``(B, 3, H, W)`` on any device: uint8 or uint16 codes, or floats in [0, 1].
            into: The dtype of the result, one of those.
            check: See ``Upscaler.upscale_flagged``.
            on_progress: Called with (tiles done, tiles in all).
            planes: Give packed planes ``(B, K, H, W)`` of this kind, codes, instead of RGB; only if
                ``plane_network.can_give`` says so.

        Returns:
            RGB ``(B, 3, H*scale, W*scale)`` where the source is, and a bool scalar on the device: whether all
            values were finite.

        Raises:
            DeviceError: There is too little memory for the smallest tile.
            WeightsError: With ``check``: values are not finite in fp32 either.
        """
        contract = self.runtime(planes=planes).network.contract
        height, width = source.shape[-2:]
        source = pad_reflected(source, *contract.padded_size(height, width))
        while True:
            tiles = self.tiles(source.shape[-2], source.shape[-1], planes)
            if len(tiles) > 1 and contract.tiling == "approximate":
                self._on_message(Message("info", self._approximation(tiles)))
            batch = self._tile_batch(tiles[0].area_px)
            try:
                result, finite = self._run_tiles(
                    source, into, tiles, batch, check=check, on_progress=on_progress, planes=planes
                )
                return result[..., : height * contract.scale, : width * contract.scale], finite
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not devices.is_out_of_memory(error):
                    raise
                self._halve(tiles[0].area_px * min(batch, len(tiles) * len(source)), error)

    def _channels(self, planes: PlaneOutput | None) -> int:
        if self._in_steps:
            return self.runtime(planes=planes).network.output_channels
        return planes.channels(self.network.contract.scale) if planes else 3

    def _approximation(self, tiles: tuple[tiling.Tile, ...]) -> str:
        overlap_px = 2 * self.network.contract.receptive_radius_px
        size = f"{tiles[0].width}x{tiles[0].height}"
        return (
            f"this network sees further than tiles can overlap: {size} tiles, overlapping by at least "
            f"{overlap_px} pixels and blended, approximate the whole image"
        )

    @contextmanager
    def restored(self, name: str, max_batch_px: int, planes: PlaneOutput | None) -> Iterator[None]:
        """Use another runtime (``eager`` or ``compiled``) and another ``max_batch_px`` until the block ends.

        If memory runs out meanwhile, the smaller ``max_batch_px`` stays.
        """
        runtime = self.runtime(planes=planes)
        own_name, own_px, was_bounded = runtime.name, self.max_batch_px, self._bounded
        runtime.use(name)
        self.max_batch_px = max_batch_px
        try:
            yield
        finally:
            runtime.use(own_name)
            ran_out = self._bounded and not was_bounded
            self.max_batch_px = min(own_px, self.max_batch_px) if ran_out else own_px

    def _halve(self, batch_px: int, error: BaseException) -> None:
        """Lower ``max_batch_px`` after a batch of this many pixels ran out of memory."""
        smallest = self._smallest_tile_px
        if self.network.contract.tiling == "whole":
            text = f"{devices.describe(self._device)} has too little memory for a whole image"
            hint = self._ways_to_more_memory()
            raise DeviceError(f"{text}, which this network must see", hint) from error
        if batch_px <= smallest**2:
            text = f"{devices.describe(self._device)} has too little memory for one tile of {smallest} pixels"
            raise DeviceError(text, self._ways_to_more_memory()) from error
        self.max_batch_px = max(smallest**2, batch_px // 2)
        self._bounded = True
        for runtime in self._runtimes.values():
            runtime.drop_graphs()
        same = " (same output)" if self.network.contract.tiling == "exact" else ""
        text = f"out of memory: retrying with smaller tiles{same}"
        self._on_message(Message("info", text))

    def _ways_to_more_memory(self) -> str:
        other = "" if devices.is_processor(self._device) else ", or use --device cpu"
        return f"close other programs{other}"

    def _empty(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Room for a result. If there is none, smaller tiles do not help.

        Raises:
            DeviceError: There is none.
        """
        try:
            memory_format = memory_format_of(shape[1], dtype)
            return torch.empty(shape, dtype=dtype, device=device, memory_format=memory_format)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not devices.is_out_of_memory(error):
                raise
            text = f"{devices.describe(device)} has too little memory for a result of {shape[3]}x{shape[2]}"
            raise DeviceError(text, "use a smaller --scale or --size") from error

    def _run_tiles(
        self,
        source: Tensor,
        into: torch.dtype,
        tiles: tuple[tiling.Tile, ...],
        batch: int,
        *,
        check: bool,
        on_progress: OnProgress | None,
        planes: PlaneOutput | None,
    ) -> tuple[Tensor, Tensor]:
        """Run the network over every tile of every frame, ``batch`` tiles together; see ``run``."""
        frames, _, height, width = source.shape
        contract = self.runtime(planes=planes).network.contract
        scale, feather_px = contract.scale, contract.feather_px
        codes = self._codes(planes)
        shape = (frames, self._channels(planes), height * scale, width * scale)
        result = self._empty(shape, codes.dtype if codes else into, source.device)
        finite = torch.ones((), dtype=torch.bool, device=self._device)
        merge, merged = None, 0
        if feather_px and len(tiles) > 1:
            merge = FeatheredMerge(scale, feather_px, *shape[2:])
        pieces = self._pieces(source, into, tiles, batch, check=check, on_progress=on_progress, planes=planes)
        for frame, tile, piece, flag in pieces:
            finite = finite & flag
            if merge is None:
                _paste(result[frame], piece, tile, scale)
            elif (finished := merge.add(piece, tile)) is not None:
                merged = merged if merged < shape[2] else 0  # of the next frame
                result[frame, :, merged : merged + finished.shape[1]] = finished
                merged += finished.shape[1]
        return result, finite

    def _codes(self, planes: PlaneOutput | None) -> PlaneOutput | None:
        return None if self._in_steps else planes  # a step also gives its state, which is no codes

    def _pieces(
        self,
        source: Tensor,
        into: torch.dtype,
        tiles: Sequence[tiling.Tile],
        batch: int,
        *,
        check: bool,
        on_progress: OnProgress | None,
        planes: PlaneOutput | None,
    ) -> Iterator[tuple[int, tiling.Tile, Tensor, Tensor]]:
        """Each frame with each tile, its result ``(C, h*scale, w*scale)``, and whether that is finite."""
        codes = self._codes(planes)
        pieces = [(frame, tile) for frame in range(len(source)) for tile in tiles]
        parts = [pieces[first : first + batch] for first in range(0, len(pieces), batch)]
        count = _TileCount(len(pieces), self._passes, on_progress)
        # Nothing to upload. By type: "cuda" and "cuda:0" are not equal, and a frame is on the host or on this
        # device.
        is_here = source.device.type == self._device.type
        finite = torch.ones((), dtype=torch.bool, device=self._device)

        def work(lr: list[Tensor], part: Pieces, check: bool) -> tuple[list[Tensor], Tensor]:
            def on_pass(passes: int) -> None:
                if is_here:  # a GPU is only told what to do
                    count.reach(passes * len(part))

            forward = self._forward_checked if check else self._forward
            sr = forward(lr[0], on_pass, planes)
            # One value that is not finite makes the sum so.
            flag = finite if check else sr.sum().isfinite()
            if not self._computes_codes:
                sr = sr.cpu()
            return [codes.as_codes(sr) if codes else as_codes(sr, into)], flag

        cut = (([torch.stack([_cut(source[frame], tile) for frame, tile in part])], part) for part in parts)
        results: Iterator[tuple[list[Tensor], Tensor, Pieces]]
        if is_here:
            results = ((*work(lr, part, check), part) for lr, part in cut)
        else:
            results = ((sr, finite, part) for sr, part in run_overlapped(cut, work, self._device))
        for (sr,), flag, part in results:
            for (frame, tile), piece in zip(part, sr, strict=True):
                yield frame, tile, piece, flag
            count.finish(len(part))

    def run_rows(self, rows: Rows, into: torch.dtype, on_step: Callable[[int], None]) -> Rows:
        """Run the network over a picture that is too large for memory, one row of tiles after the other.

        The tiles are those of ``run``, so the result is the same.

        Args:
            rows: The picture.
            into: The dtype of the result; see ``run``.
            on_step: Called with the number of steps that are done since; see ``steps``.
        """
        scale = self.network.contract.scale
        return Rows(rows.height * scale, rows.width * scale, self._bands(rows, into, on_step))

    def _bands(self, rows: Rows, into: torch.dtype, on_step: Callable[[int], None]) -> Iterator[Tensor]:
        contract, window = self.network.contract, Window(rows)
        scale, feather_px = contract.scale, contract.feather_px
        padded_height, padded_width = contract.padded_size(rows.height, rows.width)
        tiles = self.tiles(rows.height, rows.width)
        merge, given = None, 0
        if feather_px and len(tiles) > 1:
            self._on_message(Message("info", self._approximation(tiles)))
            merge = FeatheredMerge(scale, feather_px, padded_height * scale, padded_width * scale)
        for span, group in itertools.groupby(tiles, key=lambda tile: tile.rows):
            row = list(group)
            source = window.take(span.start, min(span.stop, rows.height)).permute(2, 0, 1)
            source = pad_reflected(source.unsqueeze(0), span.stop - span.start, padded_width)
            steps = _Steps(len(row) * self._passes, on_step)
            if merge:
                band = self._merged_band(source, into, row, merge, steps.reach)
            else:
                band = self._band(source, into, row, steps.reach)
            steps.finish()
            band = band[:, : rows.height * scale - given, : rows.width * scale]
            given += band.shape[1]
            yield band.permute(1, 2, 0)

    def steps(self, height: int, width: int) -> int:
        """What is counted for a picture of this size: tiles, with self-ensemble once for each pass."""
        return len(self.tiles(height, width)) * self._passes

    @property
    def _passes(self) -> int:
        return PASSES_TTA if self._options.tta else 1

    def _band(
        self, source: Tensor, into: torch.dtype, row: list[tiling.Tile], on_progress: OnProgress
    ) -> Tensor:
        """The rows that a row of tiles keeps, of ``(1, 3, h, W)``, its rows of the picture."""
        span, scale = row[0].rows, self.network.contract.scale
        inside = [replace(tile, rows=span.moved(-span.start)) for tile in row]
        batch = self._tile_batch(row[0].area_px)
        try:
            result, _ = self._run_tiles(
                source, into, tuple(inside), batch, check=True, on_progress=on_progress, planes=None
            )
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not devices.is_out_of_memory(error):
                raise
            self._halve(row[0].area_px * min(batch, len(row)), error)
            # As a picture by itself, cut into smaller tiles; what is kept is far enough from its borders.
            result, _ = self.run(source, into, check=True)
        kept = inside[0].rows
        return result[0, :, kept.keep_start * scale : kept.keep_stop * scale]

    def _merged_band(
        self,
        source: Tensor,
        into: torch.dtype,
        row: list[tiling.Tile],
        merge: FeatheredMerge,
        on_progress: OnProgress,
    ) -> Tensor:
        """The rows that are finished with this row of tiles, where tiles are blended; see ``_band``."""
        start = row[0].rows.start
        inside = [replace(tile, rows=tile.rows.moved(-start)) for tile in row]
        finished: Tensor | None = None
        try:
            pieces = self._pieces(source, into, inside, 1, check=True, on_progress=on_progress, planes=None)
            for _, tile, piece, _ in pieces:
                finished = merge.add(piece, replace(tile, rows=tile.rows.moved(start)))
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not devices.is_out_of_memory(error):
                raise
            # Tiles that are blended cannot become smaller in the middle of a picture.
            side_px = max(self._smallest_tile_px, max(row[0].height, row[0].width) // 2)
            text = f"{devices.describe(self._device)} has too little memory for tiles of this size"
            raise DeviceError(text, f"use --tile {side_px}") from error
        assert finished is not None, "the last tile of a row finishes it"
        return finished

    def tiles(self, height: int, width: int, planes: PlaneOutput | None = None) -> tuple[tiling.Tile, ...]:
        """How a picture of this size is cut: into tiles of one size, one if it fits into memory."""
        if self.network.contract.tiling == "whole":
            return (tiling.Tile(tiling.Span(0, height, 0, height), tiling.Span(0, width, 0, width)),)
        return tiling.plan(*self.network.contract.padded_size(height, width), self._limits(planes))

    def _limits(self, planes: PlaneOutput | None) -> tiling.Limits:
        contract, asked = self.runtime(planes=planes).network.contract, self._options.tile_px
        if asked is None:
            max_area = self.max_batch_px
            fast_area = min(_FAST_BATCH_PX[self._device.type], max_area)
        else:  # as large as asked for, unless memory was bounded too or has run out
            max_area = fast_area = self.max_batch_px if self._bounded else asked**2
        return tiling.Limits(
            radius_px=contract.receptive_radius_px,
            multiple_of=contract.multiple_of,
            max_area_px=max_area,
            fast_area_px=fast_area,
            max_side_px=asked,
        )

    def _tile_batch(self, tile_area_px: int) -> int:
        """Tiles that go through the network together: what was asked for, else as many as make it fast."""
        asked = self._options.batch
        if asked is not None and not self._bounded:
            return asked
        if asked is None and self.network.contract.tiling != "exact":
            return 1  # spandrel promises no more for models of other people
        allowed = max(1, self.max_batch_px // tile_area_px)
        fast = max(1, _FAST_BATCH_PX[self._device.type] // tile_area_px)
        return min(allowed, fast if asked is None else asked)

    def _forward_checked(self, lr: Tensor, on_pass: OnPass, planes: PlaneOutput | None) -> Tensor:
        """Run a batch in the engine's precision, and again in safer ones while a value is not finite."""
        dtype = self._dtype
        while True:
            sr = self._forward(lr, on_pass, planes, dtype)
            if math.isfinite(float(sr.sum())):
                return sr
            safer = devices.safer_dtype(self._device, dtype)
            if safer is None:
                raise WeightsError(
                    f"the network gives values that are not finite, in {name_of(dtype)} too",
                    "the weights are damaged: train or copy them again",
                )
            text = f"values overflowed in {name_of(dtype)}: redone in {name_of(safer)}"
            self._on_message(Message("info", text))
            dtype = safer

    def _forward(
        self,
        lr: Tensor,
        on_pass: OnPass = lambda _: None,
        planes: PlaneOutput | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """RGB tiles ``(B, 3, h, w)``, codes or floats -> what the network gives, fp32, on the device."""
        runtime = self.runtime(dtype, planes)
        lr = as_floats(lr.to(self._device)) if self._computes_codes else as_floats(lr).to(self._device)
        upscale = functools.partial(_run_padded, runtime)
        return ensemble(upscale, lr, on_pass) if self._options.tta else upscale(lr)


class _TileCount:
    """Reports finished tiles, ever more; with self-ensemble, each counts once for each symmetry.

    Args:
        tiles: All of them.
        passes: How often each counts.
        on_progress: Takes the tiles done, and all.
    """

    def __init__(self, tiles: int, passes: int, on_progress: OnProgress | None) -> None:
        self._all, self._passes, self._on_progress = tiles * passes, passes, on_progress
        self._finished = self._told = 0

    def reach(self, further: int) -> None:
        """So many are done beyond those that are finished; repeated in another precision, they count once."""
        done = self._finished + further
        if done > self._told:
            self._told = done
            if self._on_progress:
                self._on_progress(done, self._all)

    def finish(self, tiles: int) -> None:
        """Some more tiles are finished."""
        self.reach(tiles * self._passes)
        self._finished += tiles * self._passes


class _Steps:
    """Passes on the steps of a row of tiles as they are done, and all of them, however they were done."""

    def __init__(self, steps: int, on_step: Callable[[int], None]) -> None:
        self._left, self._told, self._on_step = steps, 0, on_step

    def reach(self, done: int, _: int) -> None:
        """So many are done."""
        self._on_step(done - self._told)
        self._left -= done - self._told
        self._told = done

    def finish(self) -> None:
        """All are."""
        if self._left:
            self._on_step(self._left)


def _run_padded(runtime: Runtime, lr: Tensor) -> Tensor:
    """Run a network on fp32 tiles of any size: pad them to one that it takes, and crop the result."""
    contract, scale = runtime.network.contract, runtime.network.contract.scale
    height, width = lr.shape[-2:]
    rows, columns = contract.padded_size(height, width)
    if contract.square:
        rows = columns = max(rows, columns)
    lr = pad_reflected(lr, rows, columns)
    sr = runtime(lr.contiguous(memory_format=torch.channels_last))
    return sr[..., : height * scale, : width * scale]


def name_of(dtype: torch.dtype) -> str:
    """As in ``options.PRECISIONS``."""
    return next(name for name, known in DTYPES.items() if known is dtype)


def _cut(frame: Tensor, tile: tiling.Tile) -> Tensor:
    return frame[:, tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop]


def _paste(result: Tensor, piece: Tensor, tile: tiling.Tile, scale: int) -> None:
    """Copy the kept part of an upscaled tile into its frame ``(3, H*scale, W*scale)``."""
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
