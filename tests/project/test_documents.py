"""The documents agree with each other: the scores of the models, and the links between pages."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    path
    for folder in ("", "docs", "samples", "tools", "models/weights")
    for path in (ROOT / folder).glob("*.md")
]
CARDS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "models" / "weights").glob("*.md")}
ROUNDING_DB = 0.00501  # of two decimals, either way

Scores = tuple[float, ...]


def scored(text: str) -> list[tuple[str, Scores]]:
    """Name and Y-PSNR on Set5, Set14 and B100 of every row with three cells of ``dB / SSIM``."""
    pair = r" \| (\d+\.\d+) / 0\.\d{4}"
    found = re.findall(rf"^\| `?([\w-]+)`?{pair * 3} \|", text, re.MULTILINE)
    return [(name, tuple(map(float, scores))) for name, *scores in found]


def own_scores(name: str) -> Scores:
    """What the card of a weight file says of it."""
    (scores,) = [scores for row, scores in scored(CARDS[name]) if row == name]
    return scores


def assert_near(said: Scores, name: str, where: str) -> None:
    for number, known in zip(said, own_scores(name), strict=True):
        assert abs(number - known) < ROUNDING_DB, (
            f"{where} says {said} of {name}, its card {own_scores(name)}"
        )


def test_cards_quote_each_other_as_they_are() -> None:
    found = [(card, *row) for card, text in CARDS.items() for row in scored(text) if row[0] in CARDS]
    # Models that guess detail are not judged by PSNR on clean LR, nor those for films by photographs, and
    # vgg19-small is no model.
    others = [card for card in CARDS if card.startswith(("real", "art", "film"))]
    assert len(found) > len(CARDS) - len(others) - 2, "the tables of the cards are no longer found"
    for card, name, scores in found:
        assert_near(scores, name, f"the card of {card}")


@pytest.mark.parametrize(("scale", "models"), [(2, 4), (3, 2), (4, 4), (8, 2)])
def test_the_tables_of_the_models_are_those_of_the_cards(scale: int, models: int) -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    table = text[text.index(f"\n| x{scale}, ") :].strip().partition("\n\n")[0]
    known = [row for row in scored(table) if f"{row[0]}-x{scale}" in CARDS]
    assert len(known) == models
    for name, scores in known:
        assert_near(scores, f"{name}-x{scale}", "docs/models.md")


def test_the_readme_says_what_the_cards_say() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Which model")[2]
    number = r"(\d+\.\d+)"
    row = rf"^\| `([\w-]+)` \|.*\| {number} / {number} / {number} \|$"
    found = re.findall(row, table.partition("\n## ")[0], re.MULTILINE)
    assert len(found) == 4
    for name, *said in found:
        assert_near(tuple(map(float, said)), f"{name}-x4", "README.md")


def anchors(page: str) -> set[str]:
    """The fragments that links to the headings of a page have, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    for link in links:
        if "://" in link:
            continue
        name, _, fragment = link.partition("#")
        target = document.parent / name if name else document
        assert target.exists(), f"{link}: no such file"
        if document.parent == ROOT / "docs":
            assert target.parent == document.parent, f"{link}: not a page of the site"
        if fragment:
            assert fragment in anchors(target.read_text(encoding="utf-8")), f"{link}: no such heading"


def test_the_documents_link_to_each_other() -> None:
    linked = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    assert len(re.findall(r"\]\(([^)\s]+\.md)", linked)) > 20, "links are no longer found"
