"""Photographs that are read during the training, because there are too many to be held decoded.

Helper processes decode them in a random order, and a window of the most recent ones stays in memory. Which
ones these are follows from the seed and from the number of crops drawn before: a resumed run draws what an
uninterrupted one would have.
"""

import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from upscaler.errors import TrainingError, UpscalerError
from upscaler.helper_process import HelperDiedError, HelperProcess, HelperUnavailableError
from upscaler.images import stills
from upscaler.system import processors
from upscaler.trainer.data.photo_pairs import Decode, PhotoPair
from upscaler.trainer.data.photo_sizes import Size
from upscaler.trainer.data.sources import Source

# HR pixels of a photograph, on average, for each crop drawn before the next one takes its place. Photographs
# of 1024x1024 pixels give 16 crops each, so that decoding one (10 ms) takes little of the time of the steps.
_PIXELS_PER_CROP = 256 * 256
_FEWEST_CROPS = 8  # of a small photograph: opening a file takes time, too

# Of a larger photograph, a part of this side is kept, chosen at random each time.
_LARGEST_SIDE_PX = 2048

# The window takes at most this much, however much is allowed: crops of 600 photographs are random enough.
_LARGEST_WINDOW_BYTES = 2_000_000_000
_FEWEST_IN_WINDOW = 16

# The first step waits for this many photographs only; the window grows from there.
_FIRST = 64

# Orders that are kept: of the epochs of the window, and of what is read ahead.
_ORDERS = 4

# After these, photographs that cannot be read are left out silently.
_MOST_TOLD = 20

_MOST_WORKERS = 8
_DECODING_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class StreamedPhoto:
    """A photograph that is read when its turn comes.

    Attributes:
        source: Its file.
        pairs: What is read of it; empty if that is still to be done. Frames of clips are in the cache file.
    """

    source: Source
    pairs: tuple[PhotoPair, ...] = ()


@dataclass(frozen=True)
class Window:
    """The photographs that crops are drawn from at some point.

    Attributes:
        pairs: The photographs, or parts of them.
        weights: The chance of each to be drawn, ``(N,)``, not normalised.
    """

    pairs: list[PhotoPair]
    weights: Tensor


_Weighted = tuple[PhotoPair, int]  # or a part of it, and its HR pixels: the chance of each to be drawn


class PhotoStream:
    """Reads photographs in a random order, over and over.

    Args:
        photos: The photographs, at least one.
        read: Makes pairs of one, with this function to decode with; raises an UpscalerError.
        sizes: Height and width of some of them, at least one. The others are taken to be like these: their
            files are opened when their turn comes.
        scale: HR size over LR size.
        seed: Decides the order and the parts of large photographs.
        bytes_per_pixel: Memory that a HR pixel takes, with its LR versions.
        most_bytes: Memory that the window may take.
        workers: Helper processes; 0: one less than there are processors, at least one and at most eight.

    Attributes:
        photos: The photographs.
        pixels_per_turn: HR pixels of a photograph on average, or more if they are small; decides how many
            crops are drawn before the next one takes its place.
        window_bytes: What the window takes, on average.
    """

    def __init__(
        self,
        photos: Sequence[StreamedPhoto],
        read: Callable[[Source, Decode], list[PhotoPair]],
        *,
        sizes: Sequence[Size],
        scale: int,
        seed: int,
        bytes_per_pixel: float,
        most_bytes: float,
        workers: int = 0,
    ) -> None:
        self.photos = photos
        self._read, self._scale, self._seed = read, scale, seed
        mean_bytes = bytes_per_pixel * sum(map(_kept_pixels, sizes)) / len(sizes)
        fitting = int(min(most_bytes, _LARGEST_WINDOW_BYTES) / mean_bytes)
        self._size = max(1, min(len(photos), max(_FEWEST_IN_WINDOW, fitting)))
        self.window_bytes = int(self._size * mean_bytes)
        mean_pixels = sum(height * width for height, width in sizes) // len(sizes)
        self.pixels_per_turn = max(mean_pixels, _FEWEST_CROPS * _PIXELS_PER_CROP)
        self._orders: dict[int, Tensor] = {}
        self._loaded: dict[int, Future[list[_Weighted]]] = {}
        self._current: tuple[range, Window] | None = None
        self._left_out: dict[Path, str] = {}
        self._untold: deque[str] = deque()
        self._helpers: list[HelperProcess] = []
        self._local = threading.local()
        self._exchange = tempfile.TemporaryDirectory(prefix="upscaler-photos-")
        self._workers = workers or max(1, min(_MOST_WORKERS, processors.count() - 1))
        self._pool = _started(self._workers)

    def close(self) -> None:
        """End the helper processes."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._close_helpers()  # nobody waits for what they decode
        self._pool.shutdown(wait=True)
        self._close_helpers()  # those that were just started
        self._exchange.cleanup()

    def _close_helpers(self) -> None:
        for helper in self._helpers:
            helper.close()

    def window(self, drawn: int) -> Window:
        """The photographs to draw from, once they are read; the next ones are read meanwhile.

        Args:
            drawn: Number of crops drawn before.

        Raises:
            TrainingError: None of them can be read.
        """
        end = min(_FIRST, self._size) + self._count_begun(drawn)
        wanted = range(max(0, end - self._size), end)
        if self._current is not None and self._current[0] == wanted:
            return self._current[1]
        ahead = range(end, end + 2 * self._workers + _FEWEST_CROPS)
        for turn in [turn for turn in self._loaded if not wanted.start <= turn < ahead.stop]:
            self._loaded.pop(turn).cancel()
        for turn in (*wanted, *ahead):
            if turn not in self._loaded:
                photo = self.photos[self._index(turn)]
                self._loaded[turn] = self._pool.submit(self._load, turn, photo)
        loaded = [each for turn in wanted for each in self._loaded[turn].result()]
        if not loaded:
            reason = next(iter(self._left_out.values()))
            raise TrainingError(f"none of the last {len(wanted)} photographs can be read: {reason}")
        window = Window([pair for pair, _ in loaded], torch.tensor([pixels for _, pixels in loaded]).float())
        self._current = wanted, window
        return window

    def left_out(self) -> list[str]:
        """``name: reason`` of the photographs that could not be read since the last call; the first 20."""
        return [self._untold.popleft() for _ in range(len(self._untold))]

    def _count_begun(self, drawn: int) -> int:
        """How many photographs this many crops use up."""
        return drawn * _PIXELS_PER_CROP // self.pixels_per_turn

    def _index(self, turn: int) -> int:
        """Which photograph has this turn."""
        epoch, place = divmod(turn, len(self.photos))
        return int(self._order(epoch)[place])

    def _order(self, epoch: int) -> Tensor:
        """The order of the photographs in an epoch, ``(N,)``."""
        order = self._orders.get(epoch)
        if order is None:
            generator = Generator().manual_seed((self._seed + epoch * 1_000_003) % 2**63)
            order = self._orders[epoch] = torch.randperm(len(self.photos), generator=generator)
            while len(self._orders) > _ORDERS:
                del self._orders[min(self._orders)]
        return order

    def _load(self, turn: int, photo: StreamedPhoto) -> list[_Weighted]:
        """In a thread of the pool: the photograph with this turn, at each size; none if it cannot be read."""
        source = photo.source
        if source.path in self._left_out:
            return []
        try:
            pairs = list(photo.pairs) or self._read(source, self._decoded)
        except UpscalerError as error:
            self._left_out[source.path] = error.message
            if len(self._left_out) <= _MOST_TOLD:
                self._untold.append(f"{source.path.name}: {error.message}")
            return []
        generator = Generator().manual_seed((self._seed + turn) % 2**63)
        return [(_part(pair, self._scale, generator), pair.hr.shape[0] * pair.hr.shape[1]) for pair in pairs]

    def _decoded(self, path: Path) -> Tensor:
        """The pixels of a file, from the helper process of this thread, or from here if there can be none."""
        if not hasattr(self._local, "helper"):
            self._local.helper = HelperProcess("upscaler.trainer.data.decoding_helper")
            self._local.pixels = Path(self._exchange.name) / str(threading.get_ident())
            self._helpers.append(self._local.helper)
        request = {"path": str(path), "pixels": str(self._local.pixels)}
        try:
            answer = self._local.helper.ask(request, _DECODING_TIMEOUT_S)
        except HelperUnavailableError:
            return torch.from_numpy(stills.read_rgb8(path).copy())
        except HelperDiedError as error:
            raise TrainingError(f"decoding it ended its process: {error}") from error
        if "error" in answer:
            raise TrainingError(str(answer["error"]))
        return torch.from_numpy(np.fromfile(self._local.pixels, np.uint8).reshape(answer["shape"]))


def _started(workers: int) -> ThreadPoolExecutor:
    """Threads that run torch's functions with one thread each; the others keep their number."""
    threads = torch.get_num_threads()

    def begin() -> None:
        torch.get_num_threads()  # reads the number of the process, which would otherwise happen later
        torch.set_num_threads(1)

    pool = ThreadPoolExecutor(workers, "photos", begin)
    started = threading.Barrier(workers + 1)
    for _ in range(workers):
        pool.submit(started.wait)
    started.wait()
    torch.set_num_threads(threads)
    return pool


def _kept_pixels(size: Size) -> int:
    """HR pixels of the part that is kept of a photograph."""
    height, width = (min(side, _LARGEST_SIDE_PX) for side in size)
    return height * width


def _part(pair: PhotoPair, scale: int, generator: Generator) -> PhotoPair:
    """A random part of a large photograph, copied, so that the rest does not stay in memory."""
    side_px = _LARGEST_SIDE_PX // scale
    if max(pair.lr.shape[:2]) <= side_px:
        return pair
    starts = [
        int(torch.randint(max(1, side - side_px + 1), (1,), generator=generator))
        for side in pair.lr.shape[:2]
    ]

    def cut(image: Tensor, factor: int) -> Tensor:
        rows, columns = (slice(start * factor, (start + side_px) * factor) for start in starts)
        return image[rows, columns].clone()

    variants = tuple(cut(variant, 1) for variant in pair.lr_variants)
    return replace(pair, lr=cut(pair.lr, 1), hr=cut(pair.hr, scale), lr_variants=variants)
