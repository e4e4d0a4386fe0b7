"""A study of one network's representations: feature adversaries at its layers, and all measures of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from augment import Portion, Source, group_numbers
from cvae import derive_seed
from perturbsets._types import Images, Labels, Rows
from perturbsets.adversaries.adversary import Adversary
from perturbsets.ascents import Ascent, ProjectedLBFGS
from perturbsets.model_call import initial_seed
from perturbsets.models import randomized
from perturbsets.objectives import FeatureDistance
from perturbsets.representations.attacks import feature_fgrad, feature_linear, feature_opt, label_fgrad, label_opt
from perturbsets.representations.detection import detection_roc
from perturbsets.representations.feature_bank import write_bank
from perturbsets.representations.guides import GuidedPairs, draw_guided_pairs
from perturbsets.representations.inversion import Inversion
from perturbsets.representations.layer_probe import TOGETHER, BatchResult, LayerProbe, ProbeResult
from perturbsets.representations.study_settings import StudySettings
from perturbsets.sets import PerturbationSet

LINEAR_STEPS = 10_000  # at most; feature-linear stops when its duality gap is small
ROUND_STEPS = 50  # at most, of each round in which label-opt halves its penalty
NETWORKS = {"random": False, "orthonormal": True}  # whether their weights are orthonormal
DIMENSIONS = (1, 2, 4, 8, 12)  # of the tangent, for its sensitivity


def study_representations(
    model: nn.Module,
    data: Mapping[str, Source],
    settings: StudySettings,
    *,
    others: Mapping[str, nn.Module] | None = None,
    sets: Mapping[str, PerturbationSet] | None = None,
    ascent: Ascent | None = None,
    device: torch.device | None = None,
    folder: Path | str | None = None,
    generator: torch.Generator | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Attacks the representations of a network and describes the adversaries among natural images.

    Args:
        model: The network, on the device.
        data: Sources by split: ``train``, ``test``, and those of the guides.
        settings: Layers, pairs, radii and steps.
        others: Further networks, for transfer.
        sets: Further perturbation sets in which the last layer is attacked with the same guides.
        ascent: The ascent in these sets; projected L-BFGS if not given.
        device: Where to compute; the CPU if not given.
        folder: Where features of natural images are stored meanwhile, which may be large; by default the system's.
        generator: Gives the seed of all draws, its initial one (0 without a generator).
        progress: Called with the name of the next part, its number, and the number of parts.

    Returns:
        The figures as plain values, and tensors: measures of each adversary, images and their predictions.

    Raises:
        ValueError: If a layer is unknown or dead, or there are too few images for the pairs.

    References:
        Sabour et al., *Adversarial manipulation of deep representations*, 2016.
    """
    with tempfile.TemporaryDirectory(prefix=".banks-", dir=folder) as banks:
        seed = initial_seed(generator)
        study = _Study(model, data, settings, others or {}, device or torch.device("cpu"), Path(banks), seed)
        parts: dict[str, Callable[[], Any]] = {
            "by_layer": study.by_layer,
            "by_radius": study.by_radius,
            "kinds": study.kinds,
            "sensitivity": study.sensitivity,
            "guides": study.guides,
            "random": study.random,
            "transfer": study.transfer,
            "sets": lambda: study.sets(sets or {}, ascent or ProjectedLBFGS(settings.steps)),
            "detection": study.detection,
        }
        content = {name: getattr(settings, name) for name in ("activation", "pairs", "radius", "steps")}
        content |= {"layers": study.probe.layers, "reference": len(study.natural)}
        content["classes"] = list(data["test"].classes)
        for number, (name, part) in enumerate(parts.items()):
            if progress is not None:
                progress(name.replace("_", " "), number, len(parts))
            content[name] = part()
        study.reconstruct()
    return content, study.arrays


class _Study:
    """The network, pairs of sources and guides, and the adversaries found so far."""

    def __init__(
        self,
        model: nn.Module,
        data: Mapping[str, Source],
        settings: StudySettings,
        others: Mapping[str, nn.Module],
        device: torch.device,
        banks: Path,
        seed: int,
    ) -> None:
        self.model, self.data, self.settings, self.others = model, data, settings, others
        self.device, self.banks, self.seed = device, banks, seed
        self.arrays: dict[str, Tensor] = {}
        training = data["train"]
        self.natural = Portion(training, step=max(1, len(training) // (settings.reference or len(training))))
        self.probe = self._probe("trained", model)
        self.last = self.probe.layers[-1]
        self.pairs: dict[str, GuidedPairs] = {split: self._draw(split) for split in settings.guides}
        self.first: str = settings.guides[0]
        self.adversaries: dict[str, Images] = {}
        self.results: dict[str, ProbeResult] = {}

    def by_layer(self) -> dict[str, Any]:
        """Feature adversaries at every layer, described."""
        for layer in self.probe.layers:
            images = self.adversaries[layer] = self._attack(self._feature_opt(layer)).images
            result = self.results[layer] = self._describe(self.probe, layer, images)
            self.arrays |= {f"{layer}/{name}": one for name, one in result.description.tensors().items()}
        return {layer: result.summary() for layer, result in self.results.items()}

    def by_radius(self) -> dict[str, Any]:
        """Distance ratios at smaller and larger radii, at every layer."""
        curves: dict[str, Any] = {layer: [] for layer in self.probe.layers}
        for layer, curve in curves.items():
            for radius in sorted({*self.settings.radii, self.settings.radius}):
                known = radius == self.settings.radius
                images = self.adversaries[layer] if known else self._attack(self._feature_opt(layer, radius)).images
                curve.append({"radius": radius, **self.probe.success(layer, images, self.pairs[self.first])})
        return curves

    def kinds(self) -> dict[str, Any]:
        """Other attacks at the last layer, on a guide's representation or on a label."""
        pairs, radius, how = self.pairs[self.first], self.settings.radius, {"activation": self.settings.activation}
        linear = self._attack(feature_linear([self.last], radius=radius, steps=LINEAR_STEPS, **how))
        guided = {
            "feature-opt": self.adversaries[self.last],
            "feature-linear": linear.images,
            "feature-fgrad": self._attack(feature_fgrad([self.last], radius=radius, **how)).images,
        }
        unguided = {
            "label-opt": self._label_opt(pairs),
            "label-fgrad": self._attack(label_fgrad(radius=radius), targets=pairs.guide_labels).images,
            **{f"{name}, as if without a guide": guided[name] for name in ("feature-opt", "feature-fgrad")},
        }
        content = {name: self._describe(self.probe, self.last, images).summary() for name, images in guided.items()}
        content["feature-linear"]["gap"] = linear.gap()
        dimension = self.results[self.last].description.dimension
        for name, images in unguided.items():
            draws = self._generator("neighbours")
            result = self.probe.unguided(self.last, images, pairs, dimension=dimension, generator=draws)
            content[name] = result.summary()
        return content

    def sensitivity(self) -> dict[str, Any]:
        """Likelihood drops at the last layer under other dimensions of the tangent."""
        images, pairs, own = self.adversaries[self.last], self.pairs[self.first], self._own(self.first)
        held_out = self.results[self.last].description.held_out
        assert held_out is not None  # the dimension was chosen there
        drops = {}
        for dimension in (one for one in DIMENSIONS if one < held_out.shape[1]):
            how = {"dimension": dimension, "generator": self._generator("neighbours")}
            drops[str(dimension)] = self.probe.guided(self.last, images, pairs, own, **how).summary()["drop"]
        return drops

    def guides(self) -> dict[str, Any]:
        """The last layer with guides of each split."""
        content: dict[str, Any] = {self.first: self.results[self.last].summary()}
        for split in self.settings.guides[1:]:
            images = self._attack(self._feature_opt(self.last), split=split).images
            content[split] = self._describe(self.probe, self.last, images, split).summary()
        return content

    def random(self) -> dict[str, Any]:
        """Every layer of copies of the network with random weights."""
        content: dict[str, Any] = {}
        for name, orthonormal in NETWORKS.items() if self.settings.random else ():
            model = randomized(self.model, orthonormal=orthonormal, generator=self._generator(name))
            probe, content[name] = self._probe(name, model), {}
            for layer in probe.layers:
                images = self._attack(self._feature_opt(layer), model=model).images
                content[name][layer] = self._describe(probe, layer, images).summary()
            (self.banks / f"{name}.h5").unlink()  # it may be large
        return content

    def transfer(self) -> dict[str, Any]:
        """The last layer's adversaries on the other networks that have a layer of that name."""
        pairs, images = self.pairs[self.first], self.adversaries[self.last]
        outcomes = self.results[self.last].outcomes
        return {
            name: LayerProbe(model, [self.last], self.settings.activation).transferred(
                self.last, images, pairs, outcomes
            )
            for name, model in self.others.items()
            if self.last.partition(":")[0] in dict(model.named_modules())
        }

    def sets(self, sets: Mapping[str, PerturbationSet], ascent: Ascent) -> dict[str, Any]:
        """The last layer attacked in other sets, with the same guides."""
        objective = FeatureDistance([self.last], activation=self.settings.activation)
        content = {}
        for name, perturbations in sets.items():
            images = self._attack(Adversary(perturbations, objective, ascent)).images
            content[name] = self.probe.success(self.last, images, self.pairs[self.first])
            some = images[: self.settings.shown]
            self.arrays |= {f"sets/{name}/images": some, f"sets/{name}/predictions": self.probe.predictions(some)}
        return content

    def detection(self) -> dict[str, Any]:
        """How well the measures, without a known guide, separate adversaries from natural test images."""
        dimension = self.results[self.last].description.dimension
        scores, unused = [], self._unused()
        natural_images = self.data["test"].batch(unused.tolist())[0].to(self.device)
        for images in (natural_images, self.adversaries[self.last]):
            features, classes = self.probe.features(images, self.last), self.probe.predictions(images)
            describe, draws = self.probe.natural[self.last].describe_alone, self._generator("detection")
            scores.append(describe(features, features, classes, classes, dimension=dimension, generator=draws))
        groups = group_numbers(self.data["test"])
        both = {"natural_groups": groups[unused], "adversarial_groups": groups[self.pairs[self.first].source_rows]}
        curves: dict[str, Any] = {}
        for name in ("drop", "consistency"):
            natural, adversarial = (getattr(one, name)["adversary"][:, 0].cpu() for one in scores)
            curves[name] = detection_roc(natural, adversarial, **both).summary()
        return curves

    def reconstruct(self) -> None:
        """Keeps some pairs with their adversaries, predictions, and reconstructions from their representations."""
        pairs, shown = self.pairs[self.first], slice(self.settings.shown)
        images = {"source": pairs.sources, "guide": pairs.guides, "adversary": self.adversaries[self.last]}
        ascent = ProjectedLBFGS(self.settings.steps, starts="uniform")
        inversion = Inversion([self.last], activation=self.settings.activation, ascent=ascent)
        for name, some in ((name, every[shown]) for name, every in images.items()):
            inverted = inversion.reconstruct(self.model, some, generator=self._generator("inversion")).images
            self.arrays |= {
                f"shown/{name}": some,
                f"shown/{name}-inverted": inverted,
                f"shown/{name}-predictions": self.probe.predictions(some),
                f"shown/{name}-units": self.probe.features(some, self.last),
            }

    def _probe(self, name: str, model: nn.Module) -> LayerProbe:
        layers, activation = self.settings.layers, self.settings.activation
        stored = write_bank(self.banks / f"{name}.h5", model, layers, self.natural, activation=activation)
        return LayerProbe(model, layers, activation, stored)

    def _unused(self) -> Rows:
        """Rows of as many test images as there are pairs, none of them a source or guide; some are misclassified."""
        used = torch.zeros(len(self.data["test"]), dtype=torch.bool)
        for split, pairs in self.pairs.items():
            used[pairs.source_rows] = True
            if split == "test":
                used[pairs.guide_rows] = True
        left = (~used).nonzero()[:, 0]
        return left[torch.randperm(len(left), generator=self._generator("natural"))][: self.settings.pairs]

    def _draw(self, split: str) -> GuidedPairs:
        return draw_guided_pairs(
            self.data["test"],
            self.data[split],
            self.settings.pairs,
            model=self.model if self.settings.right else None,
            shared=split == "test",
            device=self.device,
            generator=self._generator(f"pairs {split}"),
        )

    def _feature_opt(self, layer: str, radius: float | None = None) -> Adversary:
        size = self.settings.radius if radius is None else radius
        return feature_opt([layer], radius=size, activation=self.settings.activation, steps=self.settings.steps)

    def _attack(
        self,
        adversary: Adversary,
        *,
        split: str | None = None,
        model: nn.Module | None = None,
        targets: Labels | None = None,
    ) -> BatchResult:
        """An adversary on all pairs: towards their guides, or towards target labels."""
        pairs = self.pairs[split or self.first]
        targets = pairs.guides if targets is None else targets
        return BatchResult.of(adversary, model or self.model, pairs.sources, targets, self._generator("attack"))

    def _label_opt(self, pairs: GuidedPairs) -> Images:
        generator, steps = self._generator("label-opt"), min(ROUND_STEPS, self.settings.steps)
        parts = zip(pairs.sources.split(TOGETHER), pairs.guide_labels.split(TOGETHER), strict=True)
        return torch.cat([label_opt(self.model, *part, steps=steps, generator=generator).images for part in parts])

    def _describe(self, probe: LayerProbe, layer: str, images: Images, split: str | None = None) -> ProbeResult:
        """Describes guided adversaries; the trained network's tangents have one dimension per layer."""
        split = split or self.first
        known = self.results.get(layer) if probe is self.probe else None
        dimension = None if known is None else known.description.dimension
        how = {"dimension": dimension, "generator": self._generator("neighbours")}
        return probe.guided(layer, images, self.pairs[split], self._own(split), **how)

    def _own(self, split: str) -> Labels:
        """Row of each guide among the natural images, -1 for none."""
        rows = self.pairs[split].guide_rows
        inside = (rows % self.natural.step == 0) & (split == "train")
        return torch.where(inside, rows // self.natural.step, -1)

    def _generator(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, f"representations {name}"))
