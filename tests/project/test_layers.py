"""Imports go one way. Read from the syntax trees, so imports inside functions count too.

A new room needs a row in ``MAY_IMPORT``; that is the moment to think about where it stands.
"""

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"upscaler": "upscaler", "models": "upscaler.models", "trainer": "upscaler.trainer"}

# Files at the top of upscaler/ that every room may import; they import only each other.
LEAVES = {
    "cache_folder",
    "content",
    "error_text",
    "errors",
    "option_fields",
    "process_settings",
    "options",
    "results",
    "atomic",
    "color_matrices",
    "helper_pool",
    "helper_process",
    "image_sequences",
    "optical_flow",
    "pixels",
    "planes",
    "scenes",
    "system",
    "transparency",
    "version",
}
# Tables of plain data, which import nothing but each other, so that every file may import them.
TABLES = {"upscaler.images.formats", "upscaler.video.codecs", "upscaler.video.formats"}
# A room and the other rooms that it may import, from the command line down. A file at the top of a folder
# that is not a leaf is a room by itself; the modules of a room may import each other.
MAY_IMPORT: dict[str, set[str]] = {
    "cli": {"batch", "commands", "jobs", "remote", "resume", "inference", "images", "models"},
    "batch": {
        "comparison",
        "executors",
        "pipeline",
        "still_pipeline",
        "video_pipeline",
        "large_stills",
        "frames",
        "jobs",
        "remote",
        "resume",
        "inference",
        "images",
        "video",
        "models",
    },
    "comparison": {"jobs", "metrics", "images", "inference"},
    "commands": set(),
    "metrics": {"models"},
    "pipeline": {"still_pipeline", "video_pipeline"},
    "still_pipeline": {"large_stills", "jobs", "inference", "images"},
    "video_pipeline": {"jobs", "resume", "frames", "inference", "video"},
    "large_stills": {"jobs", "inference", "images"},
    "executors": {"jobs", "video"},
    "frames": {"jobs", "inference", "images", "video"},
    "remote": {"jobs", "resume"},
    "resume": {"inference", "video"},
    "jobs": {"resume", "models"},  # job folders, shipped weights: neither loads torch
    "inference": {"models"},
    "images": set(),
    "video": set(),
    "models": set(),
    "trainer": {
        "commands",
        "trainer.export",
        "trainer.loops",
        "trainer.run",
        "trainer.config",
        "trainer.evaluation",
        "trainer.data",
        "inference",
    },
    "trainer.export": {"models"},
    "trainer.loops": {
        "trainer.run",
        "trainer.stages",
        "trainer.data",
        "trainer.config",
        "models",
    },
    "trainer.run": {
        "metrics",
        "trainer.stages",
        "trainer.data",
        "trainer.degrade",
        "trainer.config",
        "trainer.evaluation",
        "images",
        "inference",
        "models",
    },
    "trainer.stages": {"trainer.config", "inference", "models"},
    "trainer.evaluation": {"metrics", "trainer.data", "trainer.degrade", "images", "inference", "models"},
    "trainer.data": {"trainer.degrade", "images", "video", "inference", "models"},
    "trainer.config": {"trainer.degrade", "inference", "models"},
    "trainer.degrade": {"video", "models"},
}
COMMANDS = {"upscaler.cli.app", "upscaler.trainer.cli", "upscaler.trainer.eval_cli"}
TALKS = COMMANDS | {
    "upscaler.cli.bar",
    "upscaler.cli.display",
    "upscaler.commands.loading",
    "upscaler.trainer.command",
    "upscaler.trainer.display",
    "upscaler.commands.typer_command",
    "upscaler.commands.typer_parameters",
}
STARTS = {"upscaler.__main__", "upscaler.trainer.__main__"}  # `python -m upscaler` and `... .trainer`
CONSOLE = {"rich", "typer"}
# What not every system has, or has with another meaning: only ``upscaler/system`` knows it.
SYSTEM_MODULES = {
    "ctypes",
    "fcntl",
    "filelock",
    "grp",
    "msvcrt",
    "posix",
    "psutil",
    "pty",
    "pwd",
    "resource",
    "termios",
    "winreg",
}
SYSTEM_NAMES = re.compile(
    r"os\.(name|sysconf|confstr|pathconf|statvfs|uname|fork\w*|kill|killpg|[gs]ete?[ug]id|setsid|cpu_count|umask"
    r"|sched_\w+|posix_\w+|pread|pwrite|f?chown|fchmod|mkfifo|fsync|fdatasync|sync|replace|rename"
    r"|O_(NOFOLLOW|DIRECTORY|NONBLOCK|CLOEXEC|TMPFILE))"
    r"|sys\.(platform|getwindowsversion)|platform\.(system|processor|uname|libc_ver|mac_ver|win32_ver)"
    r"|signal\.(SIG[A-Z0-9]+|alarm|pause|setitimer|pthread_\w+)|multiprocessing\.get_context"
)
SYSTEM_PATHS = re.compile(r"/(proc|sys|dev)/")
MODELS_MAY_USE = {"torch", "safetensors", "spandrel", "platformdirs", "onnx"}
# `--help` and `import upscaler` answer at once because these load nothing heavy, not even by way of others.
LIGHT = {
    "upscaler",
    "upscaler.__main__",
    "upscaler.cli.app",
    "upscaler.options",
    "upscaler.jobs",
    "upscaler.errors",
    "upscaler.trainer.cli",
}
HEAVY = {"torch", "torchvision", "av", "cv2", "PIL", "numpy", "safetensors", "spandrel", "fsspec"}


@dataclass(frozen=True)
class Import:
    """One name imported by a module.

    Attributes:
        module: The module of ours that imports.
        line: Where.
        target: Full name of the imported module; of ``from a import b`` it is ``a.b`` if that is one of ours.
        at_once: Whether importing the module runs this import: not inside a function, nor for type checkers.
    """

    module: str
    line: int
    target: str
    at_once: bool

    @property
    def top(self) -> str:
        return self.target.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def our_sources() -> dict[str, str]:
    """Source text of every module by its name in Python; the links inside upscaler/ are not followed."""
    sources = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            if folder == "upscaler" and parts[0] in ("models", "trainer"):
                continue
            sources[".".join((package, *parts)).removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return sources


def our_path(name: str) -> Path:
    """Where a room is: a folder, or a file without its suffix."""
    if name == "models" or name.startswith("trainer"):
        return ROOT / name.replace(".", "/")
    return ROOT / "upscaler" / name


def statements(node: ast.AST, at_once: bool = True) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below ``node``, and whether importing the module runs it."""
    for child in ast.iter_child_nodes(node):
        runs = at_once and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            runs = False
        yield child, runs
        yield from statements(child, runs)


def imports(sources: dict[str, str]) -> list[Import]:
    """Every import of every module."""
    found = []
    for module, source in sources.items():
        for node, at_once in statements(ast.parse(source)):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                # A relative import keeps its dots here, and is refused below.
                base = "." * node.level + (node.module or "")
                full = [f"{base}.{alias.name}" for alias in node.names]
                targets = [name if name in sources else base for name in full]
            else:
                continue
            found += [Import(module, node.lineno, target, at_once) for target in targets]
    return found


def room(module: str) -> str:
    """The room of one of our modules: a folder of upscaler/ or of trainer/, or a file beside the folders."""
    parts = module.split(".")[1:]
    if parts[:1] == ["trainer"]:
        return ".".join(parts[:2]) if ".".join(parts[:2]) in MAY_IMPORT else "trainer"
    return parts[0] if parts else "version"  # upscaler/__init__.py: the version, and `Upscaler` on first use


def wrong_directions(found: list[Import]) -> Iterator[str]:
    """Imports of our own modules that go the wrong way."""
    for each in found:
        if each.target.startswith(".") or each.top in ("models", "trainer"):
            yield f"{each}: write the full name, upscaler..."
        if each.top != "upscaler" or each.module in STARTS | {"upscaler"}:
            continue
        here, there = room(each.module), room(each.target)
        if each.module in TABLES and each.target not in TABLES:
            yield f"{each}: a table imports only tables"
        if each.target in TABLES:
            continue
        if each.target in COMMANDS:
            yield f"{each}: nothing imports a command"
        elif here not in MAY_IMPORT and here not in LEAVES:
            yield f"{each}: room '{here}' has no row in MAY_IMPORT"
        elif there not in LEAVES | {here} | MAY_IMPORT.get(here, set()):
            yield f"{each}: '{here}' may import {sorted(MAY_IMPORT.get(here, LEAVES))}"


def stale_permissions(found: list[Import]) -> Iterator[str]:
    """Rows of the table that nothing needs."""
    used = {
        (room(each.module), room(each.target))
        for each in found
        if each.top == "upscaler" and each.target not in TABLES
    }
    for here, rooms in MAY_IMPORT.items():
        yield from (
            f"'{here}' may import '{there}', and does not" for there in rooms if (here, there) not in used
        )


def wrong_libraries(found: list[Import]) -> Iterator[str]:
    """Libraries in a room that must not know them."""
    for each in found:
        if each.top in CONSOLE and each.module not in TALKS:
            yield f"{each}: only the commands talk to the console"
        allowed = MODELS_MAY_USE | {"upscaler"} | sys.stdlib_module_names
        if room(each.module) == "models" and each.top not in allowed:
            yield f"{each}: a network knows {sorted(MODELS_MAY_USE)} and the standard library"
        if each.module == "upscaler.errors":
            yield f"{each}: errors imports nothing"


def heavy_loads(found: list[Import]) -> Iterator[str]:
    """Ways by which importing a light module loads a heavy library."""
    for light in sorted(LIGHT):
        seen: set[str] = set()
        waiting = [light]
        while waiting:
            module = waiting.pop()
            if module in seen:
                continue
            seen.add(module)
            if "." in module:  # Python imports the packages on the way too
                waiting.append(module.rpartition(".")[0])
            for each in found:
                if each.module == module and each.at_once:
                    if each.top in HEAVY:
                        yield f"importing {light} loads {each.top}: {each}"
                    elif each.top == "upscaler":
                        waiting.append(each.target)


def prints(sources: dict[str, str]) -> Iterator[str]:
    """Calls of ``print`` outside the commands."""
    for module, source in sources.items():
        for node, _ in statements(ast.parse(source)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "print" and module not in TALKS:
                yield f"{module}:{node.lineno} prints"


def system_questions(sources: dict[str, str]) -> Iterator[str]:
    """What only some systems have, outside ``upscaler/system``."""
    for module, source in sources.items():
        if module.startswith("upscaler.system"):
            continue
        for each in imports({module: source}):
            if each.top in SYSTEM_MODULES:
                yield f"{each}: only upscaler/system asks the system"
        for node, _ in statements(ast.parse(source)):
            name = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            path = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            if SYSTEM_NAMES.fullmatch(name) or SYSTEM_PATHS.match(path):
                yield f"{module}:{node.lineno} uses {name or path}: only upscaler/system asks the system"


def violations(sources: dict[str, str]) -> list[str]:
    """Everything that breaks the rules of this file."""
    found = imports(sources)
    return [
        *wrong_directions(found),
        *wrong_libraries(found),
        *heavy_loads(found),
        *prints(sources),
        *system_questions(sources),
    ]


def test_imports_go_one_way() -> None:
    sources = our_sources()
    assert {"upscaler", "upscaler.errors", "upscaler.models.registry", "upscaler.trainer.loops"} <= set(
        sources
    )
    assert not violations(sources), "\n".join(violations(sources))


def test_table_allows_nothing_that_is_not_needed() -> None:
    stale = list(stale_permissions(imports(our_sources())))
    assert not stale, "\n".join(stale)


@pytest.mark.parametrize(
    "here", [name for name in MAY_IMPORT if name != "trainer" and our_path(name).is_dir()]
)
def test_a_room_says_what_it_may_import(here: str) -> None:
    docstring = ast.get_docstring(ast.parse((our_path(here) / "__init__.py").read_text(encoding="utf-8")))
    assert docstring is not None
    _, found, permission = docstring.partition("May import ")
    assert found, docstring
    names = set(re.findall(r"``(\w+)``", re.split(r"[;.]\s", permission + " ")[0]))
    assert names == {name.removeprefix("trainer.") for name in MAY_IMPORT[here]}


def test_rules_have_no_circle() -> None:
    graphlib.TopologicalSorter(MAY_IMPORT).prepare()


def test_modules_have_no_circle() -> None:
    sources = our_sources()
    edges: dict[str, set[str]] = {module: set() for module in sources}
    for each in imports(sources):
        if each.target in sources and each.module != "upscaler":
            edges[each.module].add(each.target)
    graphlib.TopologicalSorter(edges).prepare()


@pytest.mark.parametrize(
    ("module", "planted", "complaint"),
    [
        ("upscaler.inference.tiling", "from upscaler.images import stills", "'inference' may import"),
        ("upscaler.inference.engine", "def late():\n    import upscaler.pipeline", "'inference' may import"),
        ("upscaler.video.reader", "from upscaler.images.stills import read", "'video' may import"),
        ("upscaler.images.stills", "from upscaler.cli.app import app", "nothing imports a command"),
        ("upscaler.pipeline", "from upscaler.cli import forecast", "'pipeline' may import"),
        ("upscaler.trainer.loops", "import upscaler.cli.app", "nothing imports a command"),
        ("upscaler.trainer.stages.pixel", "from upscaler.trainer.run import session", "'trainer.stages' may"),
        ("upscaler.pipeline", "from upscaler.trainer import loops", "'pipeline' may import"),
        ("upscaler.models.compact", "from upscaler.inference.devices import select", "'models' may import"),
        ("upscaler.models.compact", "import numpy as np", "a network knows"),
        ("upscaler.results", "from upscaler.inference import engine", "'results' may import"),
        ("upscaler.errors", "import os", "errors imports nothing"),
        ("upscaler.video.codecs", "from upscaler import errors", "a table imports only tables"),
        ("upscaler.options", "from upscaler.video import reader", "'options' may import"),
        ("upscaler.inference.engine", "import models.registry", "write the full name"),
        ("upscaler.inference.engine", "from trainer.metrics import luma", "write the full name"),
        ("upscaler.inference.engine", "from . import tiling", "write the full name"),
        ("upscaler.inference.engine", "from rich.progress import track", "only the commands"),
        ("upscaler.trainer.loops", "import typer", "only the commands"),
        ("upscaler.inference.engine", "class A:\n    def b(self):\n        print('x')", "prints"),
        ("upscaler.jobs", "import numpy", "importing upscaler.jobs loads numpy"),
        ("upscaler.cli.app", "from upscaler.pipeline import run", "importing upscaler.cli.app loads"),
        ("upscaler.trainer", "import torch", "importing upscaler.trainer.cli loads torch"),
        ("upscaler.fashion", "import upscaler.errors", "has no row in MAY_IMPORT"),
        ("upscaler.jobs", "def locked():\n    import fcntl", "only upscaler/system asks"),
        ("upscaler.jobs", "import os\nfree = os.sysconf('SC_AVPHYS_PAGES')", "uses os.sysconf"),
        ("upscaler.jobs", "import sys\nif sys.platform == 'win32':\n    pass", "uses sys.platform"),
        ("upscaler.jobs", "import signal\nstops = [signal.SIGTERM]", "uses signal.SIGTERM"),
        ("upscaler.jobs", "from pathlib import Path\ninfo = Path('/proc/meminfo')", "uses /proc/meminfo"),
    ],
)
def test_checker_finds_what_is_planted(module: str, planted: str, complaint: str) -> None:
    sources = {
        "upscaler": "",
        "upscaler.cli": "",
        "upscaler.cli.app": "def main():\n    import torch\n    print('done')",
        "upscaler.cli.forecast": "",
        "upscaler.inference.devices": "import torch\nfrom upscaler.errors import DeviceError",
        "upscaler.inference.engine": "import torch\nfrom upscaler import models",
        "upscaler.inference.tiling": "",
        "upscaler.errors": "",
        "upscaler.jobs": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy",
        "upscaler.models": "from upscaler.models.compact import Compact",
        "upscaler.models.compact": "import math\nimport torch\nfrom upscaler.errors import WeightsError",
        "upscaler.pipeline": "from upscaler.still_pipeline import upscale_still",
        "upscaler.still_pipeline": "from upscaler import jobs\nfrom upscaler.images import stills",
        "upscaler.images.stills": "import cv2",
        "upscaler.trainer": "",
        "upscaler.trainer.cli": "import typer\nprint('ready')",
        "upscaler.trainer.loops": "from upscaler.trainer.run import session\nimport numpy",
        "upscaler.trainer.run.session": "",
        "upscaler.trainer.stages.pixel": "",
        "upscaler.options": "from upscaler.video import codecs",
        "upscaler.video.codecs": "from dataclasses import dataclass",
        "upscaler.video.reader": "import av",
    }
    assert not violations(sources)
    sources[module] = sources.get(module, "") + "\n" + planted
    assert any(complaint in violation for violation in violations(sources)), violations(sources)


def test_imports_load_nothing_heavy() -> None:
    modules = ("upscaler", "upscaler.cli.app", "upscaler.trainer.cli", "upscaler.trainer.eval_cli")
    question = f"import sys, {', '.join(modules)}; print(sorted({HEAVY!r} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
