"""The sections on the criteria: the pairs the set covers worst, its farthest members, and all figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from perturbsets.report import charts, set_pictures
from perturbsets.report.findings import between, likelihood, percent, share, share_interval, times
from perturbsets.report.pictures import Grid
from perturbsets.report.radius_charts import necessary_chart, theorem_chart
from perturbsets.report.section import Section, read_json, read_tensors
from perturbsets.sets.latent import LatentBall

Content = Mapping[str, Any]


class Criterion(NamedTuple):
    """One row of the table of criteria: the question it answers, the figure, and how to read it."""

    name: str
    question: str
    value: str
    interval: str
    meaning: str


def criteria_sections(run: Path, checks: dict[str, Any] | None, pairs: Path) -> list[Section]:
    """The sections on norms, extremes, criteria and theorems; ``checks`` is ``None`` before the check stage."""
    norms, criteria = ("norms", "Norms of the encodings"), ("criteria", "The criteria")
    file = run / "checks" / "arrays.safetensors"
    if checks is None or not file.is_file():
        return [Section(*norms, needs="check"), Section(*criteria, needs="check")]
    checks["overapproximation"]["labels"] = read_json(run / "evaluation" / "labels.json")
    arrays = read_tensors(file)
    errors = {
        "nearest member": arrays["search_error"],
        "at the encoding": arrays["encoding_error"],
        "clean image": arrays["identity_error"],
        "nearest, mismatched": arrays["mismatched_error"],
    }
    radius, latent = checks["radius"]["value"], (read_json(run / "set" / "config.json") or {}).get("latent")
    drawn = [charts.errors_chart(errors), necessary_chart(checks["necessary"]["curve"], radius)]
    sections = [
        Section(*norms, charts=[charts.norms_chart(arrays["norms"], radius, latent)], content=checks["radius"]),
        *_extremes(run, pairs, arrays),
        Section(*criteria, charts=drawn, content=_figures(checks)),
    ]
    if "unseen" in checks:
        sections.append(Section("unseen", "The criteria under unseen conditions", content=_figures(checks["unseen"])))
    bounds = checks["theorems"]
    drawn = [theorem_chart(latent, bounds["kl"]["mean"], radius)] if latent else []
    return [*sections, Section("theorems", "Proven bounds", charts=drawn, content=bounds)]


def _extremes(run: Path, pairs: Path, arrays: dict[str, Tensor]) -> list[Section]:
    """Pictures of the pairs that the set covers worst, and of the members farthest from their images."""
    if not pairs.is_file() or not (run / "set").is_dir():
        return []
    from augment import PairStore

    learned, store = LatentBall.load(run / "set"), PairStore(pairs, split="test")
    grids: list[Grid] = []
    for kind, drawn in (("worst", set_pictures.worst_pairs), ("farthest", set_pictures.farthest_members)):
        clean, changed = set_pictures.pair_images(store, arrays[f"{kind}_pairs"])
        grids.append(drawn(learned, clean, changed, arrays[f"{kind}_offsets"]))
    return [Section("extremes", "Worst pairs and farthest members", grids=grids)]


def _figures(checks: dict[str, Any]) -> dict[str, Any]:
    """The content of a section on the criteria, for one split."""
    return {"radii": [], **checks, "criteria": criteria(checks)}


def criteria(checks: Content) -> list[Criterion]:
    """The rows of the table of criteria."""
    necessary, sufficient, approximation = checks["necessary"], checks["sufficient"], checks["approximation"]
    search, encoding, mismatched = (necessary[name] for name in ("search", "encoding", "mismatched_search"))
    bits, bits_interval = likelihood(sufficient)
    above_floor = ""
    if search["above_floor"] is not None:
        above_floor = (
            "Error above the generator's floor (its least error at any offset), relative to the clean image's: "
            f"{percent(search['above_floor'])}."
        )
    return [
        Criterion(
            "Necessary subset property",
            "Is every real change in the set?",
            share(search),
            share_interval(search),
            "Squared error of the nearest member found, as a share of the squared difference between clean and changed "
            f"image; lower is better, 0 % means that every change is in the set. At the encoding: {share(encoding)}. "
            f"Per pixel: mean {search['mean']:.2g}, 95 % of pairs at most {search['q95']:.2g}. The search bounds the "
            f"true minimum from above. {above_floor}",
        ),
        *_centre(necessary),
        Criterion(
            "Mismatched pairs",
            "Does the set contain changes of other images too?",
            share(mismatched),
            share_interval(mismatched),
            "The same search, towards changed images of another source. It should stay far above the necessary subset "
            "property, which a set of all images would meet too.",
        ),
        Criterion(
            "Sufficient likelihood property",
            "Are real changes likely under the set's distribution?",
            f"{bits} bits",
            bits_interval,
            "Mean log-likelihood of changed images per pixel, with offsets drawn from the prior within the ball; "
            f"higher is better. Measure: {sufficient['measure']}; compare only equal likelihoods and floors. Estimated "
            f"by importance sampling with {sufficient['draws']} draws per pair, an effective sample size of "
            f"{sufficient['effective_sample_size']:.1f} on average. {sufficient['warning']}",
        ),
        Criterion(
            "Expected approximation error",
            "How near is a random member?",
            share(approximation),
            f"{between(approximation, '{:.2g}'.format)} per pixel",
            f"Mean squared error of random members, {approximation['mean']:.2g} per pixel, as a share of the "
            "difference between clean and changed image. A set of many different changes has a large one, which is no "
            "fault by itself.",
        ),
        *_around(checks["overapproximation"]),
        *_quality(checks.get("quality")),
    ]


def _centre(necessary: Content) -> list[Criterion]:
    """How far offset 0 is from the clean image; not measured by runs of former versions."""
    if "centre" not in necessary:
        return []
    centre, largest = necessary["centre"], necessary["centre_largest"]
    return [
        Criterion(
            "Offset 0",
            "Is the clean image in the set?",
            share(centre),
            share_interval(centre),
            "At radius 0 the set holds one image, the one decoded at offset 0, and not x itself. This is its squared "
            "difference from x, as a share of that between clean and changed image; lower is better. Per pixel: mean "
            f"{centre['mean']:.2g}, 95 % of pairs at most {centre['q95']:.2g}. The largest difference of a pixel is "
            f"{largest['mean']:.2g} on average over pairs, and {largest['max']:.2g} at most. So accuracy at radius 0 "
            "need not be clean accuracy.",
        )
    ]


def _around(figures: Content) -> list[Criterion]:
    """Reach and diversity."""
    reach, sampled, diversity = (figures[name] for name in ("reach", "sampled", "diversity"))
    labels, accuracies = figures["labels"], ""
    if labels is not None:
        clean, changed, samples, worst = (
            percent(labels[kind]["mean"]) for kind in ("clean", "changed", "samples", "worst")
        )
        accuracies = (
            f" Accuracy of the classifier {labels['classifier']}: {clean} on clean images, {changed} on real changes, "
            f"{samples} on samples, {worst} in the worst case found."
        )
    return [
        Criterion(
            "Reach",
            "How far does the set go beyond real changes?",
            times(reach["ratio"]),
            between(reach, times, "ratio_"),
            "Squared distance from x of the farthest member found, over that of the largest real change of the same "
            f"source; samples lie at {times(sampled['ratio'])} the mean real change. A lower bound: a better search "
            f"can only increase it.{accuracies}",
        ),
        Criterion(
            "Diversity",
            "Do members differ as real changes do?",
            times(diversity["ratio"]),
            "no source has several real changes" if diversity["ratio"] is None else between(diversity, times, "ratio_"),
            "Mean squared distance between two samples around one image, over that between two real changes of it. "
            "Near 0 the set is a single image; at 1 it is as varied as the real changes.",
        ),
    ]


def _quality(quality: Content | None) -> list[Criterion]:
    """Samples against real changes in feature space; not measured by runs of former versions."""
    if quality is None:
        return []
    distance, precision, recall = (quality[name] for name in ("frechet", "precision", "recall"))
    return [
        Criterion(
            "Fréchet distance",
            "Are samples distributed like real changes?",
            f"{distance['samples']:.3g}",
            f"{distance['real']:.3g} for real changes, {distance['clean']:.3g} for clean images",
            f"Between {quality['images']:,} samples and {quality['reference']:,} other real changed images, "
            f"in the space of {quality['features']}; lower is better. It falls with the number of images: compare it "
            "with the values for as many real changed images and clean ones.",
        ),
        Criterion(
            "Precision and recall",
            "Do samples lie among real changes, and cover all of them?",
            f"{percent(precision['mean'])}, {percent(recall['mean'])}",
            f"{between(precision)}, {between(recall)}",
            "Shares of the samples that lie among real changed images, and of real changed images that lie among "
            "samples, in the same space. Too large a set has a low precision, too small a one a low recall.",
        ),
    ]
