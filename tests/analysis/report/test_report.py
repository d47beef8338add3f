"""The report shows the table's numbers, escapes everything, and stands alone."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats as reference

from repro.analysis import style, text
from repro.analysis.report import differences_section as report_differences
from repro.analysis.report import page as report
from repro.analysis.selection import Selection
from repro.analysis.statistics.intervals import Interval
from repro.cli.main import cli
from repro.data.pack import ImageSplit
from repro.records import Record
from repro.system.errors import RecordError
from tests.analysis.analysis_doubles import full_set, with_predictions

RESULTS = Path(__file__).parents[3] / "results"
VOID = {"meta", "link", "img", "input"}


class Reader(HTMLParser):
    """Balanced tags, attributes, and the text of each table cell by its data attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: dict[tuple[str, str], str] = {}
        self._cell, self._field = "", ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag not in VOID:
            self.open.append(tag)
        self._cell = found.get("data-cell") or self._cell
        self._field = found.get("data-field") or ""
        if self._field:
            self.cells[self._cell, self._field] = ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._field and self.open[-1] == "td":
            self.cells[self._cell, self._field] += data.replace("\u00a0", " ").strip()


def shown(cell: dict[str, object], field: str) -> str:
    """What the page should say, from the JSON of the table alone."""
    mean, half = cell[f"{field}_mean"], cell[f"{field}_half_width"]
    if mean is None:
        return "not run" if field == "measured" else ""
    sign = "+" if field == "difference" else ""
    return f"{100 * float(mean):{sign}.2f} ± {100 * float(half):.2f}"  # type: ignore[arg-type]


def assert_numbers_are_the_tables(page: str, listed: list[dict[str, object]]) -> None:
    cells = Reader(page).cells
    for cell in listed:
        name = f"{cell['method']}-{cell['k_shot']}"
        for field in ("reported", "measured", "difference"):
            assert cells[name, field] == shown(cell, field), (name, field)
        assert cells[name, "verdict"].partition(" (")[0] == cell["verdict"]
        assert ("holds while" in cells[name, "verdict"]) == (cell["holds_to_seed_sd"] is not None)
        steps = "" if cell["n_step"] is None else f"{cell['n_step']:,}"
        assert cells[name, "n_step"] == steps
        n_seed = "" if cell["measured_mean"] is None else str(len(cell["seeds"]))  # type: ignore[arg-type]
        assert cells[name, "n_seed"] == n_seed


@pytest.mark.parametrize(
    "dataset", ["mini-imagenet", pytest.param("glyphs", marks=pytest.mark.slow)]
)
def test_the_page_of_the_published_records_says_what_the_table_says(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(RESULTS.parent)
    target = tmp_path / "report.html"
    words = ["--dataset", dataset, "--from", "results"]
    made = CliRunner().invoke(cli, ["report", *words, "--no-images", "--output", str(target)])
    assert made.exit_code == 0, made.output
    table = CliRunner().invoke(cli, ["table", *words, "--format", "json"])
    page = target.read_text()
    assert_numbers_are_the_tables(page, json.loads(table.output))
    assert len(page.encode()) < report.MAX_BYTES
    assert "cannot be drawn again" not in page
    first = page
    CliRunner().invoke(cli, ["report", *words, "--no-images", "--output", str(target)])
    assert target.read_text() == first


def test_it_names_everything_for_screen_readers_and_asks_for_nothing(tmp_path: Path) -> None:
    records = full_set(tmp_path)
    page = report.render(records, "mini-imagenet")
    tags = Reader(page).tags
    for tag, attributes in tags:
        for name in ("src", "href", "action", "srcset", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, value)
        if tag == "svg":
            assert attributes["role"] == "img" and len(attributes["aria-label"] or "") > 20
        if tag == "img":
            assert attributes["alt"]
        if tag == "th":
            assert attributes["scope"] in ("col", "row", "rowgroup")
    names = [tag for tag, _ in tags]
    assert names.count("caption") == names.count("table") > 2
    assert not re.findall(r"url\((?!#)", page) and "@import" not in page
    assert "<metadata" not in page
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in tags:
        for name in ("href", "xlink:href"):
            if (attributes.get(name) or "").startswith("#"):
                assert (attributes[name] or "")[1:] in ids
        for used in re.findall(r"url\(#(.*?)\)", attributes.get("clip-path") or ""):
            assert used in ids


def test_all_text_from_records_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'&"
    records = [
        dataclasses.replace(r, command=evil, device=evil, commit=evil, versions={evil: evil})
        for r in full_set(tmp_path)
    ]
    page = report.render(records, "mini-imagenet")
    assert evil not in page
    assert page.count("<script") == 1
    assert "&lt;script&gt;alert(1)" in page
    with style.applied():
        fig = style.new_figure(2, 2)
        fig.subplots().set_title(evil)
        picture = style.inline(fig, evil)
    Reader(picture)
    assert evil not in picture and "<script" not in picture
    assert picture.count("&lt;script&gt;alert(1)") == 2


def blocks(values: np.ndarray) -> np.ndarray:
    """Means of four consecutive episodes, which share out the twenty classes."""
    return np.asarray(values).reshape(-1, 4).mean(1)


def test_differences_are_row_minus_column_by_scipys_t_over_blocks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    records = [
        dataclasses.replace(r, accuracy=(r.accuracy + rng.normal(0, 0.1, 600)).clip(0, 1))
        for r in full_set(tmp_path)
    ]
    found = report_differences.matrices(records)
    tests = {}
    for matrix in found:
        of = {r.method: blocks(r.accuracy) for r in records if r.k_shot == matrix.k_shot}
        for row, fields in matrix.rows:
            for column, field in zip(matrix.methods, fields, strict=True):
                if row == column:
                    continue
                test = reference.ttest_rel(of[row], of[column])
                low, high = test.confidence_interval(0.95)
                interval = Interval((low + high) / 2, (high - low) / 2)
                expected = text.percent_interval(interval, signed=True)
                assert field.text.replace("\u00a0", " ") == expected
                tests[matrix.k_shot, row, column] = (test.pvalue, field.clear)
    # Holm by its definition, over the pairs of both matrices; each stands twice.
    clear, n = True, len(tests) // 2
    for rank, (p_value, bold) in enumerate(sorted(tests.values())[::2]):
        clear = clear and (n - rank) * p_value < 0.05
        assert bold == clear
    assert {bold for _, bold in tests.values()} == {True, False}
    assert [len(matrix.pairs) for matrix in found] == [10, 10]


def test_records_of_other_episodes_or_images_are_not_compared(tmp_path: Path) -> None:
    for name in ("episodes", "data"):
        records = full_set(tmp_path)
        records[0].digests[name] = "0" * 64
        (matrix, _) = report_differences.matrices(records)
        assert {field.text for field in matrix.rows[0][1][1:]} == {"other episodes"}
        assert len(matrix.pairs) == 6


def test_hardest_and_easiest_are_the_extremes_of_the_mean_over_methods(tmp_path: Path) -> None:
    made = [with_predictions(tmp_path / m, method=m) for m in ("finetune", "meta_lstm")]
    mean = (made[0].accuracy + made[1].accuracy) / 2
    found = report.sections.extremes(made, None)
    hardest = [mean[item.index] for item in found if item.kind == "hardest"]
    easiest = [mean[item.index] for item in found if item.kind == "easiest"]
    assert hardest == sorted(mean)[:4]
    assert easiest == sorted(mean)[::-1][:4]
    assert all(len(item.classes.split(", ")) == 5 and not item.image for item in found)


def split_of(records: list[Record], n_class: int = 20) -> ImageSplit:
    digest = records[0].digests["data"]
    rows = tuple((600 * i, 600) for i in range(n_class))
    images = np.random.default_rng(0).integers(0, 255, (600 * n_class, 8, 8, 3), np.uint8)
    return ImageSplit("glyphs", "test", images, ("c",) * n_class, rows, digest)


def test_pictures_are_embedded_only_when_given_and_of_the_same_images(tmp_path: Path) -> None:
    records = [with_predictions(tmp_path, dataset="glyphs")]
    assert "data:image/jpeg" not in report.render(records, "glyphs")
    split = split_of(records)
    page = report.render(records, "glyphs", split)
    assert page.count("data:image/jpeg") == 8
    with pytest.raises(RecordError, match="--no-images"):
        report.render(records, "glyphs", dataclasses.replace(split, digest="0" * 64))


def test_a_lone_record_and_missing_files_still_make_a_page(tmp_path: Path) -> None:
    page = report.render([with_predictions(tmp_path / "a")], "mini-imagenet")
    assert "1 of the 10 cells" in page
    assert 'id="gate-control"' not in page and 'class="matrix"' not in page
    (tmp_path / "a" / "predictions.npy").unlink()
    made = dataclasses.replace(with_predictions(tmp_path / "b"), path=tmp_path / "a")
    assert "predictions.npy is missing" in report.render([made], "mini-imagenet")
    with pytest.raises(RecordError, match="no record"):
        report.render([], "mini-imagenet")


def test_a_page_that_grows_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MAX_BYTES", 10_000)
    with pytest.raises(RecordError, match="--no-images"):
        report.render(full_set(tmp_path), "mini-imagenet")


def test_images_of_imagenet_never_go_into_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(RESULTS.parent)
    target = RESULTS / "mini-imagenet" / "report.html"
    words = ["report", "--dataset", "mini-imagenet", "--from", "results", "--images"]
    result = CliRunner().invoke(cli, [*words, "--output", str(target)])
    assert result.exit_code == 2
    assert "never be committed" in result.output
    assert not target.exists()


def test_a_page_that_could_be_committed_does_not_depend_on_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = with_predictions(tmp_path / "a", dataset="glyphs")
    (tmp_path / "cache" / "packs" / "glyphs-0").mkdir(parents=True)
    (tmp_path / "cache" / "packs" / "glyphs-0" / "pack.json").touch()
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("repro.data.preparing.load_split", lambda *_: split_of([made]))
    monkeypatch.setattr(
        "repro.cli.report.chosen_records", lambda *_, **__: (Selection((made,)), "results")
    )
    subprocess.run(["git", "init", "-q", str(tmp_path / "repository")], check=True)
    for folder, n_picture in (("repository", 0), ("elsewhere", 8)):
        target = tmp_path / folder / "report.html"
        result = CliRunner().invoke(cli, ["report", "--output", str(target)])
        assert result.exit_code == 0, result.output
        assert target.read_text().count("data:image/jpeg") == n_picture


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_a_contrast_of_at_least_4_5_in_light_dark_and_print() -> None:
    css = (Path(report.__file__).parent / "report.css").read_text()
    schemes = re.findall(r":root \{(.*?)\}", css, re.S)
    assert len(schemes) == 3
    for scheme in schemes:
        colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{3,6})", scheme))
        colours = {
            name: value if len(value) == 7 else "#" + "".join(2 * c for c in value[1:])
            for name, value in colours.items()
        }
        for ground in ("paper", "panel"):
            for name in ("ink", "muted", "good", "bad"):
                pair = sorted((_luminance(colours[ground]), _luminance(colours[name])))
                assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (scheme[:40], ground, name)
