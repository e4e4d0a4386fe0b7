"""Faults between the sections of a recipe, each of which may have faults of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any

from perturbsets.recipe.registry import ALLOWED
from perturbsets.stages import planned

Content = Mapping[str, Any]
NEEDS = (
    ("classifiers", "classifier"),
    ("classifiers", "source"),
    ("trained", "source"),
    ("representations", "source"),
    ("auxiliary", "source"),
    ("labels", "source"),
)
"""Sections and the ones that each needs."""


def misfits(content: Content) -> Iterator[str]:
    """The faults between a recipe's sections, given as plain values, any of which may be faulty."""
    given = {name for name, value in content.items() if value is not None}
    yield from _pairs(content)
    yield from _learning(content, given)
    for name, needed in NEEDS:
        if name in given and needed not in given:
            yield f"{name} must come with a {needed}, got none"
    yield from _sets(content)
    yield from _certificates(content)
    yield from _representations(content)
    yield from _auxiliary(content)
    if mapping(content, "labels"):
        yield from _labels(content)
    known = sorted(map(str, mapping(content, "sets")))
    for place, wanted in _sets_named(content):
        if wanted not in known:
            yield f"{place} must be one of {known}, got {wanted!r}"
    if "clean" in mapping(content, "adversaries"):
        yield "adversaries.clean must have another name: clean is the column without an adversary"
    own, evaluated = content.get("classifiers"), mapping(content, "evaluate")
    for key in ("reference", "control"):
        if isinstance(own, dict) and isinstance(named := evaluated.get(key), str) and named not in own:
            yield f"evaluate.{key} must be one of {sorted(map(str, own))}, got {named!r}"
    seeds = content.get("seeds", [])
    if isinstance(seeds, list) and len({str(seed) for seed in seeds}) < len(seeds):
        yield f"seeds must differ, got {seeds}"
    precisions = [mapping(content, name).get("mixed_precision", "no") for name in ("fit", "train")]
    if precisions[0] != precisions[1] and {"fit", "train"} <= set(planned(content)):
        yield f"train.mixed_precision must be that of fit, since one process has one, got {precisions[1]!r}"


def mapping(content: Content, key: str) -> dict[str, Any]:
    """A section; an empty one where there is none or it is no mapping."""
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def _at(content: Content, place: str) -> dict[str, Any]:
    """The section at keys separated by dots."""
    return reduce(mapping, place.split("."), dict(content))


def _listed(content: Content, key: str) -> list[str]:
    """The texts of a list; none where there is no list."""
    given = content.get(key)
    return [name for name in given if isinstance(name, str)] if isinstance(given, list) else []


def _has_set(content: Content) -> bool:
    return content.get("model") is not None or content.get("learned") is not None


def _classifier(content: Content, place: str, key: str, wanted: Any) -> Iterator[str]:
    """The fault of a section that names a classifier which is trained neither here nor in another run."""
    own = content.get("classifiers")
    if own is None and content.get("trained") is None:
        yield f"{place} must come with classifiers, trained here or in the run `trained`, got none"
    elif isinstance(own, dict) and isinstance(wanted, str) and wanted not in own:
        yield f"{place}.{key} must be one of {sorted(map(str, own))}, got {wanted!r}"


def _sets_named(content: Content) -> Iterator[tuple[str, str]]:
    """The names of sets in a recipe, with their places."""
    for place in ("evaluate.robustness", "representations"):
        for number, wanted in enumerate(_listed(_at(content, place), "sets")):
            yield f"{place}.sets.{number}", wanted
    users: dict[str, Any] = {}
    for place in ("certify.smoothing", "labels.attacks", "labels.universal", "classifiers", "adversaries"):
        users |= {f"{place}.{name}": user for name, user in _at(content, place).items()}
    users |= {place: _at(content, place) for place in ("validation", "auxiliary.adversary")}
    for place, user in users.items():
        while isinstance(user, dict):
            if isinstance(user.get("set"), str):
                yield f"{place}.set", user["set"]
            if isinstance(mapping(user, "own").get("set"), str):
                yield f"{place}.own.set", user["own"]["set"]
            place, user = f"{place}.method", user.get("method")


# Pairs, the learned set and the sets made of it.


def _learning(content: Content, given: set[Any]) -> Iterator[str]:
    if not given & {"pairs", "model", "classifiers", "trained", "representations", "auxiliary"}:
        yield (
            "recipe must have pairs to make, a model to fit, classifiers or an auxiliary classifier to train or "
            "evaluate, or representations to attack, got none of them"
        )
    for name in ("fit", "set", "check"):
        if name in content and "model" not in given:
            yield f"{name} must come with a model, got none: without one no set is learned"
    if {"model", "learned"} <= given:
        yield "learned must come without a model, got both: a set is fitted here, or taken from its folder"
    if {"classifiers", "trained"} <= given:
        yield "trained must come without classifiers, got both: they are trained here, or taken from their run"


def _pairs(content: Content) -> Iterator[str]:
    section, sets = mapping(content, "pairs"), mapping(content, "sets").values()
    made = "pairs" in planned(content) and section.get("of") is None
    if section.get("of") is not None and section.get("path") is not None:
        yield "pairs.path must come without pairs.of, got both: pairs are made of the one, or read from the other"
    for name in ("source", "change"):
        if made and content.get(name) is None:
            yield f"pairs must come with a {name}, got none: they are made of both, or named by pairs.of or .path"
    drawn = any(isinstance(one, dict) and one.get("of") == "unseen" for one in sets)
    if content.get("unseen") is not None and not made and not drawn:
        yield "unseen must come with pairs that are made here, or with a set of it, got neither"


def _sets(content: Content) -> Iterator[str]:
    former: list[str] = []
    change = mapping(content, "change").get("build")
    for name, made in mapping(content, "sets").items():
        made = made if isinstance(made, dict) else {}
        kind, place = made.get("build"), f"sets.{name}"
        if kind == "perturbsets.LatentBall" and not _has_set(content):
            yield f"{place} must come with a model or a learned set in the recipe, got none"
        if kind == "perturbsets.SpatialBox" and content.get("change") is None:
            yield f"{place} must come with a change in the recipe, got none"
        if kind == "perturbsets.SpatialBox" and change in ALLOWED["change"] and change != "augment.SpatialChange":
            yield f"{place} must come with augment.SpatialChange as the recipe's change, for its ranges"
        if kind == "perturbsets.DrawnChanges" and content.get(wanted := made.get("of", "change")) is None:
            yield f"{place} must come with the section {wanted} in the recipe, got none"
        inside = [("sets", wanted) for wanted in _listed(made, "sets")] + [("set", made.get("set"))]
        for key, wanted in inside:
            if isinstance(wanted, str) and wanted not in former:
                yield f"{place}.{key} must name sets given before this one, {former}, got {wanted!r}"
        former.append(str(name))


# Certificates, representations, and labels, many to an image.


def _certificates(content: Content) -> Iterator[str]:
    section = mapping(content, "certify")
    stored = "pairs" in planned(content) or mapping(content, "pairs").get("path") is not None
    for name in ("coverage", "radius"):
        if section.get(name) is not None and not (_has_set(content) and stored):
            yield f"certify.{name} must come with a model or a learned set, and with held-out pairs"
    if content.get("certify") is not None and not any(map(section.get, ("coverage", "radius", "smoothing"))):
        yield "certify must ask for coverage, radius or smoothing, got none of them"
    for name in mapping(section, "smoothing"):
        wanted = mapping(section["smoothing"], name).get("classifier")
        yield from _classifier(content, f"certify.smoothing.{name}", "classifier", wanted)


def _representations(content: Content) -> Iterator[str]:
    section = mapping(content, "representations")
    if not section:
        return
    if (section.get("classifier") is None) == (section.get("network") is None):
        got = "neither" if section.get("network") is None else "both"
        yield f"representations must have a trained classifier, or a network that needs no training, got {got}"
    if section.get("classifier") is not None:
        yield from _classifier(content, "representations", "classifier", section["classifier"])
    if section.get("ascent") is not None and not section.get("sets"):
        yield "representations.ascent must come with representations.sets, got none: it searches in these"


def _auxiliary(content: Content) -> Iterator[str]:
    """Faults of the auxiliary classifier and of the methods that train with one."""
    auxiliary, kinds = content.get("auxiliary") is not None, ALLOWED["multi-label source"]
    source = mapping(content, "source")
    for name, given in (("auxiliary", auxiliary), ("labels", bool(mapping(content, "labels")))):
        if given and source.get("build") not in kinds:
            yield (
                f"{name} must come with a source whose labels have states, one of {', '.join(kinds)}, got "
                f"{source.get('build')}"
            )
    if auxiliary and content.get("trained") is not None:
        yield "auxiliary must come without trained, got both: it is trained here, or taken from that run"
    if auxiliary and not (mapping(content, "auxiliary").get("network") or content.get("classifier")):
        yield "auxiliary must have a network, or the recipe a classifier, got neither"
    for name in ("classifiers", "trained"):
        if source.get("classed") is False and content.get(name) is not None:
            yield f"source.classed must be true with {name}, got false: classifiers need a class of every image"
    network, rules = mapping(content, "classifier").get("build"), mapping(content, "auxiliary").get("rules")
    for name, made in mapping(content, "classifiers").items():
        if not isinstance(made, dict) or made.get("build") not in ALLOWED["dual method"]:
            continue
        place, frozen = f"classifiers.{name}", made.get("auxiliary_network", "frozen") == "frozen"
        if frozen and not auxiliary:
            yield f"{place} must come with an auxiliary classifier, got none: give one, or auxiliary_network: updated"
        if frozen and made.get("auxiliary_adversarial"):
            yield f"{place}.auxiliary_adversarial must be false where auxiliary_network is frozen: it does not learn"
        if not frozen and network != "perturbsets.SmallConvNet":
            yield f"{place}.auxiliary_network must be frozen with the classifier {network}: others need a SmallConvNet"
        if made.get("rules_weight") and not rules:
            yield f"{place}.rules_weight must come with rules of the auxiliary classifier, got none"


def _labels(content: Content) -> Iterator[str]:
    """Faults of the attacks on labels, and of the detector."""
    auxiliary, detector = content.get("auxiliary") is not None, mapping(mapping(content, "labels"), "detector")
    if not auxiliary and content.get("trained") is None:
        yield "labels must come with an auxiliary classifier, trained here or in the run `trained`, got none"
    for number, wanted in enumerate(_listed(detector, "classifiers")):
        yield from _classifier(content, "labels.detector", f"classifiers.{number}", wanted)
    known = sorted(map(str, mapping(content, "adversaries")))
    for number, wanted in enumerate(_listed(detector, "adversaries")):
        if wanted not in known:
            yield f"labels.detector.adversaries.{number} must be one of {known}, got {wanted!r}"
    if detector and auxiliary and not mapping(content, "auxiliary").get("rules"):
        yield "labels.detector must come with rules of the auxiliary classifier, got none: it detects by them"
