"""Studies of `inspection.py`: how biased the calibration error is, its interval, and which calibrator to fit when."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from inspection_studies import RESAMPLES, covers, ends, heading, row

from pipeline.evaluation import calibration
from pipeline.evaluation.calibrators import _logit, _sigmoid, isotonic, platt
from pipeline.evaluation.intervals import image_weights

TRUTHS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "calibrated": lambda s: s,
    "5 % too sure": lambda s: 0.95 * s,
    "s^2": lambda s: s**2,
    "sqrt(s)": np.sqrt,
}


def shown_scores(rng: np.random.Generator, count: int) -> np.ndarray:
    score = np.where(rng.random(3 * count + 50) < 0.6, rng.beta(8, 2, 3 * count + 50), rng.beta(1.2, 2, 3 * count + 50))
    return np.sort(score[score >= 0.25][:count])


def d_ece(score: np.ndarray, hit: np.ndarray, edges: np.ndarray) -> float:
    place = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, len(edges) - 2)
    return float(np.abs(np.bincount(place, hit.astype(float)) - np.bincount(place, score)).sum() / len(score))


def errors(rounds: int) -> None:
    columns = (
        "detections",
        "scores",
        "true error",
        "20 of one width",
        "10 of one width",
        "15 of one number",
        "the sweep",
    )
    heading("Calibration error: mean of the estimates", *columns)
    rng = np.random.default_rng(6)
    many = shown_scores(rng, 300_000)
    for detections in (50, 200, 1000, 5000):
        for words, truth in TRUTHS.items():
            found = []
            for _ in range(rounds):
                score = shown_scores(rng, detections)
                hit = rng.random(len(score)) < truth(score)
                bins = (np.linspace(0, 1, 21), np.linspace(0, 1, 11), calibration._edges(score, 15))
                found.append([d_ece(score, hit, edges) for edges in (*bins, calibration.sweep(score, hit))])
            row(detections, words, float(np.abs(truth(many) - many).mean()), *np.mean(found, axis=0).tolist())


def error_intervals(rounds: int) -> None:
    columns = ("detections", "scores", "true error", "mean estimate", "interval covers the error", "the Brier score")
    columns = (*columns, "beyond chance")
    heading("Calibration error: coverage, detections in pictures of five", *columns)
    rng = np.random.default_rng(9)
    many = shown_scores(rng, 300_000)
    for detections in (50, 200, 1000):
        for words, truth in TRUTHS.items():
            error = float(np.abs(truth(many) - many).mean())
            brier = float((truth(many) * (1 - many) ** 2 + (1 - truth(many)) * many**2).mean())
            hits, values = np.zeros(3), []
            for _ in range(rounds):
                score = shown_scores(rng, detections)
                image = rng.integers(0, detections // 5, len(score)).astype(np.int32)
                scored = calibration.Scored(image, score, rng.random(len(score)) < truth(score))
                weights = image_weights(detections // 5, RESAMPLES, seed=int(rng.integers(1 << 30)))
                found, _ = calibration.reliability_of(scored, weights, 0.25)
                beyond = found.d_ece.value > found.by_chance  # type: ignore[union-attr]
                hits += [covers(ends(found.d_ece), error), covers(ends(found.brier), brier), beyond]
                values.append(found.d_ece.value)  # type: ignore[union-attr]
            row(detections, words, error, float(np.mean(values)), *(hits / rounds))


def calibrators(rounds: int) -> None:
    columns = ("detections on val", "scores", "no calibrator", "Platt", "isotonic")
    heading("Mean squared distance of the score from the true probability, times 1,000", *columns)
    rng = np.random.default_rng(7)
    kinked: Callable[[np.ndarray], np.ndarray] = lambda s: np.where(s < 0.6, 0.3 * s, 0.18 + 2.0 * (s - 0.6))  # noqa: E731
    grid = shown_scores(rng, 20_000)
    for detections in (30, 100, 300, 1000, 3000):
        for words, truth in {**TRUTHS, "kinked": kinked}.items():
            lost = []
            for _ in range(rounds):
                score = shown_scores(rng, detections)
                hit = rng.random(len(score)) < truth(score)
                x, y = isotonic(score, hit.astype(float))
                slope, offset = platt(score, hit)
                curve = _sigmoid(slope * _logit(grid) + offset)
                lost.append([float(((p - truth(grid)) ** 2).mean()) for p in (grid, curve, np.interp(grid, x, y))])
            row(detections, words, *(f"{1000 * value:.1f}" for value in np.mean(lost, axis=0)))
