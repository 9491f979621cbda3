"""Studies of `inspection.py`: shares, thresholds and counts of simulated detectors whose true figures are known."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from pipeline.evaluation import counting
from pipeline.evaluation.froc import _Ranked
from pipeline.evaluation.intervals import image_weights, mean_interval, percentile_interval
from pipeline.evaluation.operating_point import Rule, _best, allowed_escapes
from pipeline.evaluation.outcomes import Outcomes
from pipeline.evaluation.rates import effective_trials, wilson

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
    worth = effective_trials(np.array(share), draws, units, trials)
    low, high = wilson(np.array(share), worth)
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
                    tuple(map(float, wilson(np.array(share), np.array(float(pictures))))),
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
                    tuple(map(float, wilson(np.array(share), np.array(8.0 * count)))),
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
    found = _Ranked.of(outcomes).sensitivities(outcomes, weights)
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
        kept = uniform[:, allowed_escapes(defective, 0.05)]
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
            rule = Rule()
            last = _best(val, slice(None), len(val.truth_image), rule)
            count = np.bincount(val.truth_class, minlength=6)
            own = [_best(val, p, int(n), rule) for p, n in zip(val.slices(), count, strict=True)]
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
