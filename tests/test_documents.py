"""Scores stand in README, in docs/models.md and in the cards: when weights change, in all of them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CARDS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "models" / "weights").glob("*.md")}
ROUNDING_DB = 0.00501  # of two decimals, either way

Scores = tuple[float, ...]


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table."""
    return [
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in text.splitlines()
        if line[:1] == "|"
    ]


def scores_of(cells: list[str]) -> Scores | None:
    """Y-PSNR of Set5, Set14 and B100 from three cells of ``dB / SSIM``."""
    found = [re.fullmatch(r"(\d+\.\d+) / 0\.\d{4}", cell) for cell in cells[1:4]]
    return tuple(float(match[1]) for match in found if match) if len(found) == 3 and all(found) else None


def own_scores(name: str) -> Scores:
    """What the card of a weight file says of it."""
    (scores,) = [scores_of(cells) for cells in rows(CARDS[name]) if cells[0] == name and scores_of(cells)]
    assert scores is not None
    return scores


def assert_near(said: Scores, name: str, where: str) -> None:
    for number, known in zip(said, own_scores(name), strict=True):
        assert abs(number - known) < ROUNDING_DB, (
            f"{where} says {said} of {name}, its card {own_scores(name)}"
        )


def test_cards_quote_each_other_as_they_are() -> None:
    quoted = [(card, cells) for card, text in CARDS.items() for cells in rows(text) if cells[0] in CARDS]
    found = [(card, cells[0], scores_of(cells)) for card, cells in quoted if scores_of(cells)]
    assert len(found) > len(CARDS) - 2, "the tables of the cards are no longer found"
    for card, name, scores in found:
        assert scores is not None
        assert_near(scores, name, f"the card of {card}")


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_the_tables_of_the_models_are_those_of_the_cards(scale: int) -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    table = text[text.index(f"\n| x{scale}, ") :].strip().partition("\n\n")[0]
    names = [(f"{cells[0].strip('`')}-x{scale}", scores_of(cells)) for cells in rows(table)]
    known = [(name, scores) for name, scores in names if name in CARDS]
    assert len(known) >= 2
    for name, scores in known:
        assert scores is not None, name
        assert_near(scores, name, "docs/models.md")


def test_the_readme_says_what_the_cards_say() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Which model")[2]
    found = 0
    for cells in rows(table.partition("\n## ")[0]):
        said = re.fullmatch(r"(\d+\.\d+) / (\d+\.\d+) / (\d+\.\d+)", cells[-1])
        if said:
            assert_near(tuple(map(float, said.groups())), f"{cells[0].strip('`')}-x4", "README.md")
            found += 1
    assert found == 8
