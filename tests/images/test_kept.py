"""The tables of docs/images.md say what is kept today, and nothing is lost without a line."""

from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.mark.slow
def test_the_tables_are_measured_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import kept_table

    document = kept_table.DOCUMENT.read_text(encoding="utf-8")
    assert kept_table.updated(document, kept_table.tables(tmp_path)) == document, (
        "run tools/kept_table.py, and look whether less is kept"
    )
