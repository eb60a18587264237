"""Bars beside the numbers: only in a terminal with room, as long as the number says, and every number stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Group
from runs_made import C, R, write

from ssn_eval.cli import main, output
from ssn_eval.cli.bars import WIDEST, with_bars

BLOCKS = "█▉▊▋▌▍▎▏▐▕"


@pytest.fixture
def runs(tmp_path: Path) -> tuple[str, str]:
    """Two runs: compliance of 0, 50 and 100 % in en, zh and sw; and none at all."""
    verdicts = {"en": [R] * 20, "zh": [R] * 10 + [C] * 10, "sw": [C] * 20}
    first = write(tmp_path / "a", verdicts, tags=[["theft"]] * 20)
    second = write(tmp_path / "b", dict.fromkeys(verdicts, [R] * 20), tags=[["theft"]] * 20)
    return str(first), str(second)


def shown(*words: str) -> list[str]:
    done = CliRunner().invoke(main, [*words])
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(output, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))


def row(lines: list[str], name: str) -> str:
    return next(line for line in lines if name in line.replace("│", " ").split()[:1])


@pytest.mark.parametrize("columns", [80, 120])
def test_a_bar_is_as_long_as_its_rate(runs: tuple[str, str], monkeypatch: pytest.MonkeyPatch, columns: int):
    terminal(monkeypatch, columns)
    lines = shown("summarize", runs[0])
    assert max(map(len, lines)) <= columns
    lengths = {lang: row(lines, lang).count("█") for lang in ("en", "zh", "sw")}
    assert lengths["en"] == 0 and lengths["sw"] == 2 * lengths["zh"] and 8 <= lengths["sw"] <= WIDEST
    assert "50 [30, 70]" in row(lines, "zh") and "100 [84, 100]" in row(lines, "sw")


@pytest.mark.parametrize("columns", [80, 120])
def test_a_difference_has_a_bar_on_its_side_of_the_middle(
    runs: tuple[str, str], monkeypatch: pytest.MonkeyPatch, columns: int
):
    terminal(monkeypatch, columns)

    def bars(first: str, second: str) -> dict[str, str]:
        lines = shown("diff", first, second)
        assert max(map(len, lines)) <= columns
        place = next(line.index("change") for line in lines if "change" in line)
        return {lang: row(lines, lang)[place:] for lang in ("en", "zh", "sw")}

    up, down = bars(*runs), bars(*reversed(runs))
    assert not set(up["en"]) & set(BLOCKS) and set(up["sw"]) & set(BLOCKS)
    middle = (len(up["sw"].rstrip("│ ")) + 1) // 2
    assert not set(up["sw"][: middle - 1]) & set(BLOCKS), "a gain lies to the right"
    assert down["sw"].rstrip("│ ") and not set(down["sw"][middle + 1 :]) & set(BLOCKS), "a loss to the left"
    assert up["zh"].count("█") < up["sw"].count("█")


def test_in_a_pipe_there_is_no_bar(runs: tuple[str, str]):
    for words in (("summarize", runs[0]), ("diff", *runs)):
        lines = shown(*words)
        assert not set("".join(lines)) & set(BLOCKS) and max(map(len, lines)) <= 80


def test_a_terminal_without_room_shows_the_table_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys):
    terminal(monkeypatch, 40)
    lines = output.table("a title", "", "a wide column of words", "another")
    lines.add_row("a", "x" * 22, "1")
    same = with_bars(lines, "rate", [(0.0, 1.0)])
    assert same is lines
    output.draw(Group(same))
    assert not set(capsys.readouterr().out) & set(BLOCKS)


def test_a_row_without_a_number_has_no_bar(monkeypatch: pytest.MonkeyPatch, capsys):
    terminal(monkeypatch, 80)
    lines = output.table("the [title]", "", "value")
    lines.add_row("a", "1")
    lines.add_row("b", "–")
    output.draw(Group(with_bars(lines, "rate", [(0.0, 1.0), None])))
    text = capsys.readouterr().out.splitlines()
    assert row(text, "a").count("█") == WIDEST and not set(row(text, "b")) & set(BLOCKS)
    assert "the [title]" in text[0]
