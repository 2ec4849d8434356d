"""Options, settings, degradations and names of the code that the documents mention exist."""

import dataclasses
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from upscaler.cli.app import app as upscale
from upscaler.trainer.cli import app as train
from upscaler.trainer.config.config import SIZES, TrainConfig
from upscaler.trainer.config.gan import GanConfig
from upscaler.trainer.degrade import degradations
from upscaler.trainer.eval_cli import app as evaluate

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    path
    for folder in ("", "docs", "tools", "models/weights")
    for path in sorted((ROOT / folder).glob("*.md"))
]
OPTIONS = {
    name: {
        option
        for parameter in get_command(app).params
        for option in parameter.opts + parameter.secondary_opts
    }
    | {"--help"}
    for name, app in {"upscale": upscale, "upscale-train": train, "upscale-eval": evaluate}.items()
}
SETTINGS = {field.name for field in dataclasses.fields(TrainConfig)}
SETTINGS |= {f"gan.{field.name}" for field in dataclasses.fields(GanConfig)}
SETTINGS |= {f"network.{size}" for size in SIZES}


def code(text: str) -> list[str]:
    """The indented code lines and the code spans of a document, continued lines joined."""
    joined = re.sub(r"\\\n\s+", "", text)
    blocks = re.findall(r"^    (.*)$", joined, re.MULTILINE)
    spans = re.findall(r"`([^`]+)`", re.sub(r"^    .*$", "", joined, flags=re.MULTILINE))
    return blocks + [" ".join(span.split()) for span in spans]


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Every call of one of the three commands in a document, with its arguments."""
    found = []
    for line in code(text):
        for part in re.split(r"&&|\||\s#\s", line):
            name, *arguments = shlex.split(part) if part.startswith("upscale") else [""]
            if name in OPTIONS:
                found.append((name, arguments))
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documented_options_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for name, arguments in commands(text):
        options = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
        assert options <= OPTIONS[name], f"{name} {' '.join(arguments)}"
    known = set.union(*OPTIONS.values())  # of the commands: not of tools, nor of the example of a new option
    for snippet in code(text):
        option = re.match(r"--[a-z][\w-]*", snippet)
        if option and document.parent.name != "tools" and document.name != "CONTRIBUTING.md":
            assert option[0] in known, snippet


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documented_values_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for setting in re.findall(r"--set '?([\w.]+)=", text):
        assert setting in SETTINGS
    for name in re.findall(r"--degradation ([\w-]+)", text):
        degradations.parse(name)


def test_the_documents_call_every_command() -> None:
    called = [name for path in DOCUMENTS for name, _ in commands(path.read_text(encoding="utf-8"))]
    assert min(called.count(name) for name in OPTIONS) > 5, "calls are no longer found"


def test_names_in_the_glossary_are_names_of_the_code() -> None:
    glossary = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Glossary")[2]
    names = [
        name
        for row in re.findall(r"^\|.*\| (.*) \|$", glossary, re.MULTILINE)
        for name in re.findall(r"`([A-Za-z]\w+)\*?`", row)
    ]
    assert len(names) > 20, "the glossary is no longer found"
    source = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("upscaler", "models", "trainer")
        for path in (ROOT / folder).rglob("*.py")
    )
    for name in names:
        assert re.search(rf"\b{name}" if name.endswith("_") else rf"\b{name}\b", source), name
