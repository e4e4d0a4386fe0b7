"""Tables of multi-label classifiers: scores, attacks, detection, and classifiers trained with an auxiliary one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from perturbsets.report.findings import images, percent, with_interval
from perturbsets.report.section import Table, cell

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
        "seed",
        {title: cell(_figure, name) for name, title in SCORES.items()},
        [(str(entry["seed"]), entry) for entry in scores["seeds"]],
        f"{images(scores, 'test images')}; unknown states do not count. 95 % intervals over independent units where "
        "there are any.",
    )


def label_table(scores: Content) -> Table:
    """Scores of the first seed's auxiliary classifier for each label."""
    first = scores["seeds"][0]
    return Table(
        "Scores by label",
        "label",
        {
            "average precision": cell(_figure, "average_precision"),
            "F1": cell(_figure, "f1"),
            "on": lambda entry: f"{entry['on']:,}",
            "off": lambda entry: f"{entry['off']:,}",
        },
        zip(scores["labels"], first["labels"], strict=True),
        f"Seed {first['seed']}; the last columns count test images.",
    )


def scheme_table(evaluation: Content, robustness: Content | None, costs: Content) -> Table:
    """Accuracies of all classifiers, and the backward passes of their training."""
    columns = {
        "backward passes": cell(_number, "cost", "classifier_backward"),
        "of the auxiliary": cell(_number, "cost", "auxiliary_backward"),
        **{name: cell(with_interval, "accuracy", name) for name in evaluation["columns"]},
        **({} if robustness is None else {"fixed ensemble": cell(with_interval, "ensemble")}),
    }
    entries = {
        row: {
            "accuracy": evaluation["accuracy"][row],
            "cost": costs["costs"].get(row, {"classifier_backward": None, "auxiliary_backward": None}),
            "ensemble": None if robustness is None else robustness["pooled"][row],
        }
        for row in evaluation["rows"]
    }
    return Table(
        "All classifiers",
        "classifier",
        columns,
        entries,
        f"Accuracy with 95 % intervals, all seeds together; {images(evaluation, 'test images')}. "
        "Backward passes: through the classifier, and through the auxiliary classifier, per image and "
        f"training step, its own update included; each training takes {costs['images']:,} images. The training of a "
        "frozen auxiliary classifier is not counted. All attacks are white-box on the classifier.",
    )


def compared_table(evaluation: Content, robustness: Content | None) -> Table:
    """Accuracy of each classifier less that of the control on the same images."""
    control, cells = evaluation["differences"]["control"], evaluation["differences"]["rows"]
    ensemble = None if robustness is None else robustness.get("differences", {}).get("rows")
    columns = {name: cell(_points, name) for name in evaluation["columns"]}
    if ensemble is not None:
        cells = {row: {**entry, "fixed ensemble": next(iter(ensemble[row].values()))} for row, entry in cells.items()}
        columns["fixed ensemble"] = cell(_points, "fixed ensemble")
    return Table(
        f"Against {control}",
        "classifier",
        columns,
        cells,
        f"Accuracy less that of {control} on the same images, in points, with 95 % intervals. An interval that "
        "contains 0 shows no difference.",
    )


def attack_tables(content: Content, attacked: Mapping[str, Content]) -> list[Table]:
    """Success and cost of each attack on labels."""
    success = Table(
        "Success of the attacks",
        "attack",
        {
            "images": lambda entry: f"{entry['images']:,}",
            "success": cell(with_interval, "success"),
            "target states set": lambda entry: _targeted(entry["targeted"], "success", percent),
            "collateral flips": lambda entry: _targeted(entry["targeted"], "collateral", "{:.2f}".format),
            "flips": cell(_mean, "flips", "flips"),
        },
        attacked,
        f"For the auxiliary classifier of seed {content['seed']}. Attacks get the images whose goal is not yet met. "
        f"Goals: {_goals(attacked)}. Flips are labels whose predicted state changed, collateral ones those other than "
        "targets.",
    )
    cost = Table(
        "Remaining scores and cost",
        "attack",
        {
            "mAP after": cell(_figure, "scores", "mean_average_precision"),
            f"success@{content['top']}": cell(_figure, "success_at_k"),
            "L2": cell(_number, "norms", "l2"),
            "L∞": cell(_number, "norms", "linf"),
            "passes": cell(_number, "calls"),
            "ms per image": lambda entry: _number(None if entry["seconds"] is None else 1000 * entry["seconds"]),
        },
        attacked,
        f"mAP is over all test images ({_figure(content['scores']['mean_average_precision'])} clean), of which the "
        "attacked ones are changed; success@k is the share of attacked images with no true label among the first k. "
        "Norms are means over images (of least changes, over the successful ones). A universal change is computed on "
        "training images.",
    )
    return [success, cost]


def detector_tables(content: Content) -> list[Table]:
    """Share of natural and of adversarial images that rules reject, for unaware and for adaptive attackers."""
    natural = Table(
        "Natural images",
        "classifier",
        {
            "correct": cell(with_interval, "right"),
            "rejected": cell(with_interval, "rejected"),
            "correct and accepted": cell(with_interval, "right_and_accepted"),
            "rule violated": cell(with_interval, "violated"),
            "threshold": lambda entry: f"{entry['threshold']:.3f}",
        },
        content["classifiers"],
        "An image is rejected if its score, the share of the predicted class probability that the rules do not "
        f"support, is above the threshold, which rejects at most {percent(content['share'])} of natural validation "
        "images. Violated: the predicted labels do not meet the rule of the predicted class.",
    )
    attacks = Table(
        "Attacks on the class",
        "classifier, attack",
        {
            "attacker": lambda entry: entry["attacker"],
            "misclassified": cell(with_interval, "fooled"),
            "misclassified and accepted": cell(with_interval, "fooled_and_accepted"),
            "rule violated": cell(with_interval, "violated"),
            "ROC area": lambda entry: _mean(entry["area"]) if "area" in entry else NONE,
        },
        [
            (f"{name}, {attack}", {**entry[kind], "attacker": attacker})
            for name, each in content["classifiers"].items()
            for attack, entry in each["adversaries"].items()
            for kind, attacker in (("plain", "unaware of the rules"), ("adaptive", "adaptive"))
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
    return NONE if figure is None else f"{figure:.3g}"


def _targeted(entry: Content | None, name: str, form: Callable[[Any], str]) -> str:
    return NONE if entry is None or entry["success"] is None else with_interval(entry[name], form)


def _figure(figure: Any) -> str:
    """A share, with its interval where it has one."""
    if figure is None:
        return NONE
    return with_interval(figure) if isinstance(figure, Mapping) else percent(figure)


def _mean(entry: Content) -> str:
    return with_interval(entry, "{:.2f}".format)


def _points(entry: Content) -> str:
    return with_interval(entry, lambda value: f"{100 * value:+.1f}")
