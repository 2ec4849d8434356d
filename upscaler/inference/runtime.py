"""One network, ready to run: eager, compiled, and on a GPU as captured graphs."""

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from upscaler.errors import CacheError, first_line
from upscaler.inference import devices
from upscaler.models.contract import Network
from upscaler.process_settings import keep_compiled_code
from upscaler.results import Message, OnMessage

# A shape that was run this often will come again: its GPU work is captured as a graph.
_RUNS_BEFORE_CAPTURE = 3
_GRAPHS_MAX = 2  # each holds the features of a batch
# Compiled code must be faster by this factor to be kept; less is within what timings vary.
_GAIN_MIN = 1.03
_TRIAL_ROUNDS = 3
# What is said before a network is compiled, which takes seconds.
COMPILING = Message("info", "compiling the network")


class Runtime:
    """Runs a network.

    Args:
        network: For inference, on its device, in the number format in which it runs, channels_last.
        on_message: Called with what the user should know, such as a failure to compile.

    Attributes:
        compiled: Whether compiled code is used; see ``compile``.
    """

    def __init__(self, network: Network, on_message: OnMessage) -> None:
        self.network = network
        self.compiled = False
        self._on_message = on_message
        self._compiled_network: Callable[[Tensor], Tensor] | None = None
        self._runs: dict[tuple[int, ...], int] = {}
        self._graphs: dict[tuple[int, ...], _Graph] = {}
        self._may_capture = True
        self._on_processor: Network | None = None  # once the device has turned out to lack a step

    def __call__(self, lr: Tensor) -> Tensor:
        """Tiles of RGB ``(B, 3, h, w)``, fp32 in [0, 1] -> what the network gives, fp32.

        On a GPU the result is valid until the next call with the same shape.
        """
        return self._captured(lr) if lr.device.type == "cuda" and self._may_capture else self._run(lr)

    @property
    def works(self) -> Network:
        """The network that computes: on the processor once its own device has turned out to lack a step."""
        return self._on_processor or self.network

    @property
    def name(self) -> str:
        """``eager`` or ``compiled``."""
        return "compiled" if self.compiled else "eager"

    def use(self, name: str) -> None:
        """Switch to the runtime of this name."""
        if name == "compiled":
            self.compile()
        else:
            self.compiled = False

    def compile(self) -> None:
        """Switch to compiled code; if that fails, report it and stay eager."""
        if not devices.can_compile(self.network.device):
            self._on_message(Message("info", "no C++ compiler found: continuing uncompiled"))
            return
        try:
            keep_compiled_code()
        except CacheError as error:
            self._on_message(Message("info", f"{error.message}: continuing uncompiled ({error.hint})"))
            return
        if self._compiled_network is None:
            self._on_message(COMPILING)
            self._compiled_network = torch.compile(self.network, dynamic=False)
        self.compiled = True
        self.drop_graphs()

    @contextmanager
    def uncompiled(self) -> Iterator[None]:
        """Until the block ends, run shapes that do not come again and are not worth compiling for."""
        compiled, self.compiled = self.compiled, False
        try:
            yield
        finally:
            self.compiled = compiled

    def compile_if_faster(self, lr: Tensor) -> None:
        """Compile, and keep that only if it is clearly faster for batches like ``lr``; see ``__call__``."""
        eager_s = self.seconds(lr)
        self.compile()
        if self.compiled and self.seconds(lr) * _GAIN_MIN > eager_s:
            self.compiled = False

    def seconds(self, lr: Tensor) -> float:
        """Median time of a batch, after one to warm up; see ``__call__``."""
        times: list[float] = []
        for _ in range(1 + _TRIAL_ROUNDS):
            start = time.perf_counter()
            self._run(lr)
            devices.synchronize(lr.device)
            times.append(time.perf_counter() - start)
        return statistics.median(times[1:])

    def drop_graphs(self) -> None:
        """Free the captured graphs."""
        self._graphs.clear()
        self._runs.clear()

    def _run(self, lr: Tensor) -> Tensor:
        if self.compiled and self._compiled_network is not None:
            try:
                return self._compiled_network(lr)
            except (RuntimeError, OSError) as error:  # of torch's compiler, and of its cache folder
                if isinstance(error, RuntimeError) and devices.is_out_of_memory(error):
                    raise
                self.compiled = False
                reason = first_line(error)
                self._on_message(Message("info", f"compiling failed: continuing uncompiled ({reason})"))
        if self._on_processor is None:
            try:
                return self.network(lr)  # type: ignore[no-any-return]
            except NotImplementedError as error:
                self.go_to_processor(error)
        return self.works(lr.cpu()).to(lr.device)  # type: ignore[no-any-return]

    def go_to_processor(self, error: NotImplementedError) -> None:
        """Compute on the processor from now on, in fp32, because the device lacks a step, and say so.

        Args:
            error: What says that a step is missing.

        Raises:
            NotImplementedError: It is the processor that lacks it.
        """
        device = self.network.device
        if devices.is_processor(device):
            raise error
        text = f"{device.type} lacks a step of this network: it runs on the processor ({first_line(error)})"
        self._on_message(Message("info", text))
        self._on_processor = copy.deepcopy(self.network).to(device="cpu", dtype=torch.float32)

    def _captured(self, lr: Tensor) -> Tensor:
        """Replay the shape's graph: one launch instead of hundreds, which is what small frames wait for."""
        shape = tuple(lr.shape)
        if shape not in self._graphs:
            self._runs[shape] = self._runs.get(shape, 0) + 1
            if self._runs[shape] < _RUNS_BEFORE_CAPTURE:
                return self._run(lr)
            try:
                graph = _Graph(self._run, lr)
            except RuntimeError as error:
                if devices.is_out_of_memory(error):
                    raise
                self._may_capture = False
                reason = first_line(error)
                self._on_message(
                    Message("info", f"capturing the GPU's work failed: going on without ({reason})")
                )
                return self._run(lr)
            while len(self._graphs) >= _GRAPHS_MAX:
                del self._graphs[next(iter(self._graphs))]
            self._graphs[shape] = graph
        return self._graphs[shape](lr)


class _Graph:
    """The GPU's work for one shape of batch, captured once and replayed."""

    def __init__(self, run: Callable[[Tensor], Tensor], lr: Tensor) -> None:
        self._lr = lr.clone()
        run(self._lr)  # libraries choose their algorithms before the capture
        torch.cuda.synchronize(lr.device)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may free pinned memory meanwhile, which is none of this capture's business.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._sr = run(self._lr)

    def __call__(self, lr: Tensor) -> Tensor:
        self._lr.copy_(lr)
        self._graph.replay()
        return self._sr
