"""Models of other projects, through spandrel: it knows their architectures, this file what we ask of them."""

import copy
import functools
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscaler.errors import WeightsError, first_line, last_line
from upscaler.models import measurements
from upscaler.models.build_limit import BuildLimit
from upscaler.models.checkpoint import read_state
from upscaler.models.contract import Contract, Network
from upscaler.models.luma import luma
from upscaler.models.measurements import Measurements
from upscaler.models.receptive_field import measure

if TYPE_CHECKING:
    from spandrel import Architecture, ImageModelDescriptor

SCALE_MAX = 8
# What tiles see to each side, and the width of their blending, where the receptive field is too large to be
# covered. Chosen with the weights of RealESRGAN x4plus: see "Models of other projects" in docs/models.md.
_APPROXIMATE_RADIUS_PX = 32
_FEATHER_PX = 16
_TRIAL_PX = 24
# Says that fp16 is sound, and gives black frames now and then: chaiNNer issue 3071.
_UNSOUND_IN_FP16 = {"OmniSR"}


class CommunityNetwork(Network):
    """A network of another project, with the contract that ours have.

    Args:
        model: The module, fp32, in evaluation mode.
        call: Runs the module on a picture ``(B, C, H, W)`` in [0, 1] of its dtype; the result is
            ``(B, C, H*scale, W*scale)``, with C 3 (RGB) or 1.
        contract: What was found out about it.
        gray: Whether it takes and gives one channel. It then sees luma; the colour differences are enlarged
            bicubically.
        memory_format: The one that it works with; some reshape tensors in a way that needs contiguous ones.
    """

    def __init__(
        self,
        model: nn.Module,
        call: Callable[[nn.Module, Tensor], Tensor],
        contract: Contract,
        *,
        gray: bool,
        memory_format: torch.memory_format,
    ) -> None:
        super().__init__()
        self.model = model
        self.contract = contract
        self.arguments = {}
        self.memory_format = memory_format
        self._call = call
        self._gray = gray

    def forward(self, lr: Tensor) -> Tensor:
        """See ``Network``."""
        if not self._gray:
            return self._enlarged(lr)
        brightness = luma(lr.float())
        color = lr.float() - brightness
        if self.contract.scale > 1:
            factor = float(self.contract.scale)
            color = F.interpolate(color, scale_factor=factor, mode="bicubic", align_corners=False)
        return self._enlarged(brightness) + color

    def _enlarged(self, picture: Tensor) -> Tensor:
        picture = picture.to(self.dtype).contiguous(memory_format=self.memory_format)
        return self._call(self.model, picture).float()


@dataclass(frozen=True)
class CommunityFile:
    """A weight file of another project.

    Attributes:
        architecture: Its name in spandrel, and what spandrel says of its size: ``ESRGAN (64nf, 23nb)``.
        license: As the file says; empty if it does not.
    """

    architecture: str
    license: str
    _network: CommunityNetwork

    @property
    def dtypes(self) -> frozenset[torch.dtype]:
        """In which the network gives sound results."""
        return self._network.contract.dtypes

    @property
    def scale(self) -> int:
        """Output size over input size."""
        return self._network.contract.scale

    def network(self) -> Network:
        """A copy of the network, fp32, in evaluation mode."""
        return copy.deepcopy(self._network)

    def inference_network(self) -> Network:
        """The same: rewrites are known to be exact for our own networks only."""
        return self.network()


def load(path: Path) -> CommunityFile:
    """Load a model of another project and find out how it can be tiled.

    Args:
        path: See ``checkpoint.read_state``.

    Raises:
        WeightsError: The file cannot be read safely; or its architecture is unknown, does not map a picture
            to a picture, or does not fit its weights.
    """
    status = path.stat() if path.is_file() else None
    return _load(path, status and (status.st_mtime_ns, status.st_size))


@functools.lru_cache(maxsize=2)  # a batch asks several times
def _load(path: Path, _version: tuple[int, int] | None) -> CommunityFile:
    state, metadata = read_state(path)
    with warnings.catch_warnings():  # of torch about their code, for its authors
        warnings.simplefilter("ignore")
        descriptor = _descriptor(path, state)
        network = _network(descriptor, _measured(path, descriptor))
    size = f" ({', '.join(descriptor.tags)})" if descriptor.tags else ""
    terms = metadata.get("license") or metadata.get("modelspec.license") or ""
    return CommunityFile(f"{descriptor.architecture.name}{size}", terms, network)


def architecture_of(path: Path, state: dict[str, Tensor]) -> str:
    """The name in spandrel of the architecture of these weights, from a file of this path.

    Raises:
        WeightsError: It is unknown.
    """
    return str(_detected(path, state).name)


def _detected(path: Path, state: dict[str, Tensor]) -> "Architecture[nn.Module]":
    from spandrel import MAIN_REGISTRY  # takes a second: not for shipped models

    supports = MAIN_REGISTRY.architectures("detection")
    architecture = next((each.architecture for each in supports if each.detect(state)), None)
    if architecture is None:
        examples = ", ".join(list(state)[:2])
        hint = f"its tensors are named {examples}"
        raise WeightsError(f"'{path}' is of an architecture that spandrel does not know", hint)
    return architecture


def _descriptor(path: Path, state: dict[str, Tensor]) -> "ImageModelDescriptor[nn.Module]":
    """Build the architecture of these weights.

    Raises:
        WeightsError: See ``load``.
    """
    from spandrel import ImageModelDescriptor

    architecture = _detected(path, state)
    try:
        with BuildLimit(sum(tensor.numel() * tensor.element_size() for tensor in state.values())):
            descriptor: Any = architecture.load(dict(state))
    except Exception as error:  # KeyError, AssertionError, RuntimeError ...: its loaders check nothing first
        text = f"'{path}' looks like {architecture.name}, but its weights do not fit that: {last_line(error)}"
        raise WeightsError(text) from error
    refusal = ""
    if not isinstance(descriptor, ImageModelDescriptor):
        refusal = "it needs a mask"
    elif descriptor.purpose == "FaceSR":
        refusal = "it takes aligned faces, not pictures"
    elif (descriptor.input_channels, descriptor.output_channels) not in ((3, 3), (1, 1)):
        refusal = f"it maps {descriptor.input_channels} channels to {descriptor.output_channels}"
    elif not 1 <= descriptor.scale <= SCALE_MAX:
        refusal = f"its scale is {descriptor.scale}, above {SCALE_MAX}"
    if refusal:
        raise WeightsError(f"'{path}' is a {architecture.name} model, which upscale cannot run: {refusal}")
    image_model: ImageModelDescriptor[nn.Module] = descriptor
    image_model.model.eval().requires_grad_(False)
    _fuse_span(image_model.model)
    return image_model


def _network(descriptor: "ImageModelDescriptor[nn.Module]", measured: Measurements) -> CommunityNetwork:
    memory_format = torch.channels_last if measured.channels_last else torch.contiguous_format
    gray = descriptor.input_channels == 1
    contract = _contract(descriptor, gray, measured)
    model = descriptor.model.to(memory_format=memory_format)
    return CommunityNetwork(model, _call_of(descriptor), contract, gray=gray, memory_format=memory_format)


def _call_of(descriptor: "ImageModelDescriptor[nn.Module]") -> Callable[[nn.Module, Tensor], Tensor]:
    """What runs the module. The descriptor itself would clamp and pad, which the engine does, once."""
    call: Callable[[nn.Module, Tensor], Tensor] = descriptor._call_fn
    return call


def _fuse_span(model: nn.Module) -> None:
    """Replace the convolutions of SPAN, which fuse their kernels at every call, with fused ones."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__ == "Conv3XC" and not getattr(child, "has_relu", True):
                child.update_params()  # type: ignore[operator]  # a method of Conv3XC
                setattr(module, name, child.eval_conv)


def _measured(path: Path, descriptor: "ImageModelDescriptor[nn.Module]") -> Measurements:
    """What the cache knows about a file, else what is measured now; tries the faster memory format first."""
    if known := measurements.load(path):
        return known
    size = descriptor.size_requirements
    call = _call_of(descriptor)
    for memory_format in (torch.channels_last, torch.contiguous_format):
        run = functools.partial(_run, descriptor, call, memory_format)
        try:
            found = measure(
                run, descriptor.input_channels, descriptor.scale, max(1, size.minimum), size.multiple_of
            )
        except RuntimeError as error:
            reason = first_line(error)
        else:
            is_last = memory_format is torch.channels_last
            made = Measurements(found.radius_px, found.macs_per_pixel, is_last, _runs_in_bf16(descriptor))
            measurements.save(path, made)
            return made
    raise WeightsError(f"'{path}' is a {descriptor.architecture.name} model that does not run: {reason}")


def _run(
    descriptor: "ImageModelDescriptor[nn.Module]",
    call: Callable[[nn.Module, Tensor], Tensor],
    memory_format: torch.memory_format,
    lr: Tensor,
) -> Tensor:
    return call(descriptor.model, lr.contiguous(memory_format=memory_format))


def _contract(descriptor: "ImageModelDescriptor[nn.Module]", gray: bool, measured: Measurements) -> Contract:
    from spandrel import ModelTiling

    size = descriptor.size_requirements
    multiple_of = size.multiple_of
    radius_px = measured.radius_px
    exact = radius_px is not None and not size.square
    if radius_px is None:
        radius_px = -(-_APPROXIMATE_RADIUS_PX // multiple_of) * multiple_of
    elif gray and descriptor.scale > 1:
        radius_px = max(radius_px, -(-2 // multiple_of) * multiple_of)  # of the bicubic colour
    whole = descriptor.tiling is ModelTiling.INTERNAL
    return Contract(
        scale=descriptor.scale,
        receptive_radius_px=radius_px,
        multiple_of=multiple_of,
        macs_per_pixel=measured.macs_per_pixel,
        min_side_px=max(1, size.minimum),
        square=size.square,
        tiling="whole" if whole else "exact" if exact else "approximate",
        feather_px=0 if exact else _FEATHER_PX,
        dtypes=_sound_dtypes(descriptor, measured),
    )


def _sound_dtypes(
    descriptor: "ImageModelDescriptor[nn.Module]", measured: Measurements
) -> frozenset[torch.dtype]:
    dtypes = {torch.float32}
    if descriptor.supports_half and descriptor.architecture.id not in _UNSOUND_IN_FP16:
        dtypes.add(torch.float16)
    if measured.bf16:
        dtypes.add(torch.bfloat16)
    return frozenset(dtypes)


def _runs_in_bf16(descriptor: "ImageModelDescriptor[nn.Module]") -> bool:
    """Whether spandrel says so, and a trial: DAT and ATD fail in it, and SwinIR at all sizes but its own."""
    if not descriptor.supports_bfloat16:
        return False
    size = descriptor.size_requirements
    side = max(size.minimum, _TRIAL_PX) + -max(size.minimum, _TRIAL_PX) % size.multiple_of
    lr = torch.zeros(1, descriptor.input_channels, side, side, dtype=torch.bfloat16)
    with suppress(RuntimeError), torch.no_grad():
        _call_of(descriptor)(copy.deepcopy(descriptor.model).bfloat16(), lr)
        return True
    return False
