"""What is wrong between the sections of a recipe that are about labels, many to an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from perturbsets.recipe.looking import listed, mapping, unmet_classifier
from perturbsets.recipe.parts import ALLOWED


def label_misfits(content: Mapping[str, Any]) -> Iterator[str]:
    """What the helper, methods that it helps, and attacks on its labels lack.

    Args:
        content: The recipe's sections as plain values, faulty ones among them.
    """
    helper, section = content.get("helper") is not None, mapping(content, "labels")
    kind, kinds = mapping(content, "source").get("build"), ALLOWED["multi-label source"]
    for name, given in (("helper", helper), ("labels", bool(section))):
        if given and kind not in kinds:
            yield f"{name} must come with a source whose labels have states, one of {', '.join(kinds)}, got {kind}"
    if helper and content.get("trained") is not None:
        yield "helper must come without trained, got both: it is trained here, or taken from that run"
    if helper and not (mapping(content, "helper").get("network") or content.get("classifier")):
        yield "helper must have a network, or the recipe a classifier, got neither"
    unclassed = mapping(content, "source").get("classed") is False
    for name in ("classifiers", "trained"):
        if unclassed and content.get(name) is not None:
            yield f"source.classed must be true with {name}, got false: classifiers need a class of every image"
    for name, made in mapping(content, "classifiers").items():
        if isinstance(made, dict) and made.get("build") in ALLOWED["dual method"]:
            yield from _unmet_dual(content, f"classifiers.{name}", made)
    if not section:
        return
    if not helper and content.get("trained") is None:
        yield "labels must come with a helper, trained here or in the run `trained`, got none"
    detector = mapping(section, "detector")
    for number, wanted in enumerate(listed(detector, "classifiers")):
        yield from unmet_classifier(content, "labels.detector", f"classifiers.{number}", wanted)
    known = sorted(map(str, mapping(content, "adversaries")))
    for number, wanted in enumerate(listed(detector, "adversaries")):
        if wanted not in known:
            yield f"labels.detector.adversaries.{number} must be one of {known}, got {wanted!r}"
    if detector and helper and not mapping(content, "helper").get("rules"):
        yield "labels.detector must come with rules of the helper, got none: they are what it detects by"


def _unmet_dual(content: Mapping[str, Any], place: str, made: Mapping[str, Any]) -> Iterator[str]:
    """What a method with a helper lacks."""
    kind, network = made.get("helper_network", "frozen"), mapping(content, "classifier").get("build")
    if kind == "frozen" and content.get("helper") is None:
        yield f"{place} must come with a helper, got none: give one, or helper_network: updated"
    if kind != "frozen" and network != "perturbsets.SmallConvNet":
        yield f"{place}.helper_network must be frozen beside the classifier {network}: others are a SmallConvNet's"
    if kind == "frozen" and made.get("helper_adversarial"):
        yield f"{place}.helper_adversarial must be false where helper_network is frozen: that one learns nothing more"
    if made.get("rules_weight") and not mapping(content, "helper").get("rules"):
        yield f"{place}.rules_weight must come with rules of the helper, got none"
