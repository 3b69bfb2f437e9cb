"""What imports what: no circles, and no room that knows of one above it."""

import ast
from functools import cache
from pathlib import Path

import pytest


SOURCES = Path(__file__).resolve().parents[1] / "src"
PACKAGE = "transformers_moss_tts"
MODELS = ("moss_tts", "moss_tts_delay", "moss_tts_local", "moss_tts_nano", "moss_tts_realtime", "moss_audio_tokenizer")
# Rooms and modules of the package that each one may import, beside itself. What is not listed may import everything but the
# command, which nothing imports.
ALLOWED = {
    "utils": set(),
    "modules": {"utils", "compatibility"},
    "compatibility": set(),
    "bundled_models": set(),
    "audio_io": {"utils"},
    **{
        room: {*MODELS, "modules", "loading", "utils", "audio_io", "bundled_models", "compatibility"}
        for room in MODELS
    },
    "loading": {*MODELS, "utils", "bundled_models", "compatibility"},
    "evaluation": {PACKAGE, "audio_io", "utils", "loading", "bundled_models", "speech"},
    "training": {PACKAGE, *MODELS, "audio_io", "utils", "loading", "compatibility"},
    "hub": {PACKAGE, "moss_audio_tokenizer", "loading", "utils"},
    "speech": {PACKAGE, *MODELS, "audio_io", "utils", "evaluation"},
    "batch": {PACKAGE, "speech", "training", *MODELS, "audio_io", "utils", "loading", "bundled_models"},
    "serving": {PACKAGE, "speech", *MODELS, "audio_io", "utils", "loading", "bundled_models"},
}


@cache
def modules() -> dict[str, Path]:
    """Files of the modules of the package, by their dotted names."""
    files = {}
    for path in sorted((SOURCES / PACKAGE).rglob("*.py")):
        # Repositories carry this module, which imports the package.
        if path.name == "moss_tts_plugin.py":
            continue
        parts = path.relative_to(SOURCES).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


@cache
def imports() -> dict[str, set[tuple[str, str | None]]]:
    """Modules of the package that each module imports, at its top or in a function, with the imported names."""
    return {name: set(_imports(name, path)) for name, path in modules().items()}


def _imports(module: str, path: Path):
    for node in _executed(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names if alias.name in modules())
        if not isinstance(node, ast.ImportFrom):
            continue
        parts = module.split(".") + ([""] if path.name == "__init__.py" else [])
        parents = parts[: -node.level] if node.level else []
        source = ".".join([*parents, *([node.module] if node.module else [])])
        for alias in node.names:
            if f"{source}.{alias.name}" in modules():
                yield f"{source}.{alias.name}", None
            elif source in modules():
                yield source, alias.name


def _executed(node: ast.AST):
    """All nodes but those that only type checkers see."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _executed(child)


def room(module: str) -> str:
    """The folder or module below the package that a module belongs to; the package itself for its `__init__`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else PACKAGE


def find_circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of a circle, or none."""
    done, path = set(), []

    def visit(module: str) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        path.append(module)
        for other in sorted(graph[module]):
            if circle := visit(other):
                return circle
        path.pop()
        done.add(module)
        return []

    return next((circle for module in graph if (circle := visit(module))), [])


def test_the_imports_have_no_circle():
    # A test of the search itself: two modules that import each other below a third.
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    graph = {module: {other for other, _ in found} - {module} for module, found in imports().items()}
    assert len(graph) > 60 and sum(map(len, graph.values())) > 150
    assert find_circle(graph) == []


def test_rooms_know_only_what_lies_below_them():
    wrong = []
    for module, found in imports().items():
        here = room(module)
        for other, _ in found:
            there = room(other)
            allowed = there in ALLOWED[here] if here in ALLOWED else there != "cli"
            if here != there and not allowed:
                wrong.append(f"{module} imports {other}")
    assert wrong == []


@pytest.mark.parametrize("user", ["evaluation", "cli"])
def test_private_names_stay_where_they_are(user):
    """Evaluation and command use names that a module lists in its `__all__`."""
    private = []
    for module, found in imports().items():
        for other, name in found:
            if room(module) == user and room(other) != user and name not in public_names(other):
                private.append(f"{module} imports {name} of {other}")
    assert private == []


@cache
def public_names(module: str) -> set[str | None]:
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    lists = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "__all__"
    ]
    return {None, *(name for value in lists for name in ast.literal_eval(value))}
