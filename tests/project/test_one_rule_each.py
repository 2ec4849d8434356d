"""What is decided in one place is decided nowhere else: each pattern occurs only in the files that own it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("upscaler", "models", "trainer", "tools", "benchmarks")

# Rule -> (what only its owner writes, the owners).
RULES: dict[str, tuple[str, set[str]]] = {
    "files get their name atomically and durably": (
        r"\bos\.(replace|rename|fsync)\(",
        {"upscaler/system/disk.py"},
    ),
    "FFmpeg's log is captured": (
        r"logging\.(Capture\(|set_level)",
        {"upscaler/video/ffmpeg_log.py"},
    ),
    "the first or last line of an error": (
        r"\bstr\(error\)(\.strip\(\))?\.(splitlines|split|r?partition)\(",
        {"upscaler/errors.py"},
    ),
    "weights of luma": (
        # Matlab's constants are multiples whose last bit counts.
        r"\b0\.(299|587|114|2126|7152|0722)\b|\b65\.481\b",
        {"upscaler/color_matrices.py", "upscaler/metrics.py"},
    ),
    "scales of networks": (r"\(1, 2, 3, 4, 8\)", {"models/registry.py"}),
    "suffixes of image formats": (
        r'"\.(jpg|jpeg|jfif|tif|tiff|gif|avif|webp|bmp)"',
        {
            "upscaler/images/formats.py",
            "upscaler/image_sequences.py",  # those that FFmpeg goes by
            "benchmarks/training.py",  # reads what is prepared for it
            "tools/kept_table.py",  # the columns of its table
        },
    ),
    "settings of Pillow and OpenCV": (
        r"MAX_IMAGE_PIXELS|setLogLevel",
        {"upscaler/images/library_settings.py"},
    ),
    "variables of the environment are set": (
        r"os\.environ\[[^]]*\] *=|os\.environ\.setdefault|os\.putenv",
        {"upscaler/process_settings.py", "benchmarks/gpu.py"},
    ),
}


def sources() -> dict[str, str]:
    """Text of every file of the folders; the links inside upscaler/ are not followed."""
    found = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(("upscaler/models/", "upscaler/trainer/")):
                found[name] = path.read_text(encoding="utf-8")
    return found


@pytest.mark.parametrize("rule", RULES)
def test_only_the_owner_decides(rule: str) -> None:
    pattern, owners = RULES[rule]
    users = {name for name, text in sources().items() if re.search(pattern, text)}
    assert users <= owners, f"{rule}: also in {sorted(users - owners)}"
    assert users, f"{rule}: the pattern no longer matches even its owner"
