"""The progress bar of ``upscale``: one line, of which a narrow terminal never cuts the time left."""

import time
from collections.abc import Callable

from rich.console import Console, RenderableType
from rich.progress import ProgressColumn, Task
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_BAR_MIN, _BAR_MAX = 6, 40  # columns
_NAME_MIN, _NAME_USUAL = 4, 8  # characters; below the first there is no name
_NAME_SHARE = 1 / 3  # of the terminal's width
_WIDE = 70  # from this width on, there is room for the rate


class Line(ProgressColumn):
    """A task of rich as one line; its description is the name of a file.

    The fields of the task are ``count``, such as ``[3/12]``; ``rate``; ``ends_s`` and ``all_end_s``, when the
    file and the whole batch end, on the clock, or ``None``. All but the times is shortened or left out where
    the terminal is too narrow.

    Args:
        console: The terminal.
        clock: Returns seconds; monotonic.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._console, self._clock = console, clock

    def render(self, task: Task) -> RenderableType:
        """The line, at most as long as the terminal is wide now."""
        width = self._console.width - 1  # a line that fills the last column wraps in some terminals
        percent = f"{task.percentage:>3.0f}%" if task.total else ""
        ends = {"": task.fields["ends_s"], "all ": task.fields["all_end_s"]}
        now_s = self._clock()
        times = [f"{name}{clock(max(0, end - now_s))}" for name, end in ends.items() if end is not None]
        room = width - sum(len(each) + 1 for each in times)
        shown: dict[str, str] = {}
        wanted = {"percent": percent, "count": task.fields["count"]}
        if width + 1 >= _WIDE:
            wanted["rate"] = task.fields["rate"]
        for name, text in wanted.items():
            if text and len(text) < room:
                shown[name] = text
                room -= len(text) + 1
        beside_bar = room - 1 - (_BAR_MIN + 1)
        most = min(beside_bar if beside_bar >= _NAME_USUAL else room - 1, int(width * _NAME_SHARE))
        name = _shortened(task.description, max(most, min(_NAME_USUAL, room - 1)))
        room -= len(name) + 1 if name else 0
        cells: list[RenderableType] = [Text(each) for each in (shown.get("count", ""), name) if each]
        if room > _BAR_MIN:
            bar = ProgressBar(task.total, task.completed, min(room - 1, _BAR_MAX), pulse=not task.total)
            cells.append(bar)
        cells += [Text(each) for each in (shown.get("percent", ""), shown.get("rate", ""), *times) if each]
        line = Table.grid(padding=(0, 1))
        for _ in cells:
            line.add_column(no_wrap=True)
        line.add_row(*cells)
        return line


def _shortened(name: str, width: int) -> str:
    """The end of a name, which tells files apart; nothing if there is no room for some characters."""
    if len(name) <= width:
        return name
    return f"…{name[1 - width :]}" if width >= _NAME_MIN else ""


def clock(seconds: float) -> str:
    """``0:12:31``."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
