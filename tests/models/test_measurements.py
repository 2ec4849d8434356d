"""What was measured about a file is kept by its content, and never trusted when it cannot be right."""

import json
import shutil
from pathlib import Path

import pytest
from support.community import save_pth

from upscaler.models import community, receptive_field
from upscaler.models.receptive_field import Measured


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Measured]:
    """An empty cache, and every measurement that is made."""
    monkeypatch.setenv("UPSCALER_CACHE", str(tmp_path / "cache"))
    made: list[Measured] = []

    def measure(*arguments: object) -> Measured:
        made.append(receptive_field.measure(*arguments))
        return made[-1]

    monkeypatch.setattr(community, "measure", measure)
    return made


def test_a_file_is_measured_once_whatever_its_name(tmp_path: Path, measured: list[Measured]) -> None:
    one = save_pth(tmp_path / "one.pth", "SPAN")
    contract = community.load(one).network().contract
    other = tmp_path / "other.pth"
    shutil.copy(one, other)
    assert community.load(other).network().contract == contract
    assert len(measured) == 1
    save_pth(other, "Compact")
    assert community.load(other).network().contract != contract
    assert len(measured) == 2


@pytest.mark.parametrize("damage", ["text", "type", "missing", "version", "folder"])
def test_a_damaged_entry_is_measured_again_and_replaced(
    tmp_path: Path, measured: list[Measured], damage: str
) -> None:
    path = save_pth(tmp_path / "one.pth", "Compact")
    contract = community.load(path).network().contract
    (entry,) = (tmp_path / "cache" / "models").iterdir()
    good = json.loads(entry.read_text())
    if damage == "folder":
        entry.unlink()
        entry.mkdir()
    else:
        kept = {name: value for name, value in good.items() if name != "radius_px"}
        contents = {
            "text": entry.read_text()[:20],
            "type": json.dumps(good | {"radius_px": "5"}),
            "missing": json.dumps(kept),
            "version": json.dumps(good | {"made by": "0", "radius_px": 1}),
        }
        entry.write_text(contents[damage])
    community._load.cache_clear()
    assert community.load(path).network().contract == contract
    assert len(measured) == 2
    if damage != "folder":
        assert json.loads(entry.read_text()) == good


def test_without_a_cache_folder_every_process_measures(
    tmp_path: Path, measured: list[Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("UPSCALER_CACHE", str(tmp_path / "file"))
    path = save_pth(tmp_path / "one.pth", "Compact")
    for _ in range(2):
        community._load.cache_clear()
        community.load(path)
    assert len(measured) == 2
