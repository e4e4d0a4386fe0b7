"""Tables of multi-label classifiers: scores, attacks, detection, and the classifiers that they helped to train."""

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
    "exact_match": "all states right",
    "hamming_loss": "states wrong",
    "ranking_loss": "ranking loss",
}


def score_table(scores: Content) -> Table:
    """The auxiliary classifier of each seed on clean test images."""
    return Table(
        "What it knows",
        ("seed", *SCORES.values()),
        [(str(entry["seed"]), *(_figure(entry[name]) for name in SCORES)) for entry in scores["seeds"]],
        f"{images(scores, 'test images')}; states that are not known do not count. 95 % intervals over independent "
        "units where there are any.",
    )


def label_table(scores: Content) -> Table:
    """Each label, as the first seed's auxiliary classifier knows it."""
    first = scores["seeds"][0]
    return Table(
        "Label by label",
        ("label", "average precision", "F1", "on", "off"),
        [
            (name, _figure(entry["average_precision"]), _figure(entry["f1"]), f"{entry['on']:,}", f"{entry['off']:,}")
            for name, entry in zip(scores["labels"], first["labels"], strict=True)
        ],
        f"Seed {first['seed']}; the last columns count test images.",
    )


def scheme_table(evaluation: Content, robustness: Content | None, costs: Content) -> Table:
    """Accuracies of all classifiers, and the passes that their training took."""
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
        "Gradients: backward passes through the classifier, and the auxiliary classifier, for each image and step of "
        f"the training, that of the step itself among them; each training shows {costs['images']:,} images. A frozen "
        "auxiliary was trained beforehand, which these numbers leave out. All figures are white-box on the classifier.",
    )


def compared_table(evaluation: Content, robustness: Content | None) -> Table:
    """Each classifier against the control, image by image."""
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
        f"Points of accuracy more than {control}, image by image, with intervals at 95 %. One "
        "that holds 0 tells no difference.",
    )


def attack_tables(found: Content, attacked: Mapping[str, Content]) -> list[Table]:
    """What each attack on labels reaches, and at what price."""
    success = Table(
        "What attacks reach",
        ("attack", "images", "goal reached", "asked states reached", "collateral flips", "flips"),
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
        f"On the auxiliary classifier of seed {found['seed']}. Each attack gets the images whose goal is "
        f"still open. Goals: {_goals(attacked)}. Flips are labels whose predicted state changed, "
        "collateral ones those not asked for.",
    )
    price = Table(
        "What is left, and what it takes",
        ("attack", "mAP after", f"success@{found['top']}", "L2", "L∞", "passes", "ms an image"),
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
        f"mAP is that over all test images ({_figure(found['scores']['mean_average_precision'])} clean), of which the "
        "attacked ones are changed; success@k is the share of attacked images with no true label among the first k. "
        "Norms are means over images, of least changes over those found. A universal change was found on training "
        "images.",
    )
    return [success, price]


def detector_tables(found: Content) -> list[Table]:
    """What rules reject of natural images, and of attacks that do not know them and that do."""
    classifiers = found["classifiers"]
    natural = Table(
        "Natural images",
        ("classifier", "right", "rejected", "right and accepted", "rule of the class broken", "threshold"),
        [
            (
                name,
                *(_share(entry[key]) for key in ("right", "rejected", "right_and_accepted", "violated")),
                f"{entry['threshold']:.3f}",
            )
            for name, entry in classifiers.items()
        ],
        "An image is rejected where its score, the share of the predicted class probability that the rules do not "
        f"grant, lies above the threshold, which rejects at most {percent(found['share'])} of natural validation "
        "images. Broken: the labels predicted do not meet the rule of the class predicted.",
    )
    words = {"plain": "as it is", "adaptive": "knowing the rules"}
    attacks = Table(
        "Attacks on the class",
        ("classifier, attack", "attacker", "fooled", "fooled and accepted", "rule broken", "area under the curve"),
        [
            (
                f"{name}, {attack}",
                words[kind],
                *(_share(entry[kind][key]) for key in ("fooled", "fooled_and_accepted", "violated")),
                _mean(entry[kind]["area"]) if "area" in entry[kind] else NONE,
            )
            for name, each in classifiers.items()
            for attack, entry in each["adversaries"].items()
            for kind in words
        ],
        "Fooled: the class predicted is wrong. The area is that of telling the images that fool the classifier from "
        "natural ones; one half is chance. An attacker who knows the rules raises its objective less a price on their "
        f"violation, at the prices {', '.join(f'{weight:g}' for weight in found['weights'])}; of these attempts and "
        "the plain one the worst of each image counts.",
    )
    return [natural, attacks]


def _goals(attacked: Mapping[str, Content]) -> str:
    """What each attack wants: its objective, and the labels asked for, the others left alone."""
    told = []
    for name, entry in attacked.items():
        words = [entry["objective"]] if "objective" in entry else []
        words += [f"{key} {', '.join(names)}" for key, names in (entry["asked"] or {}).items() if names]
        told.append(f"{name}: {', '.join(words)}")
    return "; ".join(told)


def _number(figure: float | None) -> str:
    return NONE if figure is None else f"{figure:,.3g}"


def _targeted(entry: Content | None) -> tuple[str, str]:
    if entry is None or entry["success"] is None:
        return NONE, NONE
    return _share(entry["success"]), _mean(entry["collateral"])


def _cost(cost: Content | None) -> tuple[str, str]:
    if cost is None:
        return NONE, NONE
    return f"{cost['classifier_backward']:.3g}", f"{cost['auxiliary_backward']:.3g}"


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
