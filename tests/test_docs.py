"""README and the manual: what they show is run, and what they name exists."""

import doctest
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from repro.cli.main import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TINY = (
    "smoke,n_test_episode=4,n_validation_episode=2,n_grid_episode=2,validate_every=2,pretrain=2,"
    "matching_net=2,meta_lstm_5shot=2"
)
SLOW_PAGES = ("shapes", "clusters")
_BLOCK = re.compile(r"(<!-- tested -->\n)?^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    """The script that writes the tables."""
    spec = importlib.util.spec_from_file_location("docs_tables", ROOT / "scripts/docs_tables.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(page: Path, language: str, tested: bool = False) -> Iterator[str]:
    """Code of a language, without comments of a shell; only what a test is to run, if told."""
    for mark, named, code in _BLOCK.findall(page.read_text()):
        if named == language and (mark or not tested):
            yield code


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command line that calls repro."""
    yield from (words[1:] for words in lines(text) if words[0] == "repro")


def lines(text: str) -> Iterator[list[str]]:
    """The words of each command line."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r" && ", line):
            words = shlex.split(part, comments=True)
            if words:
                yield words


def shown_commands() -> Iterator[tuple[str, list[str]]]:
    for page in PAGES:
        inline = re.findall(r"(?<!`)`(repro [^`\n]+)`(?!`)", page.read_text())
        for text in (*blocks(page, "bash"), *inline):
            for words in commands(text):
                if words and "…" not in words and words[0].islower():
                    yield page.name, words


def unknown_option(words: list[str]) -> str | None:
    """The first command or option that does not exist."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words:
        if words[0].startswith("-") or words[0] not in command.commands:
            break
        command, words = command.commands[words[0]], words[1:]
    if isinstance(command, click.Group) and words and not words[0].startswith("-"):
        return words[0]
    known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    known |= {"--help", "-h", "--version"}
    return next((w for w in words if w.startswith("-") and w.split("=")[0] not in known), None)


def test_every_command_and_option_shown_exists() -> None:
    found = list(shown_commands())
    assert len(found) > 50
    assert unknown_option(["table", "--wrong"]) == "--wrong"
    assert unknown_option(["tables"]) == "tables"
    wrong = [(page, words, unknown_option(words)) for page, words in found if unknown_option(words)]
    assert not wrong


def smaller(words: list[str]) -> list[str]:
    """A command that trains and tests less than its budget says, and records of that budget."""
    if words[0] == "import" or words[:2] == ["episodes", "export"]:
        return ["smoke,n_test_episode=4" if word == "smoke" else word for word in words]
    if words[0] != "reproduce":
        return [word for word in words if word not in ("--budget", "smoke")]
    tiny = TINY + (",class_means=2" if "class_means" in "".join(words) else "")
    fields = [tiny + w.removeprefix("smoke") if w.startswith("smoke") else w for w in words]
    return [*fields, "--jobs", "1"]


def a_folder_of_classes(root: Path) -> None:
    """Twenty-five classes of 20 grey images, enough for the default split."""
    for place in range(25):
        (root / f"bird {place:02}").mkdir(parents=True)
        for i in range(20):
            image = Image.new("L", (28, 28), 9 * place + i % 9)
            image.save(root / f"bird {place:02}" / f"{i}.png")


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(p, id=p.name, marks=[pytest.mark.slow] if p.stem in SLOW_PAGES else [])
        for p in PAGES
        if any(blocks(p, "bash", tested=True))
    ],
)
def test_the_commands_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, in one folder that holds nothing but the examples, with less to train and test.

    Where a page asks for a folder ``birds`` of the reader's own, there is one.
    """
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    if "birds" in "".join(blocks(page, "bash", tested=True)):
        a_folder_of_classes(tmp_path / "birds")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    for program, *words in (w for code in blocks(page, "bash", tested=True) for w in lines(code)):
        if program == "python":
            subprocess.run([sys.executable, *words], check=True)
            continue
        assert program == "repro"
        done = CliRunner().invoke(cli, smaller(words))
        assert done.exit_code == 0, f"repro {shlex.join(words)}: {done.output}"
    sys.modules.pop("class_means", None)


def test_every_example_of_python_is_doctested_or_a_file_of_the_examples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The examples of a page go on from one another."""
    monkeypatch.chdir(ROOT)
    files = {path.read_text() for path in (ROOT / "examples").rglob("*.py")}
    for page in PAGES:
        shown = "".join(code for code in blocks(page, "python") if ">>>" in code)
        parsed = doctest.DocTestParser().get_doctest(shown, {}, page.name, str(page), 0)
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
        assert runner.run(parsed).failed == 0, page.name
        for code in blocks(page, "python"):
            assert ">>>" in code or code in files, f"{page.name}: {code.splitlines()[0]}"


def test_every_link_leads_to_a_file_or_heading() -> None:
    missing = []
    for page in (*PAGES, ROOT / "results/README.md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", page.read_text())):
            path, _, _ = target.partition("#")
            if "://" not in target and path and not (page.parent / path).exists():
                missing.append((page.name, target))
    assert not missing


def test_every_test_and_module_named_in_the_manual_exists() -> None:
    for page in PAGES:
        named = re.findall(r"\b(?:tests|repro|scripts|examples)/[\w./-]*\w", page.read_text())
        missing = [name for name in named if not (ROOT / name).exists()]
        assert not missing, page.name


def test_every_message_in_the_index_is_one_of_the_programs() -> None:
    """The messages are compared without line breaks of the source and without what is filled in."""
    sources = "".join(path.read_text() for path in sorted((ROOT / "repro").rglob("*.py")))
    joined = re.sub(r'"\s*\n\s*f?"', "", sources)
    tables = [
        (page.name, table.split("\n\n")[0])
        for page in PAGES
        for table in page.read_text().split("| message contains | what to do |")[1:]
    ]
    listed = [
        (name, text)
        for name, table in tables
        for text in re.findall(r"^\| `([^`]+)` \| ", table, re.MULTILINE)
    ]
    assert len(listed) > 30
    assert {"errors.md", "shapes.md"} <= {name for name, _ in listed}
    assert not [(name, text) for name, text in listed if text not in joined]


def test_every_switch_and_budget_field_has_its_line(tables: ModuleType) -> None:
    text = (ROOT / "docs/recipes.md").read_text()
    assert tables.switches() in text
    assert tables.budgets() in text


def test_every_head_has_its_line(tables: ModuleType) -> None:
    assert tables.heads() in (ROOT / "docs/features.md").read_text()


def test_the_tables_are_those_of_the_published_records(
    tables: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for page in (ROOT / "README.md", ROOT / "docs/results.md", ROOT / "results/README.md"):
        text = page.read_text()
        assert "<!-- repro " in text
        assert tables.renewed(text) == text, "run scripts/docs_tables.py"
