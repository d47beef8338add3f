"""The five hops of docs/design.md, from command to cell of the table, are those of the code."""

import ast
import importlib
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
STOP = r"`(repro/[\w/]+\.py)` `(\w+)`"
HOP = re.compile(rf"^\| (\d) \| {STOP} \| {STOP} \|")


def module_of(path: str) -> Any:
    return importlib.import_module(path.removesuffix(".py").replace("/", "."))


def imported(tree: ast.Module) -> dict[str, Any]:
    """What the names that a file imports, anywhere in it, stand for."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("repro"):
            for alias in node.names:
                module = importlib.import_module(str(node.module))
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
                found[alias.asname or alias.name] = getattr(module, alias.name)
    return found


def used(path: str, function: str) -> list[Any]:
    """What a function refers to by name, through the other functions of its file, too."""
    tree = ast.parse((ROOT / path).read_text())
    names = imported(tree)
    own = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    assert function in own, f"{path} has no {function}"
    waiting, seen, found = [function], set[str](), []
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for node in ast.walk(own[name]):
            if isinstance(node, ast.Name):
                waiting += [node.id] if node.id in own else []
                found += [names[node.id]] if node.id in names else []
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                found.append(getattr(names.get(node.value.id), node.attr, None))
    return found


def test_each_function_of_the_five_hops_calls_the_next() -> None:
    lines = (ROOT / "docs" / "design.md").read_text().splitlines()
    hops = [found.groups() for line in lines if (found := HOP.match(line))]
    assert [number for number, *_ in hops] == ["1", "2", "3", "4", "5"]
    assert hops[0][1:3] == ("repro/cli/run.py", "reproduce")
    for number, path, function, next_path, next_function in hops:
        following = getattr(module_of(next_path), next_function)
        assert any(thing is following for thing in used(path, function)), f"hop {number}"
    ends = [hop[1:3] for hop in hops[1:4]]
    assert ends == [hop[3:] for hop in hops[:3]], "a hop starts where the one before it ended"
    table = getattr(module_of(hops[4][1]), hops[4][2])
    assert any(thing is table for thing in used(*hops[0][1:3])), "reproduce builds the table"
    assert not any(thing is table for thing in used("repro/cli/run.py", "train"))  # it can fail
    assert hops[4][3:] == ("repro/analysis/table/cell.py", "Cell")
