"""What is wrong between the sections of a recipe, each of which may have faults of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from perturbsets.recipe.parts import ALLOWED
from perturbsets.stages import planned

# Looking into the plain values of a recipe, any of which may be faulty.


def mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A section, or nothing where there is none or it is no mapping."""
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def listed(content: Mapping[str, Any], key: str) -> list[str]:
    """The texts of a list, or nothing where there is none."""
    given = content.get(key)
    return [name for name in given if isinstance(name, str)] if isinstance(given, list) else []


def unmet_classifier(content: Mapping[str, Any], place: str, key: str, wanted: Any) -> Iterator[str]:
    """The name of a classifier that is neither trained here nor in another run.

    Args:
        content: The recipe's sections.
        place: The section that names it.
        key: Where in that section.
        wanted: The name.
    """
    own = content.get("classifiers")
    if own is None and content.get("trained") is None:
        yield f"{place} must come with classifiers, trained here or in the run `trained`, got none"
    elif isinstance(own, dict) and isinstance(wanted, str) and wanted not in own:
        yield f"{place}.{key} must be one of {sorted(map(str, own))}, got {wanted!r}"


# What is wrong between the sections of a recipe that are about labels, many to an image.


def label_misfits(content: Mapping[str, Any]) -> Iterator[str]:
    """What the auxiliary classifier, methods that it helps, and attacks on its labels lack.

    Args:
        content: The recipe's sections as plain values, faulty ones among them.
    """
    auxiliary, section = content.get("auxiliary") is not None, mapping(content, "labels")
    kind, kinds = mapping(content, "source").get("build"), ALLOWED["multi-label source"]
    for name, given in (("auxiliary", auxiliary), ("labels", bool(section))):
        if given and kind not in kinds:
            yield f"{name} must come with a source whose labels have states, one of {', '.join(kinds)}, got {kind}"
    if auxiliary and content.get("trained") is not None:
        yield "auxiliary must come without trained, got both: it is trained here, or taken from that run"
    if auxiliary and not (mapping(content, "auxiliary").get("network") or content.get("classifier")):
        yield "auxiliary must have a network, or the recipe a classifier, got neither"
    unclassed = mapping(content, "source").get("classed") is False
    for name in ("classifiers", "trained"):
        if unclassed and content.get(name) is not None:
            yield f"source.classed must be true with {name}, got false: classifiers need a class of every image"
    for name, made in mapping(content, "classifiers").items():
        if isinstance(made, dict) and made.get("build") in ALLOWED["dual method"]:
            yield from _unmet_dual(content, f"classifiers.{name}", made)
    if not section:
        return
    if not auxiliary and content.get("trained") is None:
        yield "labels must come with an auxiliary classifier, trained here or in the run `trained`, got none"
    detector = mapping(section, "detector")
    for number, wanted in enumerate(listed(detector, "classifiers")):
        yield from unmet_classifier(content, "labels.detector", f"classifiers.{number}", wanted)
    known = sorted(map(str, mapping(content, "adversaries")))
    for number, wanted in enumerate(listed(detector, "adversaries")):
        if wanted not in known:
            yield f"labels.detector.adversaries.{number} must be one of {known}, got {wanted!r}"
    if detector and auxiliary and not mapping(content, "auxiliary").get("rules"):
        yield "labels.detector must come with rules of the auxiliary classifier, got none: they are what it detects by"


def _unmet_dual(content: Mapping[str, Any], place: str, made: Mapping[str, Any]) -> Iterator[str]:
    """What a method with an auxiliary classifier lacks."""
    kind, network = made.get("auxiliary_network", "frozen"), mapping(content, "classifier").get("build")
    if kind == "frozen" and content.get("auxiliary") is None:
        yield f"{place} must come with an auxiliary classifier, got none: give one, or auxiliary_network: updated"
    if kind != "frozen" and network != "perturbsets.SmallConvNet":
        yield f"{place}.auxiliary_network must be frozen beside the classifier {network}: others are a SmallConvNet's"
    if kind == "frozen" and made.get("auxiliary_adversarial"):
        yield f"{place}.auxiliary_adversarial must be false where auxiliary_network is frozen: that one does not learn"
    if made.get("rules_weight") and not mapping(content, "auxiliary").get("rules"):
        yield f"{place}.rules_weight must come with rules of the auxiliary classifier, got none"


NOT_SPATIAL = set(ALLOWED["change"]) - {"augment.SpatialChange"}


def misfits(content: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong between the sections of a recipe, each of which may have faults of its own."""
    yield from _unmet(content)
    sets = mapping(content, "sets")
    for place, wanted in _sets_named(content):
        if wanted not in sets:
            yield f"{place} must be one of {sorted(map(str, sets))}, got {wanted!r}"
    if "clean" in mapping(content, "adversaries"):
        yield "adversaries.clean must have another name: clean is the column without an adversary"
    own, evaluated = content.get("classifiers"), mapping(content, "evaluate")
    for key in ("reference", "control"):
        named = evaluated.get(key)
        if isinstance(own, dict) and isinstance(named, str) and named not in own:
            yield f"evaluate.{key} must be one of {sorted(map(str, own))}, got {named!r}"
    seeds = content.get("seeds", [])
    if isinstance(seeds, list) and len({str(seed) for seed in seeds}) < len(seeds):
        yield f"seeds must differ, got {seeds}"
    precisions = [mapping(content, name).get("mixed_precision", "no") for name in ("fit", "train")]
    if precisions[0] != precisions[1] and {"fit", "train"} <= set(planned(content)):
        yield f"train.mixed_precision must be that of fit, since one process has one, got {precisions[1]!r}"


def _sets_named(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Where a recipe names sets, and which."""
    evaluated = mapping(mapping(content, "evaluate"), "robustness")
    for number, wanted in enumerate(_names(evaluated)):
        yield f"evaluate.robustness.sets.{number}", wanted
    for number, wanted in enumerate(_names(mapping(content, "representations"))):
        yield f"representations.sets.{number}", wanted
    users = {"validation": content.get("validation")}
    smoothing = mapping(mapping(content, "certify"), "smoothing")
    users |= {f"certify.smoothing.{name}": user for name, user in smoothing.items()}
    users["auxiliary.adversary"] = mapping(content, "auxiliary").get("adversary")
    labels = mapping(content, "labels")
    for section_name in ("attacks", "universal"):
        users |= {f"labels.{section_name}.{name}": user for name, user in mapping(labels, section_name).items()}
    for section_name in ("classifiers", "adversaries"):
        users |= {f"{section_name}.{name}": user for name, user in mapping(content, section_name).items()}
    for place, user in users.items():
        while isinstance(user, dict):
            if isinstance(user.get("set"), str):
                yield f"{place}.set", user["set"]
            if isinstance(mapping(user, "own").get("set"), str):
                yield f"{place}.own.set", user["own"]["set"]
            place, user = f"{place}.method", user.get("method")


def _unmet(content: Mapping[str, Any]) -> Iterator[str]:
    """Sections without what they rest on, or beside what they leave no use for."""
    yield from _unmet_pairs(content)
    given = {name for name, value in content.items() if value is not None}
    if not given & {"pairs", "model", "classifiers", "trained", "representations", "auxiliary"}:
        yield (
            "recipe must have pairs to make, a model to fit, classifiers or an auxiliary classifier to train or "
            "judge, or representations to look at, got none of them"
        )
    for name in ("fit", "set", "check"):
        if name in content and "model" not in given:
            yield f"{name} must come with a model, got none: without one nothing is learned"
    if {"model", "learned"} <= given:
        yield "learned must come without a model, got both: a set is fitted here, or taken from its folder"
    if {"classifiers", "trained"} <= given:
        yield "trained must come without classifiers, got both: they are trained here, or taken from their run"
    for name, needed in (
        ("classifiers", "classifier"),
        ("classifiers", "source"),
        ("trained", "source"),
        ("representations", "source"),
        ("auxiliary", "source"),
        ("labels", "source"),
    ):
        if name in given and needed not in given:
            yield f"{name} must come with a {needed}, got none"
    yield from _unmet_sets(content)
    yield from _unmet_certificates(content)
    yield from _unmet_representations(content)
    yield from label_misfits(content)


def _unmet_pairs(content: Mapping[str, Any]) -> Iterator[str]:
    """What the making of pairs lacks."""
    section = mapping(content, "pairs")
    made = "pairs" in planned(content) and section.get("of") is None
    if section.get("of") is not None and section.get("path") is not None:
        yield "pairs.path must come without pairs.of, got both: pairs are made of the one, or read from the other"
    if made:
        for name in ("source", "change"):
            if content.get(name) is None:
                yield f"pairs must come with a {name}, got none: they are made of both, or named by pairs.of or .path"
    drawn = [made for made in mapping(content, "sets").values() if isinstance(made, dict)]
    if content.get("unseen") is not None and not made and not any(one.get("of") == "unseen" for one in drawn):
        yield "unseen must come with pairs that are made here, or with a set of it, got neither"


def _unmet_sets(content: Mapping[str, Any]) -> Iterator[str]:
    """Sets without what they are made of."""
    learned = content.get("model") is not None or content.get("learned") is not None
    above: list[str] = []
    for name, made in mapping(content, "sets").items():
        kind = made.get("build") if isinstance(made, dict) else None
        if kind == "perturbsets.LatentBall" and not learned:
            yield f"sets.{name} must come with a model or a learned set in the recipe, got none"
        if kind == "perturbsets.SpatialBox" and content.get("change") is None:
            yield f"sets.{name} must come with a change in the recipe, got none"
        if kind == "perturbsets.SpatialBox" and mapping(content, "change").get("build") in NOT_SPATIAL:
            yield f"sets.{name} must come with augment.SpatialChange as the recipe's change, for its ranges"
        if kind == "perturbsets.DrawnChanges" and content.get(wanted := made.get("of", "change")) is None:
            yield f"sets.{name} must come with the section {wanted} in the recipe, got none"
        if kind == "perturbsets.ComposedSet":
            for wanted in _names(made):
                if wanted not in above:
                    yield f"sets.{name}.sets must name sets that stand above it, {above}, got {wanted!r}"
        above.append(str(name))


def _unmet_certificates(content: Mapping[str, Any]) -> Iterator[str]:
    """What certificates lack."""
    section = mapping(content, "certify")
    learned = content.get("model") is not None or content.get("learned") is not None
    stored = "pairs" in planned(content) or mapping(content, "pairs").get("path") is not None
    for name in ("coverage", "radius"):
        if section.get(name) is not None and not (learned and stored):
            yield f"certify.{name} must come with a model or a learned set, and with pairs to hold it against"
    if content.get("certify") is not None and not any(
        section.get(name) for name in ("coverage", "radius", "smoothing")
    ):
        yield "certify must ask for coverage, radius or smoothing, got none of them"
    for name, smoothing in mapping(section, "smoothing").items():
        wanted = smoothing.get("classifier") if isinstance(smoothing, dict) else None
        yield from unmet_classifier(content, f"certify.smoothing.{name}", "classifier", wanted)


def _unmet_representations(content: Mapping[str, Any]) -> Iterator[str]:
    """What the look at representations lacks."""
    section = mapping(content, "representations")
    if not section:
        return
    if (section.get("classifier") is None) == (section.get("network") is None):
        got = "neither" if section.get("network") is None else "both"
        yield f"representations must have a classifier that is trained, or a network that need not be, got {got}"
    if section.get("classifier") is not None:
        yield from unmet_classifier(content, "representations", "classifier", section["classifier"])
    if section.get("ascent") is not None and not section.get("sets"):
        yield "representations.ascent must come with representations.sets, got none: it climbs in these"


def _names(content: Mapping[str, Any]) -> list[str]:
    return listed(content, "sets")
