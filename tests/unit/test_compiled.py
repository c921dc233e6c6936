"""What setup.py names to be compiled can be: mypyc leaves out some of what Python does."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUSPENDS = (ast.Yield, ast.YieldFrom)
WORDS_OF_C = {"__thread", "__asm", "__attribute", "__const", "__extension", "__inline", "__label", "__restrict",
              "__signed", "__typeof", "__volatile", "_Atomic", "_Bool", "_Complex", "_Generic"}  # fmt: skip
ENDS = (ast.Try, ast.With)  # what they do at the end, a compiled generator that is let go does not do


def compiled() -> dict[Path, ast.Module]:
    """Return the files that setup.py names, parsed."""
    statements = ast.parse((ROOT / "setup.py").read_text()).body
    names = next(
        ast.literal_eval(statement.value)
        for statement in statements
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "COMPILED"
    )
    paths = [ROOT / "src/detektr" / folder / f"{name}.py" for folder, each in names.items() for name in each]
    return {path: ast.parse(path.read_text()) for path in paths}


def test_no_generator_that_is_compiled_has_something_to_do_at_its_end() -> None:
    suspended = [
        f"{path.name}:{inner.lineno}"
        for path, module in compiled().items()
        for outer in ast.walk(module)
        if isinstance(outer, ENDS)
        for inner in ast.walk(outer)
        if isinstance(inner, SUSPENDS)
    ]
    assert suspended == []


def test_no_class_that_is_compiled_is_a_thread() -> None:
    threads = [
        f"{path.name}:{each.lineno}"
        for path, module in compiled().items()
        for each in ast.walk(module)
        if isinstance(each, ast.ClassDef) and any("Thread" in ast.unparse(base) for base in each.bases)
    ]
    assert threads == [], "the garbage collector falls over it"


def test_fields_that_are_compiled_have_types_that_are_there_when_they_run() -> None:
    missing = [
        f"{path.name}:{field.lineno}: {ast.unparse(field.annotation)}"
        for path, module in compiled().items()
        for each in ast.walk(module)
        if isinstance(each, ast.ClassDef)
        for field in each.body
        if isinstance(field, ast.AnnAssign)
        and {inner.id for inner in ast.walk(field.annotation) if isinstance(inner, ast.Name)} & only_checked(module)
    ]
    assert missing == [], "the class looks its fields' types up"


def test_no_attribute_that_is_compiled_becomes_a_word_of_c() -> None:
    """Nothing at all is compiled where a field's name, which mypyc puts `_` before, is a keyword."""
    taken = [
        f"{path.name}:{each.lineno}: {each.attr}"
        for path, module in compiled().items()
        for each in ast.walk(module)
        if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store) and f"_{each.attr}" in WORDS_OF_C
    ]
    assert taken == []


def only_checked(module: ast.Module) -> set[str]:
    """Return the names that only who checks types imports."""
    return {
        name.asname or name.name
        for statement in module.body
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"
        for imported in statement.body
        if isinstance(imported, ast.Import | ast.ImportFrom)
        for name in imported.names
    }


def test_what_is_written_in_c_goes_with_the_sources() -> None:
    """What builds from an archive finds nothing that MANIFEST.in does not name: nothing at all would be compiled."""
    written = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "src").rglob("*.c"))
    assert written == ["src/detektr/memory/streaming.c", "src/detektr/scaling/kernel.c"]
    assert all(f'"{path}"' in (ROOT / "setup.py").read_text() for path in written)
    assert "recursive-include src *.c" in (ROOT / "MANIFEST.in").read_text().splitlines()
