"""Loaded by every Python process with this folder on its PYTHONPATH: takes away what another system lacks.

``UPSCALER_TEST_SYSTEM`` is ``windows`` or ``macos``. It happens when ``upscaler`` is imported: the libraries,
which have code of their own for every system, are loaded before, and keep the real ``os``. Afterwards POSIX
modules and attributes are gone; ``/proc`` and ``/sys`` cannot be read by our code; names are compared without
case (on macOS also without the Unicode form); consoles are cp1252. On Windows, in addition, a file that
this process holds open or maps is neither replaced nor removed, renaming onto an existing file fails, folders
cannot be opened, and some names are refused. Paths stay those of Linux: no drives, no backslashes.
"""

import builtins
import ctypes
import importlib
import io
import os
import re
import signal
import sys
import threading
import types
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

SYSTEM = os.environ.get("UPSCALER_TEST_SYSTEM", "")
ROOT = str(Path(__file__).parents[3])
STDLIB = os.path.dirname(os.__file__)
# What each system has not; those of the second list exist on macOS.
MODULES = ["msvcrt"] if SYSTEM == "macos" else ["fcntl", "grp", "pty", "pwd", "resource", "termios"]
LINUX_ONLY = {
    *("posix_fallocate", "posix_fadvise", "sched_getaffinity", "sched_setaffinity"),
    *("memfd_create", "O_TMPFILE"),
}
POSIX_ONLY = {
    *("O_CLOEXEC", "O_DIRECTORY", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC", "chown", "confstr"),
    *("fchmod", "fchown", "fork", "forkpty", "fpathconf", "fstatvfs", "getegid", "geteuid", "getgid"),
    *("getgroups", "getloadavg", "getpgid", "getuid", "killpg", "lchown", "mkfifo", "mknod", "nice"),
    *("pathconf", "pread", "pwrite", "sendfile", "setsid", "statvfs", "sync", "sysconf", "sysconf_names"),
    *("uname", "wait", "wait3", "wait4"),
}
# Not SIGKILL, which `subprocess` of Linux uses.
SIGNALS = ["SIGHUP", "SIGALRM", "SIGCHLD", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGTSTP", "SIGPIPE"]
LIBRARIES = [
    *("PIL.Image", "av", "cv2", "filelock", "glob", "multiprocessing.spawn", "numpy", "platform"),
    *("platformdirs", "psutil", "rich.console", "rich.progress", "safetensors.torch", "shutil"),
    *("subprocess", "tempfile", "tifffile", "torch", "torch.nn.parallel", "torchvision.models", "typer"),
    "typer.rich_utils",
]
REFUSED = re.compile(r'[<>:"|?*\\\x00-\x1f]')
DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)

real = types.ModuleType("os")  # as the libraries need it
vars(real).update(vars(os))
real_open = io.open
inside = threading.local()


class Finder:
    """Waits for the first import of ``upscaler``."""

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        if name.partition(".")[0] == "upscaler":
            sys.meta_path.remove(self)  # type: ignore[arg-type]
            become_other()


def become_other() -> None:
    light = os.environ.get("UPSCALER_TEST_LIBRARIES", "").split() or LIBRARIES
    for name in light:
        importlib.import_module(name)
    if "PIL.Image" in sys.modules:
        sys.modules["PIL.Image"].init()
    libraries = [module for name, module in sys.modules.items() if name.startswith(("filelock", "psutil"))]
    for module in libraries:
        if getattr(module, "os", None) is os:
            module.os = real  # type: ignore[attr-defined]
    import filelock
    import psutil

    if SYSTEM == "windows":
        unlock = filelock.FileLock._release

        def unlock_and_remove(lock: Any) -> None:  # noqa: ANN401
            unlock(lock)
            with suppress(OSError):
                real.unlink(lock.lock_file)

        filelock.FileLock._release = unlock_and_remove  # type: ignore[method-assign]
        in_use = psutil.Process.memory_info

        def with_peak(process: Any) -> types.SimpleNamespace:  # noqa: ANN401
            found = in_use(process)
            return types.SimpleNamespace(rss=found.rss, vms=found.vms, peak_wset=found.rss)

        psutil.Process.memory_info = with_peak  # type: ignore[method-assign]
    else:
        del psutil.Process.cpu_affinity
    take_away()
    replace_files()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="cp1252")


def take_away() -> None:
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    for name in LINUX_ONLY | (POSIX_ONLY if SYSTEM == "windows" else set()):
        if hasattr(os, name):
            delattr(os, name)
    import platform
    import shutil
    import tempfile

    tempfile._O_TMPFILE_WORKS = False  # type: ignore[attr-defined]  # it looked while there was such a flag

    platform.libc_ver = lambda *_, **__: ("", "")  # type: ignore[assignment]
    platform.processor = lambda: ""
    if SYSTEM == "macos":
        sys.platform = "darwin"
        os.sysconf_names = {k: v for k, v in real.sysconf_names.items() if k != "SC_AVPHYS_PAGES"}
        os.sysconf = sysconf_of_macos
        import fcntl

        fcntl.F_FULLFSYNC = fcntl.F_GETFD  # type: ignore[attr-defined]
        ctypes.CDLL = lambda name: LibrarySystem()  # type: ignore[assignment,misc]
        return
    # `signal` has to keep what `subprocess` uses; SIGBREAK stands in for Ctrl-Break.
    stands_in = signal.SIGUSR2
    for name in SIGNALS:
        delattr(signal, name)
    signal.SIGBREAK = stands_in  # type: ignore[attr-defined]
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    for name, module in {"winreg": winreg(), "msvcrt": types.ModuleType("msvcrt")}.items():
        sys.modules[name] = module
    ctypes.WINFUNCTYPE = ctypes.CFUNCTYPE  # type: ignore[attr-defined]
    ctypes.windll = types.SimpleNamespace(kernel32=Kernel())  # type: ignore[attr-defined]
    ctypes.WinDLL = lambda _: types.SimpleNamespace(RtlAreLongPathsEnabled=lambda: 0)  # type: ignore[attr-defined]
    sys.platform = "win32"


def sysconf_of_macos(name: str) -> int:
    if name not in os.sysconf_names:
        raise ValueError("unrecognized configuration name")
    return int(real.sysconf(name))


class LibrarySystem:
    """The C library of macOS, as far as it is asked."""

    def sysctlbyname(self, _name: bytes, text: Any, *_: object) -> int:  # noqa: ANN401
        text.value = b"Apple M2"
        return 0


def winreg() -> types.ModuleType:
    module = types.ModuleType("winreg")

    class Key:
        def __enter__(self) -> "Key":
            return self

        def __exit__(self, *_: object) -> None:
            pass

    module.HKEY_LOCAL_MACHINE = 0  # type: ignore[attr-defined]
    module.OpenKey = lambda *_: Key()  # type: ignore[attr-defined]
    module.QueryValueEx = lambda *_: ("Intel(R) Core(TM) i7", 1)  # type: ignore[attr-defined]
    return module


class Kernel:
    """Console events: a SIGURG, which nothing else uses, stands for a closed window."""

    def SetConsoleCtrlHandler(self, handler: Callable[[int], int], _add: bool) -> int:  # noqa: N802
        def closed(*_: object) -> None:
            def call() -> None:
                handler(2)
                real._exit(1)  # Windows ends the process when the handler returns

            threading.Thread(target=call, daemon=True).start()

        signal.signal(signal.SIGURG, closed)
        return 1


def ours() -> bool:
    """Whether our code called, maybe by way of the standard library."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if "site-packages" in file:
            return False
        if file != __file__ and not file.startswith((STDLIB, "<")):
            return file.startswith(ROOT)
        frame = frame.f_back  # type: ignore[assignment]
    return False


def same(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold() if SYSTEM == "macos" else name.casefold()


def actual(path: Any) -> Any:  # noqa: ANN401
    """The path as it is on the disk: names of another case are found, final dots dropped."""
    if not isinstance(path, str | os.PathLike):
        return path
    text = os.fspath(path)
    if not isinstance(text, str) or real.path.lexists(text):
        return path
    found = ""
    for number, part in enumerate(text.split("/")):
        if SYSTEM == "windows" and part not in ("", ".", ".."):
            if REFUSED.search(part):
                raise OSError(22, "Invalid argument", text)
            part = part.rstrip(". ")
            if DEVICES.fullmatch(part):
                return real.devnull
        whole = f"{found}/{part}" if number else part
        if part and not real.path.lexists(whole):
            with suppress(OSError):
                names = real.listdir(found or ("/" if number else "."))
                part = next((name for name in names if same(name) == same(part)), part)
            whole = f"{found}/{part}" if number else part
        found = whole
    return found


def held() -> Iterator[str]:
    """Files that this process holds open or maps."""
    for name in real.listdir("/proc/self/fd"):
        with suppress(OSError):
            yield real.readlink(f"/proc/self/fd/{name}")
    with real_open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            yield line.rstrip("\n").partition("/")[2] and "/" + line.rstrip("\n").partition("/")[2]


def refuse_if_held(path: Any) -> None:  # noqa: ANN401
    own = real.path.realpath(path)
    for other in held():
        if SYSTEM == "windows" and (other == own or other.startswith(own + "/")):
            raise PermissionError(13, "it is being used by another process", str(path))


def once(replacement: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement; while one runs in this thread, what it calls is the real function."""

    def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        if getattr(inside, "one", False) or "opener" in named:  # of tempfile, which names the folder then
            return function(*arguments, **named)
        inside.one = True
        try:
            chosen = replacement(*arguments)
        finally:
            inside.one = False
        return function(*chosen, **named)

    return call


def replace_files() -> None:  # noqa: C901 - one function for each function of os
    def renaming(*, over: bool) -> Callable[..., Any]:
        def checked(source: Any, target: Any) -> Any:  # noqa: ANN401
            source, target = actual(source), actual(target)
            refuse_if_held(source)
            exists = real.path.lexists(target) and real.path.realpath(source) != real.path.realpath(target)
            if exists and SYSTEM == "windows" and (not over or real.path.isdir(target)):
                raise FileExistsError(17, "Cannot create a file when that file already exists", str(target))
            refuse_if_held(target)
            return source, target

        return checked

    def removing(path: Any) -> Any:  # noqa: ANN401
        path = actual(path)
        refuse_if_held(path)
        return (path,)

    def reading(path: Any = ".", *rest: Any) -> Any:  # noqa: ANN401
        if isinstance(path, str | os.PathLike) and ours():
            text = str(path)
            if text.startswith(("/proc", "/sys")):
                raise FileNotFoundError(2, "No such file or directory", text)
        return (actual(path), *rest)

    def opening(path: Any, *rest: Any) -> Any:  # noqa: ANN401
        if isinstance(path, str | os.PathLike) and SYSTEM == "windows" and ours() and real.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        return reading(path, *rest)

    os.rename = once(renaming(over=False), real.rename)
    os.replace = once(renaming(over=True), real.replace)
    os.unlink = os.remove = once(removing, real.unlink)
    os.rmdir = once(removing, real.rmdir)
    for name in ("stat", "lstat", "mkdir", "listdir", "scandir", "access", "utime", "readlink"):
        setattr(os, name, once(reading, getattr(real, name)))
    os.open = once(opening, real.open)
    io.open = builtins.open = once(opening, real_open)  # type: ignore[assignment]


if SYSTEM:
    sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]
