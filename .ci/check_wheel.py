"""Assert that a wheel holds what it must and nothing else: ``python .ci/check_wheel.py FILE.whl``."""

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Folder of the checkout -> its name in the wheel.
FOLDERS = {"upscaler": "upscaler", "models": "upscaler/models", "trainer": "upscaler/trainer"}


def expected() -> set[str]:
    """Names of the modules, weights, model cards and recipes of the checkout, as the wheel must have them."""
    names = {"upscaler/py.typed"}
    for folder, package in FOLDERS.items():
        # One level of rooms; for upscaler/ that also meets the links, whose targets have rows of their own.
        for pattern in ("*.py", "*/*.py", "weights/*.safetensors", "weights/*.md", "recipes/*.toml"):
            for path in (ROOT / folder).glob(pattern):
                if path.parent.is_symlink():
                    continue
                names.add(f"{package}/{path.relative_to(ROOT / folder).as_posix()}")
    return names


def main(wheel: str) -> None:
    """Check one wheel.

    Raises:
        SystemExit: With what is wrong.
    """
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.endswith("/")}
    top = {name.partition("/")[0] for name in held}
    information = {name for name in top if name.startswith("upscaler-") and name.endswith(".dist-info")}
    if len(information) != 1 or top != {"upscaler"} | information:
        sys.exit(f"{wheel}: its top level is {sorted(top)}, not upscaler and upscaler-*.dist-info")
    code = {name for name in held if name.startswith("upscaler/")}
    wanted = expected()
    if code != wanted:
        sys.exit(f"{wheel}: missing {sorted(wanted - code)}, unexpected {sorted(code - wanted)}")
    if not any(name.endswith(".safetensors") for name in code):
        sys.exit(f"{wheel}: holds no weights")


if __name__ == "__main__":
    main(sys.argv[1])
