"""Makes the pictures of recipes/README.md: `python recipes/thumbnails/make.py`, two minutes on one core.

Every picture is what the parts of its recipe make of real images, at a small scale: digits and photographs that come
with scikit-learn, and MNIST from data/mnist where it is there. Photographs stand for CIFAR-10 and ImageNet.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor
from torchvision.transforms.functional import resize, to_pil_image, to_tensor

from augment import MNIST, Corruption, Digits, Patches, SegmentDigits, SpatialChange
from augment.sources.source import Source
from cvae import LoopSettings
from perturbsets import (
    Adversary,
    ApproximationError,
    ProjectedLBFGS,
    SmallConvNet,
    StandardTraining,
    attacks,
    load,
    train_classifier,
)

FOLDER = Path(__file__).parent
TILE, GAP = 56, 4
CORRUPTIONS = ("defocus_blur", "motion_blur", "snow", "fog", "contrast", "jpeg_compression")


def main(mnist: Path) -> None:
    """Makes all pictures."""
    torch.manual_seed(0)
    source = Digits("train", size=28, digit=16)
    model = trained(source, channels=1, size=28)
    images, labels = Digits("test", size=28, digit=16).batch([3, 18, 33, 41, 57])
    learned = load("digits-rts")
    save("digits-rts", walk(learned, images[0]))
    save("digits-certify", nearest_members(learned, images))
    save("digits-attacks", [images[2], *all_attacks(model, images[2:3], labels[2:3])])
    save("digits-features", [images[0], images[1], attacked_features(model, images[0], images[1])])
    save("digits-segments", [SegmentDigits("test")[row][0] for row in range(6)])

    temple, flower = photograph("china.jpg", left=130), photograph("flower.jpg", left=200)
    save("photos-corruptions", [flower, *(Corruption(name, 4)(flower) for name in CORRUPTIONS[:5])])
    save("cifar10c", [temple, *(Corruption(name, 3)(temple) for name in CORRUPTIONS[1:])])
    save("your-pairs", [tile for image in (temple, flower) for tile in (image, Corruption("brightness", 4)(image))])
    colours = trained(Patches("train", size=64, stride=32), channels=3, size=64)
    save("cifar10-features", [temple, flower, attacked_features(colours, temple, flower, radius=16 / 255)])

    if mnist.is_dir():
        digits = MNIST("test", root=mnist, held=1000).batch([4, 11, 20])
        change = SpatialChange(rotation=45.0, scale=(0.7, 1.3), shift=0.15, generator=torch.Generator().manual_seed(0))
        save("mnist-rts", [tile for image in digits[0] for tile in (image, change(image))])
        network = trained(MNIST("train", root=mnist, held=1000), channels=1, size=28)
        changed = attacks.pgd(norm="linf", radius=0.3)(network, *digits).images
        save("mnist-pgd", [tile for both in zip(digits[0], changed, strict=True) for tile in both])


def trained(source: Source, *, channels: int, size: int) -> SmallConvNet:
    """A small network of a source's classes."""
    classes = int(source.batch(range(len(source)))[1].max()) + 1
    model = SmallConvNet(channels, size, size, classes=max(classes, 2))
    train_classifier(model, source, StandardTraining(), LoopSettings(steps=200, learning_rate=0.002))
    return model


def photograph(name: str, *, left: int) -> Tensor:
    """A square of a photograph that comes with scikit-learn, in 64x64 pixels."""
    image = to_tensor(load_sample_image(name))
    return resize(image[:, :400, left : left + 400], [64, 64], antialias=True).clamp(0, 1)


def walk(learned, image: Tensor) -> list[Tensor]:
    """From -radius to radius along the latent that moves the image most."""
    region = learned.at(image[None])
    ends = torch.eye(learned.model.latent) * float(learned.radius)
    every = learned.at(image.expand(len(ends), *image.shape)).decode(ends)
    direction = ends[(every - image).square().flatten(1).sum(1).argmax()]
    return [region.decode(share * direction[None])[0] for share in torch.linspace(-1, 1, 6)]


def nearest_members(learned, images: Tensor) -> list[Tensor]:
    """Changed images that the set never saw, each beside its nearest member."""
    change = SpatialChange(rotation=45.0, scale=(0.7, 1.3), shift=0.15, generator=torch.Generator().manual_seed(1))
    changed = change(images)
    start = learned.at(images).encode(changed)
    found = Adversary(learned, ApproximationError(), ProjectedLBFGS(30))(None, images, changed, start=start)
    return [tile for both in zip(changed[:3], found.images[:3], strict=True) for tile in both]


def all_attacks(model, image: Tensor, label: Tensor) -> list[Tensor]:
    """One image under several attacks."""
    tried = [
        attacks.pgd(norm="linf", radius=0.15),
        attacks.pgd(norm="l2", radius=1.5),
        attacks.apgd(norm="l1", radius=12.0),
        attacks.square(norm="linf", radius=0.15, queries=300),
        attacks.spatial(),
    ]
    return [attack(model, image, label).images[0] for attack in tried]


def attacked_features(model: SmallConvNet, image: Tensor, guide: Tensor, radius: float = 0.2) -> Tensor:
    """An image with the inner representation of another."""
    layer = next(name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear))
    return attacks.feature_adversary(layer, radius=radius, steps=100)(model, image[None], guide[None]).images[0]


def save(name: str, tiles: list[Tensor]) -> None:
    """Tiles side by side, as a small PNG file."""
    strip = Image.new("RGB", (len(tiles) * (TILE + GAP) - GAP, TILE), "white")
    for place, tile in enumerate(tiles):
        shown = resize(tile.detach().clamp(0, 1), [TILE, TILE], antialias=True).clamp(0, 1)
        strip.paste(to_pil_image(shown).convert("RGB"), (place * (TILE + GAP), 0))
    strip.quantize(64).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data/mnist"))
