"""``Upscaler``: frames in, larger frames out, on one device in one precision."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import overload

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from upscaler import transparency
from upscaler.errors import DeviceError, UsageError
from upscaler.inference import devices, pictures
from upscaler.inference.batching import batch_equal
from upscaler.inference.film_steps import Context, Step, upscale_film
from upscaler.inference.overlap import run_overlapped
from upscaler.inference.plan import Plan, PlannedNetwork, networks_for
from upscaler.inference.resize import resize_bicubic
from upscaler.inference.rows import Rows, resized
from upscaler.inference.rows import blended as blended_rows
from upscaler.inference.runtime import Runtime
from upscaler.inference.self_ensemble import PASSES_TTA
from upscaler.inference.strength import blended
from upscaler.inference.tiled_network import DTYPES, OnProgress, TiledNetwork, name_of
from upscaler.inference.wrapping import cropped, resize_wrapped, wrapped
from upscaler.models import blending, find_weights, model_file
from upscaler.models.contract import BICUBIC_RADIUS_PX, Contract
from upscaler.models.film_step import FilmStep
from upscaler.models.plane_network import can_give
from upscaler.option_fields import takes_options
from upscaler.options import DEFAULT_MODEL, RUNTIMES, SCALE_MAX, EngineOptions
from upscaler.pixels import Pixels
from upscaler.planes import PlaneOutput
from upscaler.results import Message, OnMessage, WeightFacts
from upscaler.system import memory, processors

# Side of the picture with which the speed of uncompiled work is estimated, in LR pixels.
_TRIAL_PX = 128
# Seconds of uncompiled work from which on compiling, which takes up to 15 s, is tried.
_COMPILE_FROM_S = 300.0
# Any processor does more multiply-accumulates per second: what takes less than that time at this speed is not
# timed, which takes as long as 65,000 pixels.
_SLOWEST_MACS_PER_S = 1e9


class Upscaler:
    """Upscales images. Loads the weights once; not thread-safe: one thread at a time may use it.

    Sets nothing for the process. On a CPU, call ``upscaler.keep_freed_memory()`` once before: it halves the
    time of an image.

    >>> from upscaler import Upscaler
    >>> larger = Upscaler("fast", scale=2, denoise=1).image(array)  # (H, W, 3) uint8 -> (2H, 2W, 3) uint8

    Takes the fields of ``EngineOptions`` as arguments: ``model`` and ``scale`` by position or by name, the
    others by name.

    Attributes:
        models: Names and paths of the models, in the order in which they run; usually one.
        files: Of each model, weight files by the scale of their network; two each where they are blended.

    Raises:
        UsageError: The options contradict each other or are out of range, or are not for these models.
        WeightsError: A model is unknown, or its file is damaged.
        DeviceError: The device is not there.
    """

    @takes_options(EngineOptions)
    def __init__(self, options: EngineOptions) -> None:
        self.models = options.models or (DEFAULT_MODEL["still"],)
        self.options = replace(options, model=self.models)
        self.device = devices.select(options.device)
        auto = options.precision == "auto"
        self.dtype = devices.fast_dtype(self.device) if auto else DTYPES[options.precision]
        self._shares, self.files = _blends(self.models, options)
        self.scale = find_weights.default_scale(self.models) if options.scale is None else options.scale
        if all(max(files) == 1 for files in self.files.values()) and (self.scale != 1 or options.size_px):
            raise UsageError(
                f"model {' then '.join(map(repr, self.models))} restores without upscaling",
                "use --scale 1, or add a model that upscales: --model NAME",
            )
        self._networks: dict[PlannedNetwork, TiledNetwork] = {}
        # As they were when the network was loaded.
        self._weight_facts: dict[PlannedNetwork, list[WeightFacts]] = {}
        self._on_message: OnMessage | None = None
        self._messages: list[Message] = []  # of this job; between jobs, for the next one
        if options.size_px is None:
            for network in self._networks_for(self.scale):
                self._network(network).runtime()  # fail now if a weight file is damaged

    def plan(self, height: int, width: int, box_px: tuple[int, int] | None = None) -> Plan:
        """How an image of this size would be upscaled.

        Args:
            height: Height of the image.
            width: Width of the image.
            box_px: (width, height) to fit inside, in place of the ``size_px`` that the engine was made with;
                for coded frames whose pixels are not square or that are shown rotated.

        Raises:
            UsageError: The box is more than 8 times the image's size.
        """
        box_px = box_px or self.options.size_px
        passes = PASSES_TTA if self.options.tta else 1
        if box_px is None:
            target = max(1, round(height * self.scale)), max(1, round(width * self.scale))
            return Plan(self._networks_for(self.scale), *target, factor=self.scale, passes=passes)
        factor = min(box_px[0] / width, box_px[1] / height)
        if factor > SCALE_MAX:
            size = f"{box_px[0]}x{box_px[1]}"
            raise UsageError(
                f"{size} is more than {SCALE_MAX:g} times {width}x{height}", "use a smaller --size"
            )
        target = max(1, round(height * factor)), max(1, round(width * factor))
        target = min(box_px[1], target[0]), min(box_px[0], target[1])
        return Plan(self._networks_for(factor), *target, factor=factor, passes=passes)

    def _networks_for(self, factor: float) -> tuple[PlannedNetwork, ...]:
        return networks_for([(model, self.files[model]) for model in self.models], factor)

    def giving_planes(self, plan: Plan, output: PlaneOutput, height: int, width: int) -> Plan:
        """The plan with a network at its end that gives planes instead of RGB, where that is possible.

        That spares both the conversion and most of the memory. It needs a network of ours, and nothing may
        come after it: no resizing, no cropping, no mean over symmetries; and before it no other network whose
        source a strength below 1 needs.

        Args:
            plan: From ``plan`` for this size; its target size may have been changed.
            output: The planes.
            height: Height of the frames.
            width: Width of the frames.
        """
        reached = math.prod(plan.scales)
        exact = (height * reached, width * reached) == (plan.height, plan.width)
        if self.options.tileable:
            return plan
        needs_source = self.options.strength < 1 and len(plan.networks) > 1
        if not plan.networks or plan.passes > 1 or not exact or needs_source:
            return plan
        network = self._network(plan.networks[-1]).network
        possible = can_give(network.film if isinstance(network, FilmStep) else network, output)
        return replace(plan, planes=output) if possible else plan

    def in_steps(self, plan: Plan) -> Plan:
        """The plan for the frames of a film: a network for films runs in steps, with the frames around.

        Raises:
            UsageError: Such a network is not alone in the plan, or runs several times.
        """
        for_films = [each for each in plan.networks if self._contract(each).sees_other_frames]
        if not for_films:
            return plan
        model = for_films[0].model
        if len(plan.networks) > 1:
            hint = f"choose a scale of at most {max(self.files[model])} and no other model"
            raise UsageError(f"model '{model}' sees neighbouring frames: it runs once, and alone", hint)
        if plan.passes > 1 or self.options.tileable:
            raise UsageError(f"model '{model}' sees neighbouring frames: --tta and --tileable are not for it")
        return replace(plan, networks=(replace(for_films[0], in_steps=True),))

    def context(self, plan: Plan) -> Context:
        """What the network of a plan sees besides the frame itself; nothing but in steps."""
        in_steps = len(plan.networks) == 1 and plan.networks[0].in_steps
        if not in_steps:
            return Context()
        (network,) = plan.networks
        return Context(self._contract(network).state_channels, network.scale)

    def _contract(self, network: PlannedNetwork) -> Contract:
        return self._network(network).network.contract

    def radius_px(self, plan: Plan, height: int, width: int) -> int | None:
        """How many pixels around a part of a frame decide, with that part, about its result.

        ``None`` where a part cannot be computed by itself: before resizing, by several networks, or by one
        that needs certain sizes or sees everything.

        Args:
            plan: From ``plan`` for this size.
            height: Height of the frame.
            width: Width of the frame.
        """
        reached = math.prod(plan.scales)
        if (
            self.options.tileable
            or len(plan.networks) != 1
            or plan.networks[0].in_steps
            or (height * reached, width * reached) != (plan.height, plan.width)
        ):
            return None
        contract = self._network(plan.networks[0]).runtime(planes=plan.planes).network.contract
        by_parts = contract.tiling == "exact" and contract.padded_size(1, 1) == (1, 1) and not contract.square
        around_px = BICUBIC_RADIUS_PX if self.options.strength < 1 else 0
        return max(contract.receptive_radius_px, around_px) if by_parts else None

    @contextmanager
    def uncompiled(self, plan: Plan) -> Iterator[None]:
        """Until the block ends, run a plan's networks on frames of many sizes: compiled code is for one."""
        with ExitStack() as used:
            for network, planes in self._steps(plan):
                used.enter_context(self._network(network).runtime(planes=planes).uncompiled())
            yield

    @overload
    def image(self, picture: Pixels, on_progress: OnProgress | None = None) -> Pixels: ...

    @overload
    def image(self, picture: Tensor, on_progress: OnProgress | None = None) -> Tensor: ...

    @overload
    def image(self, picture: Image.Image, on_progress: OnProgress | None = None) -> Image.Image: ...

    def image(
        self, picture: Pixels | Tensor | Image.Image, on_progress: OnProgress | None = None
    ) -> Pixels | Tensor | Image.Image:
        """Upscale one image; what is given as an array, a Pillow image or a tensor comes back as one.

        Args:
            picture: An array, ``(H, W, 3)`` RGB, uint8 or uint16; or a Pillow image of mode RGB, RGBA, L, LA
                or I;16; or a tensor, ``(3, H, W)`` RGB, floats in [0, 1], on any device.
            on_progress: Called with (tiles done, tiles in all) after every batch, with ``tta`` after each of
                the 8 passes, of which each counts every tile; a second network starts again at 1.

        Returns:
            An array ``(height, width, 3)`` in the same dtype, rounded and clamped; or a Pillow image of the
            same mode, with its ``info``; or a tensor ``(3, height, width)`` in the same dtype on the same
            device, clamped to [0, 1].

        Raises:
            UsageError: The picture has another shape, dtype, mode or range, or is none.
        """
        if isinstance(picture, Tensor):
            return self._tensor_image(picture, on_progress)
        if isinstance(picture, Image.Image):
            return self._pillow_image(picture, on_progress)
        source = pictures.tensor_of_array(picture)
        result = self._upscale_one(source.permute(2, 0, 1), on_progress)
        array: Pixels = result.permute(1, 2, 0).contiguous().numpy()
        return array

    def images(self, sources: Sequence[Pixels], on_progress: OnProgress | None = None) -> list[Pixels]:
        """Upscale arrays of one shape and dtype together; see ``image``.

        Tiles are counted over all of them, those of one after those of the one before.
        """
        batch = torch.stack([pictures.tensor_of_array(source).permute(2, 0, 1) for source in sources])
        result = self.upscale(batch, self.plan(*batch.shape[-2:]), on_progress)
        return list(result.permute(0, 2, 3, 1).contiguous().numpy())

    def _tensor_image(self, picture: Tensor, on_progress: OnProgress | None) -> Tensor:
        pictures.check_tensor(picture)
        result = self._upscale_one(picture.detach().float(), on_progress)
        # A copy, because autograd refuses tensors that were made in inference mode.
        return result.clone(memory_format=torch.contiguous_format).clamp_(0, 1).to(picture.dtype)

    def _pillow_image(self, picture: Image.Image, on_progress: OnProgress | None) -> Image.Image:
        pixels, alpha = pictures.arrays_of_pillow(picture)
        if alpha is not None:
            plan = self.plan(picture.height, picture.width)
            pixels = transparency.bleed_colors(pixels, alpha)
            alpha = transparency.upscale_alpha(
                alpha, plan.height, plan.width, self.image, wraps=self.options.tileable
            )
        return pictures.pillow_of_arrays(self.image(pixels, on_progress), alpha, picture)

    def _upscale_one(self, source: Tensor, on_progress: OnProgress | None) -> Tensor:
        """RGB ``(3, H, W)`` in a dtype of ``upscale`` -> RGB ``(3, height, width)`` in the same."""
        height, width = source.shape[-2:]
        plan = self.plan(height, width)
        needed_bytes = plan.picture_bytes(height, width, source.itemsize)
        what = f"a picture of {plan.width}x{plan.height}"
        memory.check_room(needed_bytes, what, "use a smaller --scale or --size")
        with self.leaving_to_others(needed_bytes):
            return self.upscale(source.unsqueeze(0), plan, on_progress).squeeze(0)

    def whole_only(self, plan: Plan) -> str:
        """Why a picture with this plan cannot be upscaled in rows; empty if it can."""
        if self.options.tileable:
            return "with --tileable, opposite borders are needed at once"
        for network in plan.networks:
            contract = self._contract(network)
            if contract.tiling == "whole" or contract.square:
                return f"model '{network.model}' must see a whole image"
        return ""

    def rows(
        self,
        bands: Callable[[], Iterator[Pixels]],
        height: int,
        width: int,
        on_progress: OnProgress | None = None,
    ) -> Iterator[Pixels]:
        """Upscale a picture that is too large for memory; the result is that of ``image``.

        With a factor between those of the networks, one code in a million differs by 1.

        Args:
            bands: Gives the picture from its first row on each time that it is called: arrays
                ``(rows, width, 3)`` RGB, uint8 or uint16, any number of rows each.
            height: Of the picture.
            width: Of the picture.
            on_progress: Called with (tiles done, tiles in all) of all networks together.

        Returns:
            Arrays ``(rows, width, 3)`` in the same dtype, rounded and clamped; together the result.

        Raises:
            DeviceError: There is too little memory for the smallest tile.
            WeightsError: Values are not finite in fp32 either.
        """
        plan = self.plan(height, width)
        assert not self.whole_only(plan), "the caller asks before"
        return self._bands(bands, height, width, plan, on_progress or (lambda done, total: None))

    @torch.inference_mode()
    def _bands(
        self,
        bands: Callable[[], Iterator[Pixels]],
        height: int,
        width: int,
        plan: Plan,
        on_progress: OnProgress,
    ) -> Iterator[Pixels]:
        done, total = 0, 0

        def on_step(count: int) -> None:
            nonlocal done
            done += count
            on_progress(done, total)

        def source() -> Rows:
            return Rows(height, width, map(pictures.tensor_of_array, bands()))

        given = bands()
        first = pictures.tensor_of_array(next(given))
        dtype = first.dtype
        stream = Rows(height, width, chain([first], map(pictures.tensor_of_array, given)))
        is_blended = self.options.strength < 1
        between = self._between(dtype)
        for number, (network, rows, columns) in enumerate(plan.inputs(height, width), 1):
            into = dtype if number == len(plan.networks) and not is_blended else between
            tiled = self._network(network)
            total += tiled.steps(rows, columns)
            stream = tiled.run_rows(stream, into, on_step)
            if into.is_floating_point:
                stream = replace(stream, bands=(band.clamp(0, 1) for band in stream.bands))
        if (stream.height, stream.width) != (plan.height, plan.width):
            stream = resized(stream, plan.height, plan.width)
        if is_blended:
            stream = blended_rows(stream, source(), self.options.strength)
        for band in stream.bands:
            array: Pixels = band.contiguous().numpy()
            yield array

    def frames(self, frames: Iterable[Pixels]) -> Iterator[Pixels]:
        """Upscale images of any sizes, in order: arrays, ``(H, W, 3)`` RGB, uint8 or uint16; see ``image``.

        Consecutive images of one size go through the network together, as many as ``batch_for`` says. On a
        GPU some are read ahead, and upload, computation and download overlap. A network for films sees them
        as frames of one; see ``film_steps``.
        """
        frames = iter(frames)
        first = next(frames, None)
        if first is None:
            return
        frames = chain([first], frames)
        context = self.context(self.in_steps(self.plan(*pictures.tensor_of_array(first).shape[:2])))
        if context != Context():
            yield from upscale_film(frames, self._step_for, context, self.device)
            return

        def work(sources: list[Tensor], _: int, check: bool) -> tuple[list[Tensor], Tensor]:
            batch = torch.stack([source.permute(2, 0, 1) for source in sources])
            result, finite = self.upscale_flagged(batch, self.plan(*batch.shape[-2:]), check=check)
            return list(result.permute(0, 2, 3, 1).contiguous()), finite

        # Copies: a reader may reuse its array for the next frame while several are waiting here.
        sources = (pictures.tensor_of_array(frame).clone() for frame in frames)
        together = batch_equal(
            sources,
            lambda source: (source.shape, source.dtype),
            lambda source: self.batch_for(self.plan(*source.shape[:2]), *source.shape[:2]),
        )
        for results, _ in run_overlapped(((batch, len(batch)) for batch in together), work, self.device):
            yield from (result.numpy() for result in results)

    def _step_for(self, height: int, width: int) -> Step:
        return partial(self.upscale_step, plan=self.in_steps(self.plan(height, width)))

    def batch_for(self, plan: Plan, height: int, width: int) -> int:
        """How many frames of this size, and with this plan, go through the network together.

        On a CPU always one: more are not faster (docs/performance.md).
        """
        if plan.networks and plan.networks[0].in_steps:
            return 1
        if self.options.batch is not None:
            return self.options.batch
        if self.device.type == "cpu" or not plan.networks:
            return 1
        return max(1, self._network(plan.networks[0]).max_batch_px // (height * width))

    @contextmanager
    def prepared(self, plan: Plan, height: int, width: int, frames: int) -> Iterator[None]:
        """Run a plan the fastest way for ``frames`` frames of one size that lie ahead, until the block ends.

        Compiling takes seconds, and again for every new size, so it is tried only for minutes of work; the
        compiled code stays in the user's cache folder and is found there the next time. Outside such a block
        ``auto`` means ``eager``.
        """
        with ExitStack() as used:
            is_long = self.macs(plan, height, width) * frames > _COMPILE_FROM_S * _SLOWEST_MACS_PER_S
            if self.options.runtime == "auto" and is_long:
                for runtime in self._compiled_if_worthwhile(plan, height, width, frames):
                    used.callback(runtime.use, "eager")
            yield

    def _compiled_if_worthwhile(self, plan: Plan, height: int, width: int, frames: int) -> list[Runtime]:
        """The runtimes of a plan, compiled where the work is long and that makes it faster."""
        runtimes = []
        for (step, planes), (_, rows, columns) in zip(
            self._steps(plan), plan.inputs(height, width), strict=True
        ):
            network = self._network(step)
            runtime, tile = network.runtime(planes=planes), network.tiles(rows, columns, planes)[0]
            with torch.inference_mode():
                small = self._sample(plan, step, min(_TRIAL_PX, rows), min(_TRIAL_PX, columns))
                pixels_ahead = frames * rows * columns * plan.passes
                seconds_ahead = runtime.seconds(small) / small[0, 0].numel() * pixels_ahead
                if seconds_ahead >= _COMPILE_FROM_S:
                    runtime.compile_if_faster(self._sample(plan, step, tile.height, tile.width))
            runtimes.append(runtime)
        return runtimes

    def _sample(self, plan: Plan, network: PlannedNetwork, height: int, width: int) -> Tensor:
        channels = self._network(network).network.input_channels
        lr = torch.rand(self.batch_for(plan, height, width), channels, height, width, device=self.device)
        return lr.contiguous(memory_format=torch.channels_last)

    def upscale(self, source: Tensor, plan: Plan, on_progress: OnProgress | None = None) -> Tensor:
        """Upscale a batch of frames as ``plan`` says.

        Args:
            source: RGB ``(B, 3, H, W)`` on any device: uint8 or uint16 codes, or fp32 (nominally in [0, 1],
                not clamped).
            plan: From ``plan`` for this size; its target size may be changed.
            on_progress: See ``image``.

        Returns:
            RGB ``(B, 3, plan.height, plan.width)`` on the same device, in the same dtype and range.

        Raises:
            DeviceError: There is too little memory for the smallest tile.
            WeightsError: Values are not finite in fp32 either.
        """
        return self.upscale_flagged(source, plan, check=True, on_progress=on_progress)[0]

    @torch.inference_mode()
    def upscale_flagged(
        self, source: Tensor, plan: Plan, *, check: bool, on_progress: OnProgress | None = None
    ) -> tuple[Tensor, Tensor]:
        """As ``upscale``; the caller decides when to wait for the device.

        Args:
            source: See ``upscale``.
            plan: See ``upscale``.
            check: Check every batch and redo what is not finite in a safer precision, which waits for the
                device.
            on_progress: See ``image``.

        Returns:
            The result, and a bool scalar on the device: whether all values were finite. With ``check`` it is
            always true. Where ``plan.planes`` is set, ``source`` is fp32, and the result is packed planes:
            ``(B, K, H, W)`` codes at the size of the last network's input, for ``plan.planes.unpack``.
        """
        finite = torch.ones((), dtype=torch.bool, device=self.device)
        given, dtype, wraps = source, source.dtype, self.options.tileable
        if margin_px := self._margin_px(plan, *source.shape[-2:]):
            source = wrapped(source, margin_px)
        is_blended = self.options.strength < 1 and plan.planes is None
        between = self._between(dtype)
        for number, (network, planes) in enumerate(self._steps(plan), 1):
            into = dtype if number == len(plan.networks) and not is_blended else between
            source, all_finite = self._network(network).run(
                source, into, check=check, on_progress=on_progress, planes=planes
            )
            finite = finite & all_finite
            if source.is_floating_point() and into is not dtype:
                source.clamp_(0, 1)  # as codes are
        source = cropped(source, margin_px * math.prod(plan.scales)) if margin_px else source
        if plan.planes is None and source.shape[-2:] != (plan.height, plan.width):
            resize = resize_wrapped if wraps else resize_bicubic
            source = resize(source, plan.height, plan.width)
        if is_blended:
            source = blended(source, given, self.options.strength, wraps=wraps)
        return source, finite

    def _between(self, dtype: torch.dtype) -> torch.dtype:
        """The dtype between networks: rounded once, at the end; on a GPU torch does little with uint16."""
        if dtype != torch.uint8:
            return dtype
        return torch.uint16 if self.device.type == "cpu" else torch.float32

    @torch.inference_mode()
    def upscale_step(self, seen: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
        """Upscale a frame of a film, in a plan of one network that runs in steps.

        Args:
            seen: ``(1, C, H, W)`` fp32 on any device: RGB of the frame, nominally in [0, 1]; then what is
                known from the one before. See ``motion.what_a_step_sees``.
            plan: See ``upscale_flagged``.

        Returns:
            The frame, as ``upscale_flagged`` gives it, of a batch of one; and the state for the next step,
            ``(1, S, H, W)`` fp32.
        """
        (network,) = plan.networks
        context = self.context(plan)
        given, _ = self._network(network).run(seen, torch.float32, check=True, planes=plan.planes)
        packed, state = given.tensor_split((given.shape[1] - context.state_channels,), dim=1)
        if plan.planes is not None:
            return plan.planes.as_codes(packed), state
        frame = F.pixel_shuffle(packed, network.scale)
        if frame.shape[-2:] != (plan.height, plan.width):
            frame = resize_bicubic(frame, plan.height, plan.width)
        if self.options.strength < 1:
            frame = blended(frame, seen[:, :3], self.options.strength)
        return frame, state

    def _margin_px(self, plan: Plan, height: int, width: int) -> int:
        """What the networks see beyond the borders of a tileable picture of this size, in its pixels."""
        if not self.options.tileable:
            return 0
        seen_px = 0.0
        for network, rows, _ in plan.inputs(height, width):
            seen_px += self._network(network).network.contract.receptive_radius_px * height / rows
        return math.ceil(seen_px)

    def _steps(self, plan: Plan) -> list[tuple[PlannedNetwork, PlaneOutput | None]]:
        """The networks of a plan in order, and the planes that each gives."""
        steps: list[tuple[PlannedNetwork, PlaneOutput | None]] = [(each, None) for each in plan.networks]
        if steps:
            steps[-1] = (steps[-1][0], plan.planes)
        return steps

    def weights_of(self, plan: Plan) -> list[Path]:
        """The weight files that a plan needs."""
        return [file for network in plan.networks for file in self.files[network.model][network.scale]]

    def loaded_weights(self) -> list[WeightFacts]:
        """The weight files of the networks that have been used so far, in the order of the models."""
        used = sorted(self._networks, key=lambda network: (self.models.index(network.model), network.scale))
        return list(dict.fromkeys(facts for network in used for facts in self._weight_facts[network]))

    def macs(self, plan: Plan, height: int, width: int) -> int:
        """Approximate multiply-accumulates for a frame."""
        return sum(self.macs_per_network(plan, height, width))

    def macs_per_network(self, plan: Plan, height: int, width: int) -> list[int]:
        """``macs`` of each network of the plan."""
        return [
            rows * columns * plan.passes * self._network(network).network.contract.macs_per_pixel
            for network, rows, columns in plan.inputs(height, width)
        ]

    def execution(self, plan: Plan) -> dict[str, str | int]:
        """How the networks of a plan run here, resolved; the same execution gives the same bits."""
        networks = {self._label(network): self._network(network) for network in plan.networks}
        precisions = [name_of(network.dtype) for network in networks.values()] or [name_of(self.dtype)]
        return {
            "device": devices.name(self.device),
            "precision": ", ".join(dict.fromkeys(precisions)),
            "threads": torch.get_num_threads(),
            **{f"max pixels per batch, {name}": network.max_batch_px for name, network in networks.items()},
            **{
                self._runtime_key(*step): self._network(step[0]).runtime(planes=step[1]).name
                for step in self._steps(plan)
            },
        }

    @contextmanager
    def restored_execution(self, execution: Mapping[str, str | int], plan: Plan) -> Iterator[None]:
        """Run the networks of a plan as an earlier run did, until the block ends.

        Args:
            execution: From ``execution``, maybe in another process.
            plan: The one that it was made for.

        Raises:
            DeviceError: This machine cannot; nothing is changed then.
        """
        here = self.execution(plan)
        for name in ("device", "precision"):
            if execution.get(name) != here[name]:
                raise DeviceError(f"{name} was {execution.get(name)} and is {here[name]}")
        threads = _whole(execution, "threads")
        if threads > max(processors.count(), torch.get_num_threads()):
            raise DeviceError(f"there were {threads} threads, more than this machine has")
        steps = self._steps(plan)
        runtimes = [str(execution.get(self._runtime_key(*step))) for step in steps]
        if unknown := set(runtimes) - set(RUNTIMES):
            raise DeviceError(f"the runtime was {min(unknown)}, which this version does not know")
        if "compiled" in runtimes and not devices.can_compile(self.device):
            raise DeviceError("the network was compiled, and no C++ compiler is found")
        batch_px = {
            network: _whole(execution, f"max pixels per batch, {self._label(network)}")
            for network in plan.networks
        }
        own_threads = torch.get_num_threads()
        with ExitStack() as restored:
            for (network, planes), name in zip(steps, runtimes, strict=True):
                restored.enter_context(self._network(network).restored(name, batch_px[network], planes))
                if self._network(network).runtime(planes=planes).name != name:  # no cache folder for the code
                    raise DeviceError(f"the network was {name}, and cannot be here")
            torch.set_num_threads(threads)
            restored.callback(torch.set_num_threads, own_threads)
            yield

    @contextmanager
    def leaving_to_others(self, others_bytes: int) -> Iterator[None]:
        """Until the block ends, networks on the processor leave this much memory free, as for pictures."""
        with ExitStack() as bounded:
            for network in self._networks.values():
                bounded.enter_context(network.leaving_to_others(others_bytes))
            yield

    @contextmanager
    def messages_to(self, on_message: OnMessage) -> Iterator[None]:
        """Within this context, which is that of one job, the engine's messages go to ``on_message``.

        Each comes once, as it arises. What arose before the context, such as a missing compiler, comes first.
        """
        for message in self._messages:
            on_message(message)
        self._on_message = on_message
        try:
            yield
        finally:
            self._on_message, self._messages = None, []
            for network in self._networks.values():
                network.forget_lack_of_memory()

    def _report(self, message: Message) -> None:
        if message in self._messages:
            return
        self._messages.append(message)
        if self._on_message is not None:
            self._on_message(message)

    def _label(self, network: PlannedNetwork) -> str:
        """Its name in ``execution``: ``x4``, in a chain with its model."""
        return str(network) if len(self.models) > 1 else f"x{network.scale}"

    def _runtime_key(self, network: PlannedNetwork, planes: PlaneOutput | None) -> str:
        """Name of a network's runtime in ``execution``."""
        return f"runtime, {self._label(network)}{' to planes' if planes else ''}"

    def _network(self, network: PlannedNetwork) -> TiledNetwork:
        if network not in self._networks:
            files = self.files[network.model][network.scale]
            weights = blending.load_blended(files, self._shares[network.model])
            self._weight_facts[network] = [_weight_facts(file, network.scale) for file in files]
            self._networks[network] = TiledNetwork(
                weights, self.device, self.dtype, self.options, self._report, in_steps=network.in_steps
            )
        return self._networks[network]


# Between two sets of weights of the user's, without --perceptual.
_OWN_SHARE = 0.5


def _blends(
    models: tuple[str, ...], options: EngineOptions
) -> tuple[dict[str, float], dict[str, Mapping[int, tuple[Path, ...]]]]:
    """Of each model, the share of the second of the two sets of weights, and the files by scale."""
    if options.blend_with is not None:
        (model,) = models
        share = _OWN_SHARE if options.perceptual is None else options.perceptual
        return {model: share}, {model: find_weights.own_pair(model, str(options.blend_with))}
    blends = find_weights.blends(models, options.perceptual, options.denoise)
    files = {model: find_weights.blendable_files(model, blend) for model, blend in blends.items()}
    return {model: blend.share if blend else 0 for model, blend in blends.items()}, files


def _weight_facts(file: Path, scale: int) -> WeightFacts:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return WeightFacts(str(file), scale, model_file.load(file).architecture, digest)


def _whole(execution: Mapping[str, str | int], name: str) -> int:
    """A positive whole number of an execution, which may come from a damaged file."""
    value = execution.get(name)
    if type(value) is not int or value < 1:
        raise DeviceError(f"'{name}' of the earlier run cannot be read")
    return value
