"""Papers as data: the packs, what a file may say, and a paper of a user's own."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from repro.analysis.table import check, table1
from repro.cli.main import cli
from repro.papers import paper, recipes, shelf
from repro.papers.catalogue import BUILT_IN
from repro.papers.config import RECIPES
from repro.papers.disagreements import disagreements
from repro.papers.pack import Paper, Row
from repro.papers.reading import read
from repro.system.errors import UsageError
from tests.analysis.analysis_doubles import record, spread

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "repro/analysis/table/table.schema.json"
EXAMPLE = ROOT / "examples/own-paper/paper.toml"


def printed(key: str, table: str) -> dict[str, list[str]]:
    """The numbers of a table as the publication prints them, by the row's title."""
    found: dict[str, list[str]] = {}
    (shown,) = shelf.find(f"{key}:{table}").tables
    for row in shown.rows:
        cells = [shown.reported(row, k_shot) for k_shot in row.shots]
        found[row.title] = [
            f"{100 * cell.mean:.2f} ± {100 * cell.half_width:.2f}" for cell in cells if cell
        ]
    return found


def test_the_tables_of_the_packs_are_those_of_the_publications() -> None:
    assert printed("ravi2017", "mini-imagenet") == {
        "Baseline-finetune": ["28.86 ± 0.54", "49.79 ± 0.79"],
        "Baseline-nearest-neighbor": ["41.08 ± 0.70", "51.04 ± 0.65"],
        "Matching Network": ["43.40 ± 0.78", "51.09 ± 0.71"],
        "Matching Network FCE": ["43.56 ± 0.84", "55.31 ± 0.73"],
        "Meta-Learner LSTM": ["43.44 ± 0.77", "60.60 ± 0.71"],
    }
    assert printed("snell2017", "mini-imagenet") == {
        "Baseline Nearest Neighbors": ["28.86 ± 0.54", "49.79 ± 0.79"],
        "Matching Networks": ["43.40 ± 0.78", "51.09 ± 0.71"],
        "Matching Networks FCE": ["43.56 ± 0.84", "55.31 ± 0.73"],
        "Meta-Learner LSTM": ["43.44 ± 0.77", "60.60 ± 0.71"],
        "Prototypical Networks": ["49.42 ± 0.78", "68.20 ± 0.66"],
    }
    assert printed("finn2017", "mini-imagenet") == {
        "fine-tuning baseline": ["28.86 ± 0.54", "49.79 ± 0.79"],
        "nearest neighbor baseline": ["41.08 ± 0.70", "51.04 ± 0.65"],
        "matching nets": ["43.56 ± 0.84", "55.31 ± 0.73"],
        "meta-learner LSTM": ["43.44 ± 0.77", "60.60 ± 0.71"],
        "MAML, first order approx.": ["48.07 ± 1.75", "63.15 ± 0.91"],
        "MAML": ["48.70 ± 1.84", "63.11 ± 0.92"],
    }
    assert printed("chen2019", "mini-imagenet") == {
        "Baseline": ["42.11 ± 0.71", "62.53 ± 0.69"],
        "Baseline++": ["48.24 ± 0.75", "66.43 ± 0.63"],
        "MatchingNet": ["48.14 ± 0.78", "63.48 ± 0.66"],
        "ProtoNet": ["44.42 ± 0.84", "64.24 ± 0.72"],
        "MAML": ["46.47 ± 0.82", "62.71 ± 0.71"],
        "RelationNet": ["49.31 ± 0.85", "66.60 ± 0.69"],
    }
    assert printed("finn2017", "omniglot-20way")["MAML"] == ["95.80 ± 0.30", "98.90 ± 0.20"]
    assert printed("snell2017", "omniglot")["Prototypical Networks"] == [
        "98.80 ± inf",
        "99.70 ± inf",
    ]


def test_a_printed_number_becomes_the_double_nearest_to_it() -> None:
    """Divided by 100, 28.86 would not always be the 0.2886 that records and digests have."""
    for hundredths in range(100, 10_000):
        as_printed = float(f"{hundredths // 100}.{hundredths % 100:02}")
        cell = Row(title="x", cells={"1-shot": (as_printed, 0.07)}, method="maml").cell(1, "")
        assert cell is not None
        assert (cell.mean, cell.half_width) == (float(f"0.{hundredths:04}"), 0.0007)


def test_copies_in_the_packs_have_the_numbers_they_were_copied_from() -> None:
    n_copy = 0
    for key in ("snell2017", "finn2017"):
        table = shelf.find(key).table("mini-imagenet")
        for row in table.rows:
            if row.copied_from == "Ravi & Larochelle 2017":
                for k_shot in row.shots:
                    cell = table.reported(row, k_shot)
                    original = paper.TABLE_1[str(row.method), k_shot]
                    assert cell is not None
                    assert (cell.mean, cell.half_width) == (original.mean, original.half_width)
                    n_copy += 1
    assert n_copy == 16


def test_every_method_of_the_packs_is_built_in() -> None:
    for key in shelf.BUILT_IN:
        for table in shelf.built_in(key).tables:
            for row in table.rows:
                assert {row.method, row.printed_as, *row.stands_for} - {None} <= set(BUILT_IN)


def broken(tmp_path: Path, old: str, new: str) -> str:
    """What is said of the example with one mistake."""
    text = EXAMPLE.read_text()
    assert old in text
    file = tmp_path / "paper.toml"
    file.write_text(text.replace(old, new, 1))
    done = CliRunner().invoke(cli, ["papers", "check", str(file)])
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output and done.output.count("\n") == 1
    assert str(file) in done.output or "the paper nobody2026" in done.output
    return done.output


CLASS_MEANS = 'method = "class_means"'


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[70.00, 0.90]", "[0.7, 0.009]", "tables[0].rows[1]: 1-shot is 0.7; accuracies are in"),
        (CLASS_MEANS, 'metod = "x"', "unknown field 'metod'; did you mean 'method'?"),
        ("1-shot = [70", "1shot = [70", "'1shot' is not a shot such as '1-shot'"),
        ('why = "its code was never published"', "", "either a method, or why"),
        (CLASS_MEANS, 'method = "nearest_neighbor"', "two rows of Table 3 are nearest_neighbor"),
        ('title = "Class Means Are All You Draw"\n', "", "missing is the field `title`"),
        ("n_way = 5", 'n_way = "five"', "tables[0].n_way: expected is `int`, got `str`"),
        ("n_way = 5", "n_way 5", "is not TOML"),
        ("cells = { 5-shot = [88.8] }", "cells = {}", "tables[0].rows[2]: cells is empty"),
        ("parameters_tested", "parameter_tested", "did you mean 'parameters_tested'?"),
        ("[recipes.best-kept]", "[recipes.port]", "has a recipe port, and so has another"),
        ("[recipes.best-kept]", "[budgets.long]", "give lengths with --budget"),
        ("n_query = 15", 'n_query = 15\nsplit = "\\u001b[2J"', "control character"),
    ],
)
def test_a_mistake_is_told_in_one_sentence_with_its_place(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    assert told in broken(tmp_path, old, new)


def test_facts_of_a_protocol_are_those_that_records_tell(tmp_path: Path) -> None:
    said = broken(tmp_path, CLASS_MEANS, f"{CLASS_MEANS}\nprotocol = {{ train_nway = 5 }}")
    assert "unknown fact of a protocol 'train_nway'; did you mean 'train_n_way'?" in said


def test_an_unknown_paper_or_table_is_told_with_the_near_miss() -> None:
    with pytest.raises(UsageError, match=r"unknown paper 'snel2017'; did you mean 'snell2017'\?"):
        shelf.find("snel2017")
    with pytest.raises(UsageError, match=r"unknown table of finn2017 'omniglots'; did you mean"):
        shelf.find("finn2017:omniglots")
    with pytest.raises(UsageError, match=r"cannot be read \(No such file or directory\)"):
        shelf.find("nowhere/paper.toml")


def test_a_table_is_that_of_the_data_set_or_the_one_named_or_the_first() -> None:
    snell = shelf.find("snell2017")
    assert snell.table("omniglot").key == "omniglot"
    assert snell.table("mini-imagenet@1a2b").key == snell.table("glyphs").key == "mini-imagenet"
    assert shelf.find("snell2017:ways").table("omniglot").key == "ways"


def snell_row(method: str, k_shot: int, mean: float, **config: object) -> table1.Cell:
    settings = {"train_n_way": {1: 30, 5: 20}[k_shot]}
    row = {"row": BUILT_IN[method].describe(), "settings": settings}
    made = record(method, k_shot, accuracy=spread(mean), config={**row, **config})
    table = table1.build([made], "mini-imagenet", of=shelf.find("snell2017").table())
    return next(c for c in table.cells if (c.method, c.k_shot) == (method, k_shot))


def test_a_row_of_another_paper_gets_its_verdict_there() -> None:
    found = snell_row("proto_net_wide", 5, 0.60)
    assert (found.in_paper, found.verdict, found.title) == (True, "lower", "Prototypical Networks")
    five = snell_row("proto_net_wide", 5, 0.60, settings={"train_n_way": 5})
    assert five.reason == "classes of training episodes: 5, published with 20"


def test_a_row_of_ravi_and_larochelle_is_judged_the_same_where_it_was_copied() -> None:
    made = [record("meta_lstm", 5, accuracy=spread(0.55))]
    ours, theirs = (
        next(c for c in table1.build(made, "mini-imagenet", of=of.table()).cells if c.estimate)
        for of in (paper.PACK, shelf.find("snell2017"))
    )
    assert ours.judged == theirs.judged


def test_a_table_of_another_paper_says_what_was_copied_and_what_cannot_be_run() -> None:
    table = table1.build([], "omniglot", of=shelf.find("snell2017").table("omniglot"))
    text = table.format("text")
    assert text.startswith("Table 1, 5-way of Snell et al. 2017, Prototypical Networks on omniglot")
    notes = " ".join(table.notes)
    assert "Neural Statistician (the catalogue does not have it)" in notes
    assert "Matching Networks (Vinyals et al. 2016)" in notes
    for style in ("markdown", "csv", "json", "latex"):
        assert "98.8" in table.format(style) or "0.988" in table.format(style)
    cells = json.loads(table.format("json"))
    assert cells[0]["reported_half_width"] is None
    jsonschema.validate(cells, json.loads(SCHEMA.read_text()))


def test_a_table_of_another_paper_says_what_the_missing_cells_cost() -> None:
    made = [record("meta_lstm", k, accuracy=spread(0.5)) for k in (1, 5)]
    (told,) = (
        note
        for note in table1.build(made, "mini-imagenet", of=shelf.find("snell2017").table()).notes
        if note.startswith("Not run; at the paper's length, in hours of one thread: ")
    )
    assert "Prototypical Networks (about 9 h at 1-shot, 8 h at 5-shot)" in told
    assert "LSTM" not in told


def test_a_row_without_a_method_is_never_taken_for_a_method_of_its_title(tmp_path: Path) -> None:
    file = tmp_path / "paper.toml"
    file.write_text(EXAMPLE.read_text().replace("Class means, learned metric", "MAML"))
    of = read(file).table()
    made = record("maml", 5, accuracy=spread(0.5), config={"row": BUILT_IN["maml"].describe()})
    cells = table1.build([made], "glyphs", of=of).cells
    assert [c.in_paper for c in cells if c.method == "maml" and c.estimate] == [False]
    assert [c.verdict for c in cells if c.method == "row-maml" and c.reported] == ["not run"]


def test_a_data_set_that_nobody_has_is_noted(tmp_path: Path) -> None:
    file = tmp_path / "paper.toml"
    file.write_text(EXAMPLE.read_text().replace('dataset = "glyphs"', 'dataset = "glyfs"'))
    done = CliRunner().invoke(cli, ["papers", "check", str(file)])
    assert done.exit_code == 0
    told = (
        "note: glyphs: the data set glyfs is neither built in nor installed; did you mean 'glyphs'"
    )
    assert told in done.output


def test_a_number_without_an_interval_gets_no_verdict() -> None:
    made = [record("matching_net", 5, accuracy=spread(0.98))]
    of = shelf.find("snell2017").table("omniglot")
    found = next(c for c in table1.build(made, "omniglot", of=of).cells if c.estimate)
    assert found.verdict == "not comparable"
    assert "published without an interval" in found.reason and "rotations" in found.reason
    lines, failures = check.reported(made, "omniglot", of=of)
    assert any("not comparable" in line for line in lines)
    assert "Matching Networks 5-shot is not comparable" in failures


def test_papers_that_print_a_cell_differently_are_side_by_side() -> None:
    found = {
        (d.method, d.k_shot): [f"{100 * p.reported.mean:.2f}" for p in d.printed]
        for d in disagreements(map(shelf.built_in, shelf.BUILT_IN))
        if d.dataset == "mini-imagenet"
    }
    assert found["matching_net", 5] == ["51.09", "51.09", "55.31", "63.48"]
    assert found["nearest_neighbor", 1] == ["41.08", "28.86", "41.08"]
    assert found["proto_net", 1] == ["46.61", "46.14", "44.42"]
    assert found["proto_net", 5] == ["65.77", "65.77", "64.24"]
    assert found["row-baseline-plus-plus", 5] == ["66.43", "65.18"]
    assert ("maml", 1) not in found
    said = CliRunner().invoke(cli, ["papers", "disagree", "--dataset", "mini-imagenet"]).output
    assert (
        "28.86 ± 0.54  Snell et al. 2017, Prototypical Networks, Table 2: Baseline Nearest" in said
    )
    assert "erratum of Snell et al. 2017" in said
    assert "\nBaseline++, 5-shot (mini-imagenet, 5-way)\n" in said
    listed = CliRunner().invoke(cli, ["papers", "disagree", "--format", "json"]).output
    assert {one["method"] for one in json.loads(listed)} >= {"matching_net", "nearest_neighbor"}


def test_a_paper_of_ones_own_disagrees_too(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(EXAMPLE.read_text().replace('dataset = "glyphs"', 'dataset = "mini-imagenet"'))
    said = CliRunner().invoke(cli, ["papers", "disagree", "--paper", str(file)]).output
    assert "71.50 ± 0.80  Nobody & Noone 2026, Table 3: Nearest neighbour" in said


def test_list_names_every_paper_and_table() -> None:
    said = CliRunner().invoke(cli, ["papers"]).output
    for key in ("ravi2017:mini-imagenet", "snell2017:omniglot-20way", "finn2017:omniglot"):
        assert f"  {key}: " in said


def test_a_paper_of_a_package_is_found_by_its_name_and_runs_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my_papers" / "nobody2026"
    folder.mkdir(parents=True)
    (tmp_path / "my_papers" / "__init__.py").write_text("raise SystemExit('was run')\n")
    (folder / "paper.toml").write_text(EXAMPLE.read_text())
    dist = tmp_path / "my_papers-1.0.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: my-papers\nVersion: 1.0\n")
    entry = "[repro.papers]\nnobody2026 = my_papers.nobody2026\nother2026 = my_papers.nobody2026\n"
    (dist / "entry_points.txt").write_text(entry + "gone2026 = no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert shelf.find("nobody2026") == read(EXAMPLE)
    with pytest.raises(UsageError, match="give both the same"):
        shelf.find("other2026")
    with pytest.raises(UsageError, match="is in no package that is here"):
        shelf.find("gone2026")
    done = CliRunner().invoke(cli, ["papers"])
    assert done.exit_code == 0 and "nobody2026: Nobody & Noone" in done.output


def test_a_recipe_of_a_paper_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(RECIPES):
        monkeypatch.setitem(RECIPES, name, RECIPES[name])
    recipes.add(read(EXAMPLE))
    try:
        assert recipes.recipe("best-kept").parameters_tested == "best"
        assert recipes.recipe("best-kept").name == "best-kept"
    finally:
        del RECIPES["best-kept"]


def test_the_example_is_what_the_manual_shows() -> None:
    page = (ROOT / "docs/papers.md").read_text()
    assert f"```toml\n{EXAMPLE.read_text()}```" in page
    for kind in ("Paper", "Table", "Row"):
        fields = getattr(__import__("repro.papers.pack", fromlist=[kind]), kind).__struct_fields__
        for field in set(fields) - {"source", "budgets", "settings"}:
            assert re.search(rf"`{field}`", page), field


def test_a_paper_is_frozen() -> None:
    found: Paper = shelf.find()
    with pytest.raises(AttributeError):
        found.title = "another"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        found.tables[0].rows[0].method = "maml"  # type: ignore[misc]
