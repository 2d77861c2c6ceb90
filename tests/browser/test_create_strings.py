"""Everything that may be found in footage has words in both languages."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OF_CREATE = ("checks", "choose_matte", "create", "survey")
"""Modules of engine/anchor whose findings a job may tell."""


def codes(tree: ast.Module) -> Iterator[str]:
    """What is given as the `code` of a Finding, directly or through a function of that module."""
    takers = {
        node.name: [argument.arg for argument in node.args.args].index("code")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and "code" in [argument.arg for argument in node.args.args]
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            place = 0 if node.func.id == "Finding" else takers.get(node.func.id)
            if place is not None and len(node.args) > place:
                given = node.args[place]
                if isinstance(given, ast.Constant):
                    yield str(given.value)


def found() -> set[str]:
    folder = ROOT / "engine" / "anchor"
    return {code for name in OF_CREATE for code in codes(ast.parse((folder / f"{name}.py").read_text()))}


def test_codes_are_found() -> None:
    assert {"face-small", "no-sound", "unreadable", "no-loop", "two-faces", "no-matte"} <= found()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_finding_has_words(language: str) -> None:
    text = (ROOT / "web_client" / "strings" / f"{language}.js").read_text()
    assert found() - set(re.findall(r'"finding\.([a-z-]+)":', text)) == set()
