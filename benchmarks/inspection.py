"""Do the inspector's and the grower's figures hold what they promise, and what do they cost?

Simulated detectors whose true figures are known: how often 95 % intervals cover them, how often a promised escape rate
is broken, when a class deserves a threshold of its own, how biased the calibration error is, which calibrator needs how
much data. And the time of every part. All seeded.

    OMP_NUM_THREADS=1 python benchmarks/inspection.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from pipeline.evaluation import calibration, counting, inspection, operating_point
from pipeline.evaluation.intervals import image_weights, mean_interval, percentile_interval
from pipeline.evaluation.matching import MatchTable, match
from pipeline.evaluation.outcomes import Outcomes
from pipeline.evaluation.tables import Detections, Truth

RESAMPLES = 400
Bounds = tuple[float, float]


def covers(bounds: Bounds, truth: float) -> bool:
    return bounds[0] - 1e-12 <= truth <= bounds[1] + 1e-12


def row(*cells: object) -> None:
    print("| " + " | ".join(f"{c:.3f}" if isinstance(c, float) else str(c) for c in cells) + " |", flush=True)


def heading(text: str, *columns: str) -> None:
    print(f"\n## {text}\n")
    row(*columns)
    row(*["---"] * len(columns))


def effective(share: float, draws: np.ndarray, units: int, trials: int) -> Bounds:
    worth = inspection.effective_trials(np.array(share), draws, units, trials)
    low, high = inspection.wilson(np.array(share), worth)
    return float(low), float(high)


def ends(interval: object) -> Bounds:
    return interval.low, interval.high  # type: ignore[attr-defined]


# ---- shares ----------------------------------------------------------------------------------------------------------


def single_pictures(rounds: int) -> None:
    heading(
        "Escape rate, single pictures: coverage", "pictures", "true rate", "normal", "percentile bootstrap", "Wilson"
    )
    rng = np.random.default_rng(0)
    z = NormalDist().inv_cdf(0.975)
    for pictures in (20, 50, 200):
        for rate in (0.01, 0.05, 0.2):
            hits = np.zeros(3)
            for _ in range(rounds):
                share = rng.binomial(pictures, rate) / pictures
                half = z * np.sqrt(share * (1 - share) / pictures)
                draws = rng.binomial(pictures, share, RESAMPLES) / pictures
                ways = (
                    (share - half, share + half),
                    ends(percentile_interval(share, draws)),
                    tuple(map(float, inspection.wilson(np.array(share), np.array(float(pictures))))),
                )
                hits += [covers(bounds, rate) for bounds in ways]
            row(pictures, rate, *(hits / rounds))


def boards(rounds: int) -> None:
    columns = ("boards", "true rate", "Wilson, boards ignored", "percentile", "normal minus bias", "Wilson, effective")
    heading("Escape rate, boards of 8 pictures that fail together: coverage", *columns)
    rng = np.random.default_rng(1)
    for count in (10, 20, 50):
        for rate in (0.02, 0.1, 0.3):
            hits = np.zeros(4)
            groups = np.repeat(np.arange(count), 8).astype(np.int32)
            for _ in range(rounds):
                board = rng.beta(rate * 3, (1 - rate) * 3, count)  # correlation of 0.25 within a board
                event = rng.random(8 * count) < board[groups]
                share = float(event.mean())
                draws = image_weights(8 * count, RESAMPLES, groups=groups, seed=int(rng.integers(1 << 30))) @ event
                draws = draws / (8 * count)
                ways = (
                    tuple(map(float, inspection.wilson(np.array(share), np.array(8.0 * count)))),
                    ends(percentile_interval(share, draws)),
                    ends(mean_interval(share, draws)),
                    effective(share, draws, count, 8 * count),
                )
                hits += [covers(bounds, rate) for bounds in ways]
            row(count, rate, *(hits / rounds))


def detector(rng: np.random.Generator, pictures: int) -> Outcomes:
    """Return a detector on pictures that differ in how many boxes they have and how hard they are."""
    boxes = rng.poisson(rng.gamma(1.0, 2.0, pictures))
    hard = rng.normal(0, 0.8, pictures)
    of = np.repeat(np.arange(pictures), boxes)
    score = 1 / (1 + np.exp(-rng.normal(1.2 - hard[of], 1.3)))
    seen = rng.random(len(of)) < 1 / (1 + np.exp(-(3 - hard[of])))
    alarms = np.repeat(np.arange(pictures), rng.poisson(6 * np.exp(0.5 * hard)))
    weak = 1 / (1 + np.exp(-rng.normal(-2.0, 1.4, len(alarms))))
    image, scores = np.append(of[seen], alarms), np.append(score[seen], weak)
    hit = np.append(np.ones(int(seen.sum()), bool), np.zeros(len(alarms), bool))
    order = np.argsort(-scores, kind="stable")
    none = np.zeros(len(of), np.int32)
    return Outcomes(
        classes=1,
        image=image[order].astype(np.int32),
        class_id=np.zeros(len(order), np.int32),
        score=scores[order],
        hit=hit[order],
        ignored=np.zeros(len(order), np.bool_),
        truth_image=of.astype(np.int32),
        truth_class=none,
    )


def sensitivities(outcomes: Outcomes, weights: np.ndarray) -> np.ndarray:
    found = inspection._Ranked.of(outcomes).sensitivities(outcomes, weights)
    return np.column_stack([found, found.mean(axis=1)])


def froc(rounds: int) -> None:
    heading("FROC sensitivity: coverage", "pictures", "at", "percentile", "normal minus bias", "Wilson, effective")
    rng = np.random.default_rng(2)
    truth = sensitivities(detector(rng, 200_000), np.ones((1, 200_000), np.int32))[0]
    for pictures in (30, 100, 300):
        hits = np.zeros((3, 8))
        for _ in range(rounds):
            outcomes = detector(rng, pictures)
            value = sensitivities(outcomes, np.ones((1, pictures), np.int32))[0]
            draws = sensitivities(outcomes, image_weights(pictures, RESAMPLES, seed=int(rng.integers(1 << 30))))
            units = len(np.unique(outcomes.truth_image))
            for i in range(8):
                ways = (
                    ends(percentile_interval(value[i], draws[:, i])),
                    ends(mean_interval(value[i], draws[:, i])),
                    effective(value[i], draws[:, i], units, len(outcomes.truth_image)),
                )
                hits[:, i] += [covers(bounds, truth[i]) for bounds in ways]
        for i, name in ((0, "1/8"), (3, "1"), (6, "8"), (7, "mean of seven")):
            row(pictures, f"{name} (true {truth[i]:.3f})", *(hits[:, i] / rounds))


# ---- the promise and the thresholds ----------------------------------------------------------------------------------


def promise(rounds: int) -> None:
    columns = ("defective pictures", "plain rate: broken", "true escape rate", "promise: broken", "true escape rate ")
    heading("An escape rate of at most 5 %, threshold chosen on val", *columns)
    rng = np.random.default_rng(3)
    for defective in (60, 100, 200, 500):
        # With a continuous score the true escape rate at the k-th lowest of D scores is the k-th of D uniform numbers.
        uniform = np.sort(rng.random((rounds * 20, defective)), axis=1)
        plain = uniform[:, int(0.05 * defective)]
        kept = uniform[:, operating_point.allowed_escapes(defective, 0.05)]
        row(
            defective,
            float((plain > 0.05).mean()),
            float(plain.mean()),
            float((kept > 0.05).mean()),
            float(kept.mean()),
        )


def own_thresholds(rounds: int) -> None:
    columns = (
        "boxes on val",
        "one threshold for all",
        "own thresholds",
        "own minus one",
        "own is better, share of rounds",
    )
    heading("Mean F1 on test of six classes, threshold chosen on val", *columns)
    rng = np.random.default_rng(4)
    for boxes in (5, 10, 20, 30, 50, 100, 300):
        gains, single = [], []
        for _ in range(rounds):
            shift = rng.normal(0, 0.7, 6)  # classes differ in the score that their hits and false alarms get
            val, test = (classes_of(rng, boxes, shift), classes_of(rng, 2000, shift))
            rule = operating_point.Rule()
            last = operating_point._best(val, slice(None), len(val.truth_image), rule)
            count = np.bincount(val.truth_class, minlength=6)
            own = [operating_point._best(val, p, int(n), rule) for p, n in zip(val.slices(), count, strict=True)]
            f1 = [np.mean([f1_at(test, k, stop) for k, stop in enumerate(stops)]) for stops in ([last] * 6, own)]
            single.append(f1[0])
            gains.append(f1[1] - f1[0])
        row(
            boxes,
            float(np.mean(single)),
            float(np.mean(single) + np.mean(gains)),
            float(np.mean(gains)),
            float(np.mean(np.array(gains) > 0)),
        )


def classes_of(rng: np.random.Generator, boxes: int, shift: np.ndarray) -> Outcomes:
    parts = []
    for k in range(6):
        right = rng.normal(1.2 + shift[k], 1.3, boxes)[rng.random(boxes) < 0.95]
        wrong = rng.normal(-1.5 + shift[k], 1.3, 2 * boxes)
        score = 1 / (1 + np.exp(-np.append(right, wrong)))
        order = np.argsort(-score, kind="stable")
        parts.append((np.full(len(score), k), score[order], (np.arange(len(score)) < len(right))[order]))
    class_id, score, hit = (np.concatenate(column) for column in zip(*parts, strict=True))
    image = np.zeros(len(score), np.int32)
    truth = np.repeat(np.arange(6), boxes).astype(np.int32)
    none = np.zeros(len(score), np.bool_)
    return Outcomes(6, image, class_id.astype(np.int32), score, hit, none, np.zeros(len(truth), np.int32), truth)


def f1_at(outcomes: Outcomes, k: int, stop: float) -> float:
    part = outcomes.slices()[k]
    kept = outcomes.score[part] >= stop
    boxes = int((outcomes.truth_class == k).sum())
    return float(2 * outcomes.hit[part][kept].sum() / (boxes + kept.sum()))


# ---- counts ----------------------------------------------------------------------------------------------------------


def counts(rounds: int) -> None:
    columns = ("pictures", "counts", "figure", "percentile", "normal minus bias", "ours")
    heading("Count errors: coverage", *columns)
    rng = np.random.default_rng(5)
    for spread, words in ((10.0, "even"), (1.5, "skewed")):

        def draw(pictures: int, spread: float = spread) -> tuple[np.ndarray, np.ndarray]:
            true = rng.negative_binomial(spread, spread / (spread + 8), pictures)
            found = rng.beta(18, 2, pictures)
            return true, rng.binomial(true, found) + rng.poisson(0.6, pictures)

        true, predicted = draw(1_000_000)
        truth = counting._figures(counting._sums(true, predicted).sum(axis=0))
        for pictures in (10, 20, 50, 200):
            hits = {name: np.zeros(3) for name in counting.FIGURES}
            for _ in range(rounds):
                pair = draw(pictures)
                weights = image_weights(pictures, RESAMPLES, seed=int(rng.integers(1 << 30)))
                (ours,) = counting.count_figures([pair], weights, pictures)
                resampled = counting._figures(weights @ counting._sums(*pair))
                for name in counting.FIGURES:
                    interval, draws = ours.values[name], resampled[name]
                    bias, spread_ = draws.mean() - interval.value, 1.96 * draws.std(ddof=1)
                    centre = interval.value - bias
                    ways = (ends(percentile_interval(interval.value, draws)), (centre - spread_, centre + spread_))
                    hits[name] += [covers(bounds, float(truth[name])) for bounds in (*ways, ends(interval))]
            for name in counting.FIGURES:
                row(pictures, words, name, *(hits[name] / rounds))


# ---- calibration -----------------------------------------------------------------------------------------------------

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
                found, _ = calibration._measure(scored, weights, 0.25, None)
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
                x, y = calibration.isotonic(score, hit.astype(float))
                slope, offset = calibration.platt(score, hit)
                platt = calibration._sigmoid(slope * calibration._logit(grid) + offset)
                lost.append([float(((p - truth(grid)) ** 2).mean()) for p in (grid, platt, np.interp(grid, x, y))])
            row(detections, words, *(f"{1000 * value:.1f}" for value in np.mean(lost, axis=0)))


# ---- time ------------------------------------------------------------------------------------------------------------


def dense_table(images: int, boxes: int, classes: int, detections: int) -> MatchTable:
    rng = np.random.default_rng(8)
    image, class_id = rng.integers(0, int(0.7 * images), boxes), rng.integers(0, classes, boxes)
    corner, size = rng.uniform(0, 560, (boxes, 2)), rng.uniform(10, 80, (boxes, 2))
    xyxy = np.hstack([corner, corner + size])
    no = np.zeros(boxes, np.bool_)
    truth = Truth(
        names=tuple(f"class {k}" for k in range(classes)),
        image_ids=np.arange(1, images + 1),
        sizes=np.full((images, 2), 640.0),
        image=image.astype(np.int32),
        class_id=class_id.astype(np.int32),
        xyxy=xyxy,
        extent=size.prod(axis=1),
        area=size.prod(axis=1),
        crowd=no,
        ignored=no,
    )
    seen = rng.random(boxes) < 0.9
    hits, alarms = int(seen.sum()), detections - int(seen.sum())
    place = rng.uniform(0, 560, (alarms, 2))
    found = np.vstack(
        [xyxy[seen] + rng.normal(0, 2, (hits, 4)), np.hstack([place, place + rng.uniform(10, 80, (alarms, 2))])]
    )
    of = np.append(image[seen], rng.integers(0, images, alarms)).astype(np.int32)
    kind = np.append(class_id[seen], rng.integers(0, classes, alarms)).astype(np.int32)
    score = np.append(rng.beta(5, 2, hits), rng.beta(0.5, 6, alarms))
    extent = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])
    return match(truth, Detections(of, kind, score, found, extent))


def seconds(_: int) -> None:
    names = (
        "escape/overkill",
        "the same in groups",
        "FROC",
        "choose",
        "check",
        "counts",
        "reliability",
        "fit",
        "check ",
    )
    heading("Seconds with 1,000 resamples (median of 3)", "pictures / boxes / classes / detections", *names)
    for size in ((200, 1500, 5, 20_000), (500, 3500, 6, 50_000), (5000, 36_000, 80, 500_000)):
        row(" / ".join(f"{n:,}" for n in size), *(median(part) for part in parts_of(dense_table(*size))))


def parts_of(table: MatchTable) -> tuple[Callable[[], object], ...]:
    images = len(table.truth.image_ids)
    weights, groups = image_weights(images), (np.arange(images) // 5).astype(np.int32)
    point = operating_point.choose(table, operating_point.Rule(), "val", weights)
    thresholds, fitted = point.array(table.truth.names), calibration.fit(table, "val")
    return (
        lambda: inspection.rejection_curve(table, weights),
        lambda: inspection.rejection_curve(table, weights, groups),
        lambda: inspection.froc(table, weights),
        lambda: operating_point.choose(table, operating_point.Rule(), "val", weights),
        lambda: operating_point.check(point, table, "test", weights),
        lambda: counting.counting(table, thresholds, weights),
        lambda: calibration.reliability(table, weights),
        lambda: calibration.fit(table, "val"),
        lambda: calibration.check(table, fitted, "test", weights),
    )


def median(part: Callable[[], object]) -> float:
    spent = []
    for _ in range(3):
        started = time.perf_counter()
        part()
        spent.append(time.perf_counter() - started)
    return float(np.median(spent))


PARTS = (single_pictures, boards, froc, promise, own_thresholds, counts, errors, error_intervals, calibrators, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1000, help="simulated sets for each row")
    parser.add_argument("--only", choices=[part.__name__ for part in PARTS])
    chosen = parser.parse_args()
    for part in PARTS:
        if chosen.only in (None, part.__name__):
            part(chosen.rounds)


if __name__ == "__main__":
    main()
