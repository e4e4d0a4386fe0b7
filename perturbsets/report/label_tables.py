"""Tables of multi-label classifiers: scores, attacks, detection, and classifiers trained with an auxiliary one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perturbsets.report.findings import images, percent, with_interval
from perturbsets.report.section import Table

Content = Mapping[str, Any]
NONE = "–"
SCORES = {
    "mean_average_precision": "mAP",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "exact_match": "exact match",
    "hamming_loss": "Hamming loss",
    "ranking_loss": "ranking loss",
}


def score_table(scores: Content) -> Table:
    """Scores of each seed's auxiliary classifier on clean test images."""
    return Table(
        "Scores on clean test images",
        ("seed", *SCORES.values()),
        [(str(entry["seed"]), *(_figure(entry[name]) for name in SCORES)) for entry in scores["seeds"]],
        f"{images(scores, 'test images')}; unknown states do not count. 95 % intervals over independent units where "
        "there are any.",
    )


def label_table(scores: Content) -> Table:
    """Scores of the first seed's auxiliary classifier for each label."""
    first = scores["seeds"][0]
    return Table(
        "Scores by label",
        ("label", "average precision", "F1", "on", "off"),
        [
            (name, _figure(entry["average_precision"]), _figure(entry["f1"]), f"{entry['on']:,}", f"{entry['off']:,}")
            for name, entry in zip(scores["labels"], first["labels"], strict=True)
        ],
        f"Seed {first['seed']}; the last columns count test images.",
    )


def scheme_table(evaluation: Content, robustness: Content | None, costs: Content) -> Table:
    """Accuracies of all classifiers, and the backward passes of their training."""
    cells = evaluation["accuracy"]
    pooled = None if robustness is None else robustness["pooled"]
    return Table(
        "All classifiers",
        (
            "classifier",
            "gradients",
            "of the auxiliary",
            *evaluation["columns"],
            *(() if pooled is None else ("ensemble",)),
        ),
        [
            (
                row,
                *_cost(costs["costs"].get(row)),
                *(_share(cells[row][column]) for column in evaluation["columns"]),
                *(() if pooled is None else (_share(pooled[row]),)),
            )
            for row in evaluation["rows"]
        ],
        f"Accuracy with 95 % intervals, all seeds together; {images(evaluation, 'test images')}. "
        "Gradients: backward passes through the classifier, and through the auxiliary classifier, per image and "
        f"training step, its own update included; each training takes {costs['images']:,} images. The training of a "
        "frozen auxiliary classifier is not counted. All attacks are white-box on the classifier.",
    )


def compared_table(evaluation: Content, robustness: Content | None) -> Table:
    """Accuracy of each classifier less that of the control on the same images."""
    control = evaluation["differences"]["control"]
    ensemble = None if robustness is None else robustness.get("differences", {}).get("rows")
    return Table(
        f"Against {control}",
        ("classifier", *evaluation["columns"], *(() if ensemble is None else ("ensemble",))),
        [
            (
                row,
                *(_points(cells[column]) for column in evaluation["columns"]),
                *(() if ensemble is None else (_points(next(iter(ensemble[row].values()))),)),
            )
            for row, cells in evaluation["differences"]["rows"].items()
        ],
        f"Accuracy less that of {control} on the same images, in points, with 95 % intervals. An interval that "
        "contains 0 shows no difference.",
    )


def attack_tables(content: Content, attacked: Mapping[str, Content]) -> list[Table]:
    """Success and cost of each attack on labels."""
    success = Table(
        "Success of the attacks",
        ("attack", "images", "success", "target states set", "collateral flips", "flips"),
        [
            (
                name,
                f"{entry['images']:,}",
                _share(entry["success"]),
                *_targeted(entry["targeted"]),
                _mean(entry["flips"]["flips"]),
            )
            for name, entry in attacked.items()
        ],
        f"For the auxiliary classifier of seed {content['seed']}. Attacks get the images whose goal is not yet "
        f"met. Goals: {_goals(attacked)}. Flips are labels whose predicted state changed, collateral ones those other "
        "than targets.",
    )
    price = Table(
        "Remaining scores and cost",
        ("attack", "mAP after", f"success@{content['top']}", "L2", "L∞", "passes", "ms per image"),
        [
            (
                name,
                _figure(entry["scores"]["mean_average_precision"]),
                NONE if entry["success_at_k"] is None else _share(entry["success_at_k"]),
                *(_number(entry["norms"][norm]) for norm in ("l2", "linf")),
                _number(entry["calls"]),
                _number(None if entry["seconds"] is None else 1000 * entry["seconds"]),
            )
            for name, entry in attacked.items()
        ],
        f"mAP is over all test images ({_figure(content['scores']['mean_average_precision'])} clean), of which the "
        "attacked ones are changed; success@k is the share of attacked images with no true label among the first k. "
        "Norms are means over images (of least changes, over the successful ones). A universal change is computed on "
        "training images.",
    )
    return [success, price]


def detector_tables(content: Content) -> list[Table]:
    """Share of natural and of adversarial images that rules reject, for unaware and for adaptive attackers."""
    classifiers = content["classifiers"]
    natural = Table(
        "Natural images",
        ("classifier", "correct", "rejected", "correct and accepted", "rule violated", "threshold"),
        [
            (
                name,
                *(_share(entry[key]) for key in ("right", "rejected", "right_and_accepted", "violated")),
                f"{entry['threshold']:.3f}",
            )
            for name, entry in classifiers.items()
        ],
        "An image is rejected if its score, the share of the predicted class probability that the rules do not "
        f"support, is above the threshold, which rejects at most {percent(content['share'])} of natural validation "
        "images. Violated: the predicted labels do not meet the rule of the predicted class.",
    )
    attackers = {"plain": "unaware of the rules", "adaptive": "adaptive"}
    attacks = Table(
        "Attacks on the class",
        ("classifier, attack", "attacker", "misclassified", "misclassified and accepted", "rule violated", "ROC area"),
        [
            (
                f"{name}, {attack}",
                attackers[kind],
                *(_share(entry[kind][key]) for key in ("fooled", "fooled_and_accepted", "violated")),
                _mean(entry[kind]["area"]) if "area" in entry[kind] else NONE,
            )
            for name, each in classifiers.items()
            for attack, entry in each["adversaries"].items()
            for kind in attackers
        ],
        "ROC area: of detecting misclassified adversarial images among natural ones; one half is chance. The adaptive "
        "attacker penalises violations of the rules in its objective, with the weights "
        f"{', '.join(f'{weight:g}' for weight in content['weights'])}; the worst of these and the unaware attack "
        "counts for each image.",
    )
    return [natural, attacks]


def _goals(attacked: Mapping[str, Content]) -> str:
    """Each attack's objective and target labels."""
    goals = []
    for name, entry in attacked.items():
        words = [entry["objective"]] if "objective" in entry else []
        words += [f"{key} {', '.join(names)}" for key, names in (entry["asked"] or {}).items() if names]
        goals.append(f"{name}: {', '.join(words)}")
    return "; ".join(goals)


def _number(figure: float | None) -> str:
    return NONE if figure is None else f"{figure:,.3g}"


def _targeted(entry: Content | None) -> tuple[str, str]:
    if entry is None or entry["success"] is None:
        return NONE, NONE
    return _share(entry["success"]), _mean(entry["collateral"])


def _cost(cost: Content | None) -> tuple[str, str]:
    if cost is None:
        return NONE, NONE
    return f"{cost['classifier_backward']:.3g}", f"{cost['helper_backward']:.3g}"


def _figure(figure: Any) -> str:
    """A share, with its interval where it has one."""
    if figure is None:
        return NONE
    return _share(figure) if isinstance(figure, Mapping) else percent(figure)


def _share(entry: Content) -> str:
    return with_interval(entry)


def _mean(entry: Content) -> str:
    return with_interval(entry, "{:.2f}".format)


def _points(entry: Content) -> str:
    return with_interval(entry, lambda value: f"{100 * value:+.1f}")
