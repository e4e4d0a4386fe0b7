"""A study of one network's representations: pairs of sources and guides, and everything that is tried with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from augment import Portion, Source, group_numbers
from cvae import derive_seed
from perturbsets._types import Images, Labels, Rows
from perturbsets.adversaries.adversary import Adversary
from perturbsets.ascents import ProjectedLBFGS
from perturbsets.models import randomized
from perturbsets.objectives import FeatureDistance
from perturbsets.recipe import Recipe
from perturbsets.representations import (
    GuidedPairs,
    Inversion,
    detection_roc,
    draw_guided_pairs,
    feature_fgrad,
    feature_linear,
    feature_opt,
    label_fgrad,
    label_opt,
    write_bank,
)
from perturbsets.runs import build
from perturbsets.runs.folder import RunFolder
from perturbsets.runs.layer_probe import Look, Looked, Solved

TOGETHER = 64  # pairs that are attacked at once
LINEAR = 10_000  # most steps of feature-linear, which ends when its duality gap is small
ROUND = 50  # most steps of each round that halves the price of label-opt
NETWORKS = {"random": False, "orthonormal": True}  # and whether their weights are
ALONE = "as if without a guide"
DIMENSIONS = (1, 2, 4, 8, 12)  # of the tangent, to see how much it matters


class Study:
    """A network, pairs of sources and guides, and what is found of them.

    Args:
        recipe: Has a section on representations.
        run: Where trained classifiers and learned sets are.
        device: Where to work.
        banks: An empty folder for features of natural images, which may be large.

    Attributes:
        arrays: What the report draws; the parts fill it.
    """

    def __init__(self, recipe: Recipe, run: RunFolder, device: torch.device, banks: Path) -> None:
        assert recipe.representations is not None  # or the recipe has no such stage
        self.recipe, self.run, self.device, self.banks = recipe, run, device, banks
        self.settings = recipe.representations
        self.arrays: dict[str, Tensor] = {}
        self.data: dict[str, Source] = {
            split: build.source(recipe, split) for split in {"train", "test", *self.settings.guides}
        }
        training = self.data["train"]
        self.natural = Portion(training, step=max(1, len(training) // (self.settings.reference or len(training))))
        self.model, self.others = self._networks()
        self.look = self._look("trained", self.model)
        self.last = self.look.layers[-1]
        self.pairs: dict[str, GuidedPairs] = {split: self._drawn(split) for split in self.settings.guides}
        self.first: str = self.settings.guides[0]
        self.adversaries: dict[str, Images] = {}
        self.found: dict[str, Looked] = {}

    def about(self) -> dict[str, Any]:
        """What is looked at, and how."""
        settings = self.settings
        return {
            "network": settings.classifier or type(self.model).__name__,
            "layers": self.look.layers,
            "activation": settings.activation,
            "pairs": settings.pairs,
            "reference": len(self.natural),
            "radius": settings.radius,
            "steps": settings.steps,
            "classes": list(self.data["test"].classes),
        }

    def by_layer(self) -> dict[str, Any]:
        """Feature adversaries at every layer, described."""
        for layer in self.look.layers:
            images = self.adversaries[layer] = self._attack(self._adversary(layer))
            found = self.found[layer] = self._described(self.look, layer, images)
            self.arrays |= {f"{layer}/{name}": one for name, one in found.description.tensors().items()}
        return {layer: found.summary() for layer, found in self.found.items()}

    def by_radius(self) -> dict[str, Any]:
        """How near larger and smaller changes come, at every layer."""
        curves: dict[str, Any] = {layer: [] for layer in self.look.layers}
        for layer, curve in curves.items():
            for radius in sorted({*self.settings.radii, self.settings.radius}):
                known = radius == self.settings.radius
                images = self.adversaries[layer] if known else self._attack(self._adversary(layer, radius))
                curve.append({"radius": radius, **self.look.success(layer, images, self.pairs[self.first])})
        return curves

    def kinds(self) -> dict[str, Any]:
        """The adversary's relatives at the last layer: with a guide, and with a label instead of one."""
        pairs, radius, how = self.pairs[self.first], self.settings.radius, {"activation": self.settings.activation}
        linear = feature_linear([self.last], radius=radius, steps=LINEAR, **how)
        solved = self._found(linear)
        guided = {
            "feature-opt": self.adversaries[self.last],
            "feature-linear": solved.images,
            "feature-fgrad": self._attack(feature_fgrad([self.last], radius=radius, **how)),
        }
        alone = {
            "label-opt": self._label_opt(pairs),
            "label-fgrad": self._attack(label_fgrad(radius), wanted=pairs.guide_labels),
            **{f"{name}, {ALONE}": guided[name] for name in ("feature-opt", "feature-fgrad")},
        }
        content = {name: self._described(self.look, self.last, images).summary() for name, images in guided.items()}
        content["feature-linear"]["gap"] = solved.gap()
        dimension = self.found[self.last].description.dimension
        for name, images in alone.items():
            found = self.look.alone(
                self.last, images, pairs, dimension=dimension, generator=self._generator("neighbours")
            )
            content[name] = found.summary()
        return content

    def sensitivity(self) -> dict[str, Any]:
        """How much the dimension of the tangent matters: likelihood drops at the last layer under others."""
        images, pairs, own = self.adversaries[self.last], self.pairs[self.first], self._own(self.first)
        held_out = self.found[self.last].description.held_out
        assert held_out is not None  # the dimension was chosen there
        found = {}
        for dimension in (one for one in DIMENSIONS if one < held_out.shape[1]):
            how = {"dimension": dimension, "generator": self._generator("neighbours")}
            found[str(dimension)] = self.look.guided(self.last, images, pairs, own, **how).summary()["drop"]
        return found

    def guides(self) -> dict[str, Any]:
        """The last layer again, with guides of each split."""
        found: dict[str, Any] = {self.first: self.found[self.last].summary()}
        for split in self.settings.guides[1:]:
            images = self._attack(self._adversary(self.last), split=split)
            found[split] = self._described(self.look, self.last, images, split=split).summary()
        return found

    def random(self) -> dict[str, Any]:
        """Every layer again, on copies of the network with fresh weights."""
        found: dict[str, Any] = {}
        for name in NETWORKS if self.settings.random else ():
            model = randomized(self.model, orthonormal=NETWORKS[name], generator=self._generator(name))
            look, found[name] = self._look(name, model), {}
            for layer in look.layers:
                images = self._attack(self._adversary(layer), model=model)
                found[name][layer] = self._described(look, layer, images).summary()
            self._bank(name).unlink()  # it may be large
        return found

    def transfer(self) -> dict[str, Any]:
        """The last layer's adversaries on the run's other networks, as far as they have a layer of that name."""
        pairs, images = self.pairs[self.first], self.adversaries[self.last]
        here = self.found[self.last].outcomes
        return {
            name: Look(model, [self.last], self.settings.activation).carried(self.last, images, pairs, here)
            for name, model in self.others.items()
            if self.last.partition(":")[0] in dict(model.named_modules())
        }

    def sets(self) -> dict[str, Any]:
        """The representations of the same guides, at the last layer, looked for in other sets."""
        made = build.perturbation_sets(self.recipe, self.run) if self.settings.sets else {}
        ascent = ProjectedLBFGS(self.settings.steps) if self.settings.ascent is None else self.settings.ascent.make()
        objective = FeatureDistance([self.last], activation=self.settings.activation)
        found = {}
        for name in self.settings.sets:
            images = self._attack(Adversary(made[name], objective, ascent))
            found[name] = self.look.success(self.last, images, self.pairs[self.first])
            self.arrays |= {
                f"sets/{name}/images": images[: self.settings.shown],
                f"sets/{name}/predictions": self.look.predictions(images[: self.settings.shown]),
            }
        return found

    def detection(self) -> dict[str, Any]:
        """How well the measures tell adversaries from natural test images, where nobody names a guide."""
        dimension = self.found[self.last].description.dimension
        scores, unused = [], self._unused()
        natural_images = self.data["test"].batch(unused.tolist())[0].to(self.device)
        for images in (natural_images, self.adversaries[self.last]):
            features, classes = self.look.features(images, self.last), self.look.predictions(images)
            found = self.look.natural[self.last].describe_alone(
                features, features, classes, classes, dimension=dimension, generator=self._generator("detection")
            )
            scores.append(found)
        groups, sources = group_numbers(self.data["test"]), self.pairs[self.first].source_rows
        curves: dict[str, Any] = {}
        for name in ("drop", "consistency"):
            natural, adversarial = (getattr(one, name)["adversary"][:, 0].cpu() for one in scores)
            curve = detection_roc(
                natural, adversarial, natural_groups=groups[unused], adversarial_groups=groups[sources]
            )
            curves[name] = {
                "area": curve.interval._asdict(),
                "false_positive": curve.false_positive.tolist(),
                "true_positive": curve.true_positive.tolist(),
            }
        return curves

    def show(self) -> None:
        """Some pairs with their adversaries, what the network takes them for, and images of their representations."""
        pairs, count = self.pairs[self.first], self.settings.shown
        images = {
            "source": pairs.sources[:count],
            "guide": pairs.guides[:count],
            "adversary": self.adversaries[self.last][:count],
        }
        ascent = ProjectedLBFGS(self.settings.steps, starts="uniform")
        inversion = Inversion([self.last], activation=self.settings.activation, ascent=ascent)
        for name, some in images.items():
            inverted = inversion.reconstruct(self.model, some, generator=self._generator("inversion")).images
            self.arrays |= {
                f"shown/{name}": some,
                f"shown/{name}-inverted": inverted,
                f"shown/{name}-predictions": self.look.predictions(some),
                f"shown/{name}-units": self.look.features(some, self.last),
            }

    def _networks(self) -> tuple[nn.Module, dict[str, nn.Module]]:
        """The network that is looked at, and others that see what fools it."""
        if self.settings.network is not None:
            channels, height, width = self.data["test"].batch([0])[0].shape[1:]
            classes = len(self.data["test"].classes)
            made = build.network(self.recipe, (channels, height, width), classes)
            return made.to(self.device).eval(), {}
        trained = build.classifiers(self.recipe, self.run, self.device)
        assert self.settings.classifier is not None  # the recipe has the one or the other
        mine = trained[self.settings.classifier][0]
        named = {
            f"{name} ({seed})": model
            for name, models in trained.items()
            for seed, model in zip(self.recipe.seeds, models, strict=True)
        }
        return mine, {name: model for name, model in named.items() if model is not mine}

    def _look(self, name: str, model: nn.Module) -> Look:
        settings = self.settings
        stored = write_bank(self._bank(name), model, settings.layers, self.natural, activation=settings.activation)
        return Look(model, settings.layers, settings.activation, stored)

    def _bank(self, name: str) -> Path:
        return self.banks / f"{name}.h5"

    def _unused(self) -> Rows:
        """Rows of as many test images as there are pairs, none of them a source or guide, and some of them misread."""
        test = torch.zeros(len(self.data["test"]), dtype=torch.bool)
        for split, pairs in self.pairs.items():
            test[pairs.source_rows] = True
            if split == "test":
                test[pairs.guide_rows] = True
        left = (~test).nonzero()[:, 0]
        order = torch.randperm(len(left), generator=self._generator("natural"))
        return left[order][: self.settings.pairs]

    def _drawn(self, split: str) -> GuidedPairs:
        return draw_guided_pairs(
            self.data["test"],
            self.data[split],
            self.settings.pairs,
            model=self.model if self.settings.right else None,
            shared=split == "test",
            device=self.device,
            generator=self._generator(f"pairs {split}"),
        )

    def _adversary(self, layer: str, radius: float | None = None) -> Adversary:
        settings = self.settings
        size = settings.radius if radius is None else radius
        return feature_opt([layer], radius=size, activation=settings.activation, steps=settings.steps)

    def _attack(
        self,
        adversary: Adversary,
        *,
        split: str | None = None,
        model: nn.Module | None = None,
        wanted: Labels | None = None,
    ) -> Images:
        """The adversary's images, of guides, or of labels where these are wanted."""
        return self._found(adversary, split=split, model=model, wanted=wanted).images

    def _found(
        self,
        adversary: Adversary,
        *,
        split: str | None = None,
        model: nn.Module | None = None,
        wanted: Labels | None = None,
    ) -> Solved:
        """What the adversary finds, some pairs at a time."""
        pairs = self.pairs[split or self.first]
        aims = pairs.guides if wanted is None else wanted
        generator = self._generator("attack")
        return Solved.of(
            [
                adversary(model or self.model, pairs.sources[rows], aims[rows], generator=generator)
                for rows in torch.arange(len(aims), device=self.device).split(TOGETHER)
            ]
        )

    def _label_opt(self, pairs: GuidedPairs) -> Images:
        generator, steps = self._generator("label-opt"), min(ROUND, self.settings.steps)
        return torch.cat(
            [
                label_opt(self.model, sources, labels, steps=steps, generator=generator).images
                for sources, labels in zip(
                    pairs.sources.split(TOGETHER), pairs.guide_labels.split(TOGETHER), strict=True
                )
            ]
        )

    def _described(self, look: Look, layer: str, images: Images, split: str | None = None) -> Looked:
        """Adversaries of guides; tangents of the trained network's layers have one dimension each."""
        split = split or self.first
        known = self.found.get(layer) if look is self.look else None
        return look.guided(
            layer,
            images,
            self.pairs[split],
            self._own(split),
            dimension=None if known is None else known.description.dimension,
            generator=self._generator("neighbours"),
        )

    def _own(self, split: str) -> Labels:
        """Row of each guide among the natural images, -1 for none."""
        rows = self.pairs[split].guide_rows
        inside = (rows % self.natural.step == 0) & (split == "train")
        return torch.where(inside, rows // self.natural.step, -1)

    def _generator(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.recipe.seed, f"representations {name}"))
