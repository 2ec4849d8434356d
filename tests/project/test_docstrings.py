"""Public functions that take or return tensors or arrays state shape, dtype, and range or colour order."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("upscaler", "models")

ARRAY = re.compile(r"\b(Tensor|NDArray|ndarray|Pixels)\b")
WEIGHTS = re.compile(r"\b(dict|Mapping)\[str, Tensor\]")  # of a state dictionary: neither shape nor range
STATES = {
    "shape": re.compile(r"\((?:[^()]*\b(?:B|N|C|H|W|h|w|height|width|\d+)\b[^()]*)\)|any shape|scalar"),
    "dtype": re.compile(
        r"\b(u?int(8|16|32)?|u?int8|fp32|fp16|bf16|float\w*|bool|bytes|dtype|same type)\b", re.I
    ),
    "range or colour order": re.compile(
        r"\[0, 1\]|\d\.\.|\brange\b|\bcodes?\b|\bRGB\b|\bYUV\b|\bluma\b|\blogits?\b|\bfeatures\b|\balpha\b"
    ),
}
# "See ``Network``", "As ``plan``": states what the function of that name states.
REFERENCE = re.compile(r"\b(?:[Ss]ee|[Aa]s(?: for)?) ``(?:\w+\.)*(\w+)``")


@dataclass(frozen=True)
class Function:
    """A public function or method with a tensor or an array in its signature."""

    name: str
    text: str


def public_functions(source: str, file: str) -> Iterator[Function]:
    """Those of one file; the text of a method includes the docstring of its class."""

    def walk(node: ast.Module | ast.ClassDef, prefix: str, text: str) -> Iterator[Function]:
        for child in node.body:
            if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
                yield from walk(child, f"{child.name}.", ast.get_docstring(child) or "")
            elif isinstance(child, ast.FunctionDef) and (
                not child.name.startswith("_") or child.name in ("__call__", "__init__")
            ):
                hints = [
                    argument.annotation for argument in ast.walk(child.args) if isinstance(argument, ast.arg)
                ]
                annotations = " ".join(ast.unparse(hint) for hint in (*hints, child.returns) if hint)
                if ARRAY.search(WEIGHTS.sub("", annotations)):
                    own = ast.get_docstring(child) or ""
                    yield Function(f"{file}:{prefix}{child.name}", f"{own}\n{text}")

    yield from walk(ast.parse(source), "", "")


def documented() -> dict[str, str]:
    """The docstring of every class and function, by name: what a reference may point to."""
    found: dict[str, str] = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef | ast.FunctionDef):
                    found[node.name] = found.get(node.name, "") + "\n" + (ast.get_docstring(node) or "")
    return found


def missing(function: Function, references: dict[str, str]) -> list[str]:
    """What a docstring leaves out."""
    text = function.text
    for name in REFERENCE.findall(text):
        text += "\n" + references.get(name, "")
    return [what for what, pattern in STATES.items() if not pattern.search(text)]


def every_function() -> list[Function]:
    """Of ``upscaler/`` and ``models/``."""
    return [
        function
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not path.is_relative_to(ROOT / "upscaler/models")
        and not path.is_relative_to(ROOT / "upscaler/trainer")
        for function in public_functions(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
    ]


def test_arrays_are_described() -> None:
    references = documented()
    gaps = {each.name: missing(each, references) for each in every_function()}
    undescribed = {name: what for name, what in gaps.items() if what}
    assert not undescribed, "\n".join(f"{name}: no {', '.join(what)}" for name, what in undescribed.items())


@pytest.mark.parametrize(
    ("docstring", "left_out"),
    [
        ("RGB ``(B, 3, H, W)`` uint8.", []),
        ("``(H, W)`` uint16.", ["range or colour order"]),
        ("RGB, fp32 in [0, 1].", ["shape"]),
        ("Makes it larger.", ["shape", "dtype", "range or colour order"]),
        ("See ``other``.", []),
    ],
)
def test_the_check_finds_what_is_left_out(docstring: str, left_out: list[str]) -> None:
    source = (
        f'def upscale(lr: Tensor) -> Tensor:\n    """{docstring}"""\n\ndef _hidden(a: Tensor) -> None: ...'
    )
    (function,) = public_functions(source, "a.py")
    assert missing(function, {"other": "RGB ``(H, W, 3)`` uint8."}) == left_out
