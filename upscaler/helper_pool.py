"""Several helper processes that share requests."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from upscaler.helper_process import Answer, Data, HelperProcess, Request


class HelperPool:
    """Helpers of one module, each started when there is work for it; a context manager.

    Args:
        module: See ``HelperProcess``. The first one is started at once, in the background.
        size: How many there are at most.
    """

    def __init__(self, module: str, size: int) -> None:
        self._module = module
        self._idle = [HelperProcess(module)]
        self._all = [*self._idle]
        self._is_closed = False
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(size, "helper")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def exchange(self, request: Request, data: Data = ()) -> "Future[tuple[Answer, bytearray]]":
        """Have a request answered, in the order of the calls.

        Args:
            request: See ``HelperProcess.exchange``.
            data: Likewise; must not be changed before the answer.

        Returns:
            What ``HelperProcess.exchange`` returns or raises.
        """
        return self._threads.submit(self._exchange, request, data)

    def _exchange(self, request: Request, data: Data) -> tuple[Answer, bytearray]:
        with self._lock:
            helper = self._idle.pop() if self._idle else None
        helper = helper or self._another()
        try:
            return helper.exchange(request, data, None)
        finally:
            with self._lock:
                self._idle.append(helper)

    def _another(self) -> HelperProcess:
        helper = HelperProcess(self._module)
        with self._lock:
            self._all.append(helper)
            if self._is_closed:
                helper.end()
        return helper

    def close(self) -> None:
        """End all helpers at once, whatever they work on."""
        with self._lock:
            self._is_closed = True
            for helper in self._all:
                helper.end()
        self._threads.shutdown(cancel_futures=True)
        for helper in self._all:
            helper.close()
