"""The results of stages as tables and sentences for the console."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table

from perturbsets.evaluation import Audit
from perturbsets.intervals import ends
from perturbsets.printing import crossed
from perturbsets.report.findings import between, key_figures, likelihood, share, share_interval, times, with_interval

Content = Mapping[str, Any]
MARKS = {True: "✓", False: "✗"}
SCORES = {"mean_average_precision": "mAP", "macro_f1": "macro F1", "exact_match": "all states right"}
KEPT = {"clean": "clean images", "changed": "real changes", "samples": "samples", "worst": "worst members found"}


def sentences(console: Console, lines: Iterable[str]) -> None:
    """Prints sentences, a line each."""
    for line in lines:
        console.print(line, highlight=False)


def pairs(console: Console, content: Content) -> None:
    """Prints the numbers of pairs and their conditions."""
    table = Table("split", "pairs", "conditions")
    for split, counts in content["counts"].items():
        table.add_row(split, f"{sum(counts.values()):,}", ", ".join(counts))
    console.print(table)
    if content["skipped"]:
        console.print(f"{len(content['skipped'])} images could not be read and were skipped; pairs.json names them")


# The criteria.


def criteria(content: Content) -> Group:
    """The criteria of a set."""
    table = Table("error", "mean", "share of identity", "95 % interval")
    for name in ("identity", "centre", "reconstruction", "encoding", "search", "mismatched_search"):
        entry = content["necessary"][name]
        table.add_row(name, f"{entry['mean']:.3g}", share(entry), share_interval(entry))
    excess, largest = content["necessary"]["excess"], content["necessary"]["centre_largest"]
    bits, interval = likelihood(content["sufficient"])
    reach, diversity = (content["overapproximation"][name]["ratio"] for name in ("reach", "diversity"))
    findings = [f"{finding['name'].upper()}: {finding['sentence']}" for finding in content["findings"]]
    return Group(
        verdict_box(content),
        table,
        "centre: the member at offset 0, the only one at radius 0, against the clean image itself; a pixel differs by "
        f"up to {largest['max']:.2g}",
        f"cross-entropy of the nearest member over the least: {excess['mean']:.3g} nats per pixel "
        f"({between(excess, '{:.3g}'.format)})",
        f"log-likelihood {bits} bits per pixel ({interval}) {content['sufficient']['warning']}".rstrip(),
        f"farthest member at {times(reach)} the largest real changes, samples differ {times(diversity)} as much as "
        "real changes of a source do",
        _quality(content.get("quality")),
        *findings,
        *_radii(content.get("radii", [])),
    )


def verdict_box(content: Content) -> Panel:
    """The verdict, what decided, the next knobs, and the key figures with their marks."""
    verdict = content["verdict"]
    lines = [f"• {reason['sentence']}" for reason in verdict["reasons"]]
    lines += [f"→ {advice['knob']}: {advice['sentence']}" for advice in verdict["advice"]]
    if "radius" in content:
        figures = key_figures(content, None)
        lines.append(
            ", ".join(f"{each.label} {each.value}{' (not to be trusted)' * bool(each.mark)}" for each in figures)
        )
    return Panel("\n".join(lines), title=f"The set is {verdict['grade']}", title_align="left")


def _quality(quality: Content | None) -> str:
    if quality is None:
        return "too few pairs for distances between samples and real changes"
    distances = ", ".join(f"{name} {value:.3g}" for name, value in quality["frechet"].items())
    shares = ", ".join(f"{name} {quality[name]['mean']:.1%}" for name in ("precision", "recall"))
    return f"Fréchet distance to real changes ({quality['features']}): {distances}; {shares}"


def _radii(entries: list[dict[str, Any]]) -> list[Table | str]:
    """The criteria at two radii, with the warnings of their likelihoods."""
    if not entries:
        return []
    table = Table("radius", "nearest member", "mismatched", "bits per pixel", "farthest member")
    for entry in entries:
        shares = (share(entry[name]) for name in ("search", "mismatched_search"))
        reach = times(entry["overapproximation"]["reach"]["ratio"])
        table.add_row(f"{entry['radius']:.2f}", *shares, likelihood(entry["sufficient"])[0], reach)
    warned = [entry for entry in entries if entry["sufficient"]["warning"]]
    return [table, *(f"radius {entry['radius']:.2f}: {entry['sufficient']['warning']}" for entry in warned)]


# Classifiers.


def audits(console: Console, results: Mapping[str, Mapping[str, Audit]]) -> None:
    """Prints how many checks each attack passed on each classifier, and those that it failed."""
    cells, failures = {}, []
    for row, audited in results.items():
        for column, audit in audited.items():
            passed = sum(check.passed is True for check in audit.checks)
            cells[row, column] = f"{MARKS[audit.passed]} {passed} of {passed + len(audit.failures)}"
            failures += [f"{row} under {column}: {check}" for check in audit.failures]
    if cells:
        console.print(crossed("audit\nchecks passed", cells))
    sentences(console, failures)


def labels_kept(name: str, kept: Content) -> str:
    """How often members of the learned set keep their labels."""
    shares = ", ".join(f"{kept[kind]['mean']:.1%} of {words}" for kind, words in KEPT.items())
    return f"labels of the learned set's members: {name} classifies {shares} correctly"


def robustness(content: Content) -> Table:
    """Robust accuracies under the fixed ensemble."""
    table = Table("ensemble", "seed", "clean in %", "robust in %", "95 % interval", "broken by")
    for row, entries in content["rows"].items():
        for entry in entries:
            clean, robust = entry["clean"], entry["accuracy"]
            between = ends(robust["low"], robust["high"], lambda share: f"{100 * share:.1f}", "-")
            broken = "\n".join(f"{member}: {count}" for member, count in entry["broken"].items())
            shares = (f"{100 * each['mean']:.1f}" for each in (clean, robust))
            table.add_row(row, str(entry["seed"]), *shares, between, broken)
    return table


def auxiliary(scores: list[dict[str, Any]]) -> Table:
    """Scores of the auxiliary classifiers."""

    def percent(figure: Any) -> str:
        mean = figure["mean"] if isinstance(figure, dict) else figure
        return "none" if mean is None else f"{100 * mean:.1f} %"

    table = Table("auxiliary", *SCORES.values())
    for entry in scores:
        table.add_row(f"seed {entry['seed']}", *(percent(entry[name]) for name in SCORES))
    return table


# Certificates, representations and labels.


def certificates(content: Content) -> list[str]:
    """What is certified, a sentence each."""
    lines = [content[name]["sentence"] for name in ("coverage", "radius") if name in content]
    for name, entry in content["smoothing"].items():
        lines.append(f"{name}: {entry['sentence']}")
        if "joint" in entry:
            lines.append(f"{name}: {entry['joint']['sentence']}")
    return lines


def representations(content: Content) -> list[str]:
    """Success of the attacks on representations, a sentence for each layer."""
    lines = []
    for layer, entry in content["by_layer"].items():
        label, ratio = (with_interval(e, "{:.1%}".format) for e in (entry["labels"]["takes_guide"], entry["ratio"]))
        lines.append(f"{layer}: {label} get the guide's label; the remaining distance to the guide is {ratio}")
    return lines


def labels(console: Console, content: Content) -> None:
    """Prints the attacks on labels, and the detection by rules."""
    table = Table("attack", "success in %", "collateral flips", "L2", "L-inf", "ms an image")
    for name, entry in {**content["attacks"], **content["least"], **content["universal"]}.items():
        if entry["images"]:
            collateral = "" if entry["targeted"] is None else f"{entry['targeted']['collateral']['mean']:.2f}"
            norms = ("" if one is None else f"{one:.3g}" for one in entry["norms"].values())
            seconds = "" if entry["seconds"] is None else f"{1000 * entry['seconds']:.1f}"
            table.add_row(name, f"{100 * entry['success']['mean']:.1f}", collateral, *norms, seconds)
    console.print(table)
    detector = content["detector"] or {"classifiers": {}}
    for classifier, entry in detector["classifiers"].items():
        for name, kinds in entry["adversaries"].items():
            areas = {
                kind: f"{each['area']['mean']:.3f}" if "area" in each else "not measured (too few misclassified)"
                for kind, each in kinds.items()
            }
            line = f"{classifier} under {name}: area under the curve {areas['plain']}, if adaptive {areas['adaptive']}"
            sentences(console, [line])
