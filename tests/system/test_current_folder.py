"""A command whose current folder was deleted says so, before a library crashes without it."""

import subprocess
import sys

import pytest

START = "import os, sys, tempfile; folder = tempfile.mkdtemp(); os.chdir(folder); os.rmdir(folder); "


@pytest.mark.skipif(sys.platform == "win32", reason="keeps the folders in which a process is")
@pytest.mark.parametrize(
    ("module", "function", "arguments"),
    [
        ("upscaler.__main__", "main", ["/a.png"]),
        ("upscaler.trainer.__main__", "train", ["/photos", "-o", "/a.safetensors"]),
        ("upscaler.trainer.__main__", "evaluate", ["fast", "/photos"]),
    ],
)
def test_a_deleted_current_folder_is_one_line(module: str, function: str, arguments: list[str]) -> None:
    code = f"{START} sys.argv[1:] = {arguments!r}; from {module} import {function}; {function}()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: the current folder does not exist any more (change to another folder)\n"
