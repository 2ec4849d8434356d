"""What is set for the whole process, each by one call. No import and no constructor sets anything.

What Pillow and OpenCV need is set by ``images/library_settings.py`` while an image is read or written.
"""

import logging
import os

from upscaler.cache_folder import cache_folder
from upscaler.system import memory, processors

# How often a thread that waits for others looks again before it sleeps: 0.1 to 0.3 ms, longer than threads
# wait between the layers of a network. GNU's OpenMP looks 300,000 times, up to 15 ms.
_LOOKS_BEFORE_SLEEP = "5000"
# Read before torch's compiler is loaded, which sets the variable itself, to a temporary folder.
_CACHE_OF_COMPILER = os.environ.get("TORCHINDUCTOR_CACHE_DIR")


def keep_freed_memory() -> None:
    """Make the C library keep large blocks that were freed instead of returning them to the system.

    Call it once, before the first image, in a program that upscales or trains on a CPU; the commands do.
    A frame then takes about half the time (docs/performance.md), at the same peak memory: a network
    allocates and frees the same tens of megabytes for every layer of every frame, and glibc returns each
    such block to the system, which has to zero it page by page when it is allocated again.

    Does nothing with another C library, or if a ``MALLOC_`` variable is set. It cannot be undone.
    """
    memory.keep_freed_blocks()


def let_waiting_threads_sleep() -> None:
    """Have the threads of a network that wait for each other sleep after a moment instead of spinning.

    Meanwhile encoders, decoders, helper processes and other programs get the processor; see
    docs/performance.md. Call it before torch is imported: OpenMP looks at the environment when it loads.

    Concerns GNU's OpenMP, which torch has on Linux. Does nothing if a variable for it is set.
    """
    if not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
        os.environ["GOMP_SPINCOUNT"] = _LOOKS_BEFORE_SLEEP


def use_allowed_processors(most: int | None = None) -> None:
    """Have torch start as many threads as the quota of a container allows; it looks at the affinity only.

    The commands call it; ``OMP_NUM_THREADS`` may set fewer.

    Args:
        most: Of the processors, use no more than this; decoders, encoders and helper processes follow.
    """
    processors.use_at_most(most)
    import torch  # takes seconds

    if processors.are_limited():
        torch.set_num_threads(min(torch.get_num_threads(), processors.count()))


def keep_compiled_code() -> None:
    """Have ``torch.compile`` cache its code in the cache folder, where the next process finds it.

    By default it does so in a temporary folder, whose name others can guess. Precompiled headers come from
    there wherever the cache is, so they are switched off. ``TORCHINDUCTOR_CACHE_DIR`` overrides the cache.
    A warning of torch that there is no GPU is switched off, too.
    Called when a network is compiled.

    Raises:
        CacheError: There is no cache folder.
    """
    os.environ.setdefault("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "0")
    # It complains where a CUDA compiler is installed without a GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    if _CACHE_OF_COMPILER is None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_folder("compiled"))


def silence_svt_av1() -> None:
    """Stop SVT-AV1 from printing its settings to the terminal; ``SVT_LOG`` overrides this.

    Called when an encoder is opened; the library takes no other way.
    """
    os.environ.setdefault("SVT_LOG", "1")
