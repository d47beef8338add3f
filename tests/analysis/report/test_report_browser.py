"""The report in a real browser: no errors, no requests, a control that works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from repro.analysis import text
from repro.analysis.report import page as report
from repro.analysis.table import table1
from tests.analysis.analysis_doubles import full_set, with_predictions
from tests.analysis.report.browser import CHROMIUM, Page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here"),
]
SHOWN = (
    "Array.from(document.querySelectorAll('#gate-panels figure'))"
    ".filter(f => f.offsetParent !== null).map(f => f.dataset.layer + f.dataset.shot)"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    opened = Page(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    records = [r for r in full_set(folder) if (r.method, r.k_shot) != ("finetune", 5)]
    records.append(with_predictions(folder / "other", method="finetune"))
    target = folder / "report.html"
    target.write_text(report.render(records, "mini-imagenet"))
    (folder / "table.txt").write_text(
        "\n".join(
            text.percent_interval(cell.measured)
            for shot in (1, 5)
            for cell in table1.build(records, "mini-imagenet").cells
            if cell.k_shot == shot and cell.measured is not None
        )
    )
    return target


def test_it_loads_without_errors_or_requests_and_shows_the_tables_numbers(
    page: Page, file: Path
) -> None:
    page.open(file)
    assert page.errors() == []
    assert page.requests() == []
    found = page.value(
        "Array.from(document.querySelectorAll('#table-1 td[data-field=measured]'))"
        ".map(cell => cell.innerText.replace(/\\u00a0/g, ' ')).join('\\n')"
    )
    assert found == (file.parent / "table.txt").read_text()


def test_what_the_checks_are_for_would_be_seen(page: Page, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://127.0.0.1:9/a.png'><script>missing()</script>")
    page.open(bad)
    assert page.requests() == ["http://127.0.0.1:9/a.png"]
    assert page.errors()


def test_the_control_chooses_layer_and_shot_by_keyboard(page: Page, file: Path) -> None:
    page.open(file)
    assert len(page.value(SHOWN)) == 20
    page.value("document.querySelector('input[name=layer]').focus()")
    page.press("ArrowRight", 39)
    assert page.value(SHOWN) == ["conv11", "conv11", "conv15", "conv15"]
    page.press("Tab", 9)
    assert page.value("document.activeElement.name") == "shot"
    page.press("ArrowRight", 39)
    page.press("ArrowRight", 39)
    assert page.value(SHOWN) == ["conv15", "conv15"]
    assert page.value("document.querySelector('#gate-control output').innerText") == (
        "2 of 20 panels shown"
    )
    page.call("Emulation.setEmulatedMedia", media="print")
    assert len(page.value(SHOWN)) == 20  # paper has no control


def test_a_click_on_a_columns_name_sorts_the_table(page: Page, file: Path) -> None:
    page.open(file)
    column = "Array.from(document.querySelectorAll('#table-1 tbody tr [data-field=reported]'))"
    head = "document.querySelectorAll('#table-1 thead th')[1]"
    numbers = f"{column}.slice(0, 5).map((cell) => parseFloat(cell.innerText))"
    before = page.value(numbers)
    for direction in ("ascending", "descending"):
        page.value(f"{head}.querySelector('button').click()")
        assert page.value(f"{head}.getAttribute('aria-sort')") == direction
        assert page.value(numbers) == sorted(before, reverse=direction == "descending")


def test_without_scripts_all_panels_are_shown_and_no_control(page: Page, file: Path) -> None:
    page.open(file, scripts=False)
    assert len(page.value(SHOWN)) == 20
    assert page.value("document.querySelector('#gate-control').offsetParent === null")


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_sticks_out_sideways(page: Page, file: Path, width: int) -> None:
    page.open(file, width)
    assert page.value("document.documentElement.scrollWidth") == width
    cut = page.value(
        "Array.from(document.querySelectorAll('#table-1, .matrix'))"
        ".filter(t => t.scrollWidth > t.parentElement.clientWidth + 1).length"
    )
    assert cut == 0


def test_dark_mode_turns_ground_and_ink_around(page: Page, file: Path) -> None:
    def ground_and_ink() -> list[str]:
        style = "getComputedStyle(document.body)"
        found: list[str] = page.value(f"[{style}.backgroundColor, {style}.color]")
        return found

    page.open(file, dark=False)
    light = ground_and_ink()
    page.open(file, dark=True)
    dark = ground_and_ink()
    assert (
        sum(map(int, light[0][4:-1].split(",")))
        > 700
        > 200
        > sum(map(int, dark[0][4:-1].split(",")))
    )
    assert light[1] != dark[1]
