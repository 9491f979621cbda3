from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from fabricated_run import context_of, probes_table

from pipeline.reporting.health_figures import (
    WORST_NORMS,
    norm_facts,
    norm_health,
    term_shares,
    update_facts,
    update_ratio,
)

CONTEXT = context_of(400, 12)
LAYERS = [row["layer"] for row in CONTEXT["layers"]]
PROBES = probes_table(400, 12, LAYERS)
HEALTHY = {
    "values": 4096.0,
    "smallest_variance": 0.02,
    "mean_shift": 0.2,
    "variance_ratio": 0.9,
    "dead": 0.03,
    "constant": 0.0,
    "non_finite": 0.0,
}


def words(svg: str) -> str:
    return " | ".join(text.strip() for text in ET.fromstring(svg).itertext() if text.strip())


def update(step: int, **ratio: float | None) -> dict[str, Any]:
    return {"kind": "update", "step": step, "epoch": 0, "ratio": {f"model.{k[1:]}": v for k, v in ratio.items()}}


def health(step: int, **norms: dict[str, float | None]) -> dict[str, Any]:
    rows = {f"model.{name[1:]}.bn": {**HEALTHY, **row} for name, row in norms.items()}
    return {"kind": "health", "step": step, "epoch": 0, "norms": rows}


def test_the_figures_of_a_healthy_run() -> None:
    shown = words(update_ratio(PROBES, CONTEXT))
    for part in ("weight change per step, log scale", "all layers", "median", "usual", "successive gradients: cosine"):
        assert part in shown
    assert "weight |" not in shown  # a single optimizer group is no other line than all layers
    for part in ("share of the gradient", "box", "cls", "l1", "100 %"):
        assert part in words(term_shares(PROBES))


def test_several_optimizer_groups_have_lines_of_their_own() -> None:
    probes = [{**p, "group_ratio": {"muon": 0.01, "muon_rest": 0.003}} for p in PROBES if p["kind"] == "update"]
    shown = words(update_ratio(probes, CONTEXT))
    assert "muon" in shown
    assert "muon_rest" in shown


def test_the_layers_that_move_most_and_least_are_named() -> None:
    probes = [update(step, l0=0.01, l2=0.04, l5=0.0002) for step in range(8)]
    facts = dict(update_facts(probes, CONTEXT))
    assert facts["moves most, of late"] == "2 C3k2, 4 % per step"
    assert facts["moves least, of late"] == "5 Conv, 0.02 % per step"


def test_only_the_last_quarter_counts_for_who_moves_most() -> None:
    probes = [update(step, l0=0.9 if step < 6 else 0.001, l2=0.01) for step in range(8)]
    assert dict(update_facts(probes, CONTEXT))["moves most, of late"].startswith("2 C3k2")


@pytest.mark.parametrize("ratio", [{}, {"l0": 0.0}, {"l0": None}, {"l0": 0.01}, {"l0": 1e-12, "l2": 10.0}])
def test_any_ratio_is_drawn_or_left_out(ratio: dict[str, float | None]) -> None:
    for count in (1, 2):
        svg = update_ratio([update(step, **ratio) for step in range(count)], {})
        assert not svg or ET.fromstring(svg) is not None
        update_facts([update(step, **ratio) for step in range(count)], {})


def test_old_runs_have_none_of_it() -> None:
    assert update_ratio([], {}) == ""
    assert term_shares([]) == ""
    assert norm_health([], {}) is None
    assert (update_facts([], {}), norm_facts([])) == ((), ())


def test_a_single_measurement_of_the_shares_is_seen() -> None:
    probes = [{"kind": "terms", "step": 0, "epoch": 0, "shares": {"box_loss": 0.9, "cls_loss": 0.1, "dfl_loss": None}}]
    assert "box" in words(term_shares(probes))
    assert term_shares([{"kind": "terms", "step": 0, "epoch": 0, "shares": {}}]) == ""


def test_thousands_of_measurements_stay_small() -> None:
    probes = probes_table(100_000, 3, LAYERS)
    probes += [update(step, l0=0.01, l2=0.02) for step in range(5000)]
    assert len(update_ratio(probes, CONTEXT)) < 100_000


def test_the_table_has_the_worst_layers_first_and_few_of_them() -> None:
    norms = {f"l{i}": {} for i in range(23)} | {"l7": {"dead": 0.7}, "l9": {"non_finite": 1.0}, "l4": {"values": 8.0}}
    table = norm_health([health(500, **norms)], CONTEXT)
    assert table is not None
    assert len(table.rows) == WORST_NORMS
    assert [name for name, _ in table.rows][:3] == ["9 SPPF", "4 C3k2", "7 Conv"]
    assert table.rows[0][1][0].text == "not finite"
    odd = {name: [cell.text for cell in row if cell.odd] for name, row in table.rows}
    assert odd["4 C3k2"] == ["8"]
    assert odd["7 Conv"] == ["70 %"]
    assert all(len(row) == len(table.headings) - 1 for _, row in table.rows)


def test_the_latest_measurement_counts() -> None:
    probes = [health(0, l1={"dead": 0.9}), health(400, l1={"dead": 0.1})]
    table = norm_health(probes, CONTEXT)
    assert table is not None
    assert table.rows[0][1][1].text == "10 %"
    assert dict(norm_facts(probes))["flattest layer, first → now"] == "90 % → 10 % flat"


def test_running_statistics_that_have_not_settled_are_shown_but_not_set_apart() -> None:
    for step, expected in ((50, False), (500, True)):
        table = norm_health([health(step, l1={"variance_ratio": 0.001, "mean_shift": 9.0})], CONTEXT)
        assert table is not None
        assert [cell.odd for cell in table.rows[0][1][3:]] == [expected, expected]


def test_figures_that_were_not_finite_are_dashes() -> None:
    table = norm_health([health(500, l1=dict.fromkeys(HEALTHY), l2={})], CONTEXT)
    assert table is not None
    assert [cell.text for cell in dict(table.rows)["1 Conv"]] == ["–"] * 5


def test_a_module_is_named_after_its_layer() -> None:
    probe = {"kind": "health", "step": 9, "norms": {"model.23.one2one_cv2.0.0.bn": HEALTHY, "model.99.cv1.bn": HEALTHY}}
    table = norm_health([probe], CONTEXT)
    assert table is not None
    assert {name for name, _ in table.rows} == {"23 one2one_cv2 0.0", "99.cv1"}
