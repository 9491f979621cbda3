"""What a person sees of a contract in the terminal."""

from __future__ import annotations

import io
from typing import Any

from contract_record import contract_record, measured
from rich.console import Console

from pipeline.augment_terminal import cost_lines, print_contract


def printed(record: dict[str, Any], width: int = 120) -> str:
    out = io.StringIO()
    print_contract(Console(file=out, width=width), record)
    return out.getvalue()


def row(text: str, name: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [name])


def test_every_entry_has_its_figures_in_one_line() -> None:
    text = printed(contract_record())
    assert row(text, "degrees") == ["degrees", "10", *"all 100 % ×1.11 ×1.00 0.20 -3 1.2".split()]
    assert row(text, "GaussNoise#2") == "GaussNoise#2 std_range 0.02 to 0.05 10 % 100 % ×1.00 ×1.00 0.50 0 1.2".split()
    assert row(text, "fliplr")[-6:] == ["–", "–", "–", "0", "<", "0.1"]
    assert row(text, "copy_paste")[:5] == ["copy_paste", "all", "100", "%", "+7"]
    assert "could not be measured" in text
    assert max(map(len, text.splitlines())) <= 120


def test_findings_follow_with_their_advice_the_worst_first() -> None:
    text = printed(contract_record())
    places = [text.index(part) for part in ("error RandomFog", "-> drop RandomFog", "warning GaussNoise", "info Not")]
    assert places == sorted(places)
    assert "no findings" in printed(contract_record(findings=[]))


def test_the_cost_stands_last_with_the_words_of_the_training_step() -> None:
    record = contract_record(cost={"words": "a batch of 16 takes 0.1 s before a step of 1 s (9%)"})
    assert cost_lines(record) == [
        "cost: 8.0 ms a picture, 125 pictures a second in one process; reading a picture takes 3.2 ms",
        "loading: a batch of 16 takes 0.1 s before a step of 1 s (9%)",
    ]
    assert printed(record).rstrip().endswith("step of 1 s (9%)")
    assert len(cost_lines(contract_record())) == 1


def test_a_stage_that_takes_no_time_or_failed_has_no_rate() -> None:
    idle = contract_record(entries=[measured("the whole stage", milliseconds=0.0)])
    assert cost_lines(idle) == ["cost: < 0.1 ms a picture; reading a picture takes 3.2 ms"]
    assert "the policy has no entries" in printed(idle)
    assert cost_lines(contract_record(entries=[measured("the whole stage", failure="broke")])) == []


def test_names_are_not_read_as_markup() -> None:
    record = contract_record()
    record["policy"]["name"] = "[red]metal[/red]"
    assert "[red]metal[/red]" in printed(record)
