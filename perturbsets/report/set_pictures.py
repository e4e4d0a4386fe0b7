"""Pictures of members of the learned set: nearest, farthest, sampled, and along directions."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import to_dtype

from perturbsets._types import Images, Offsets
from perturbsets.adversaries.adversary import Adversary
from perturbsets.ascents.projected_gradient import ProjectedGradient
from perturbsets.criteria.pairs import Pairs
from perturbsets.objectives.general import ApproximationError
from perturbsets.report.findings import percent
from perturbsets.report.pictures import Grid, Group, Row
from perturbsets.rows import one_number
from perturbsets.sets.latent import Draw, LatentBall

SHOWN = 10
CANDIDATES = 64
SEARCH = ProjectedGradient(steps=50, schedule="cosine", starts="zero")


def pick_pairs(pairs: Pairs, generator: torch.Generator) -> tuple[Images, Images]:
    """Clean and changed images, in [0, 1], of random pairs of different sources."""
    order = torch.randperm(len(pairs), generator=generator)[:CANDIDATES]
    _, _, source, *_ = pairs.batch(order)
    rows = list({int(number): row for row, number in enumerate(source)}.values())[:SHOWN]
    return pair_images(pairs, order[rows])


def pair_images(pairs: Pairs, rows: Tensor) -> tuple[Images, Images]:
    """Clean and changed images of selected pairs, in [0, 1]."""
    clean, changed, *_ = pairs.batch(rows)
    return to_dtype(clean, torch.float32, scale=True), to_dtype(changed, torch.float32, scale=True)


@torch.no_grad()
def compare(learned: LatentBall, clean: Images, changed: Images) -> Grid:
    """Pairs with the nearest members of the set."""
    region = learned.at(clean)
    offsets = region.project(region.encode(changed))
    encoded = region.decode(offsets)
    nearest = Adversary(learned, ApproximationError(), SEARCH)(None, clean, changed, start=offsets).images
    left = float((nearest - changed).square().mean() / (clean - changed).square().mean())
    return Grid(
        name="pairs",
        title="Real changes and the nearest members of the set",
        alt=f"{len(clean)} held-out pairs in columns: clean image, changed image, the decoded encoding, the nearest "
        f"member of the set found by search, and its difference from the changed image.",
        caption="Each column is one held-out pair, picked at random. Where the set contains the change, the nearest "
        "member looks like the changed image and the last row is black. In these pictures its squared error is "
        f"{percent(left)} of the squared difference between clean and changed image.",
        rows=(
            Row("clean x", clean),
            Row("changed x̃", changed),
            Row("at the encoding", encoded),
            Row("nearest member", nearest),
            Row("|nearest − x̃|", (nearest - changed).abs()),
        ),
    )


@torch.no_grad()
def worst_pairs(learned: LatentBall, clean: Images, changed: Images, offsets: Offsets) -> Grid:
    """The pairs with the largest errors of the nearest member."""
    nearest = learned.at(clean).decode(offsets)
    left = (nearest - changed).square().flatten(1).mean(1) / (clean - changed).square().flatten(1).mean(1)
    return Grid(
        name="worst",
        title="The pairs that the set covers worst",
        alt=f"The {len(clean)} held-out pairs with the largest relative errors of the nearest member, the worst first.",
        caption="Below the last row, the squared error as a share of that between clean and changed image. What these "
        "pairs have in common is missing from the set.",
        rows=(
            Row("clean x", clean),
            Row("changed x̃", changed),
            Row("nearest member", nearest),
            Row("|nearest − x̃|", (nearest - changed).abs(), [percent(float(share)) for share in left]),
        ),
    )


@torch.no_grad()
def farthest_members(learned: LatentBall, clean: Images, changed: Images, offsets: Offsets) -> Grid:
    """The members farthest from their images."""
    farthest = learned.at(clean).decode(offsets)
    far, real = ((other - clean).square().flatten(1).mean(1) for other in (farthest, changed))
    times = [f"{float(ratio):.1f} ×" for ratio in far / real.clamp_min(torch.finfo(real.dtype).tiny)]
    return Grid(
        name="farthest",
        title="The members farthest from their images",
        alt=f"{len(clean)} clean images, a real change of each, and the member farthest from it that a search found.",
        caption="Below the last row, the squared distance from x over that of the real change. Where the label is no "
        "longer visible, no classifier can be robust on the whole ball.",
        rows=(Row("clean x", clean), Row("a real change", changed), Row("farthest member", farthest, times)),
    )


@torch.no_grad()
def draw_samples(learned: LatentBall, clean: Images, generator: torch.Generator, *, draws: int = 5) -> Grid:
    """Members drawn from the set, from the bank and from the prior."""
    rows = clean[:6]
    headings: dict[Draw, str] = {"bank": "from the bank", "prior": "from the prior"}
    parts, groups = [rows[:, None]], [Group("x", 1)]
    for draw, heading in headings.items():
        if draw == "bank" and learned.bank is None:
            continue
        region = replace(learned, draw=draw).at(rows)
        members = [region.decode(region.sample(generator=generator)) for _ in range(draws)]
        parts.append(torch.stack(members, 1))
        groups.append(Group(heading, draws))
    table = torch.cat(parts, 1)
    return Grid(
        name="samples",
        title="Samples from the set",
        alt="One clean image per row, followed by members of its set drawn from the bank and from the prior.",
        caption="Each row starts with a clean image. Samples from the bank apply the encoded change of another pair to "
        "it; samples from the prior draw the offset itself. Both should keep the content of the image and show the "
        "whole range of the real changes.",
        rows=[Row(f"image {number + 1}", images) for number, images in enumerate(table)],
        groups=groups,
        labelled=False,
    )


@torch.no_grad()
def walk(learned: LatentBall, clean: Images, *, directions: int = 4, stops: int = 9) -> Grid:
    """One image along the principal directions of the encodings, through the whole ball."""
    radius = one_number(learned.radius, "radius")
    basis, shares = principal_directions(learned)
    along = torch.linspace(-radius, radius, stops)
    image = clean[:1].expand(stops, -1, -1, -1)
    region = learned.at(image)
    rows = [
        Row(f"direction {number + 1}, {share:.0%}", region.decode(along[:, None] * direction))
        for number, (direction, share) in enumerate(zip(basis[:directions], shares.tolist(), strict=False))
    ]
    return Grid(
        name="walk",
        title="Principal directions of the ball",
        alt=f"One image decoded at {stops} points from one end of the ball to the other, along {len(rows)} directions.",
        caption="One image along the directions in which the encodings of real changes vary most (with their share "
        f"of the variance), from −{radius:.1f} through the centre to +{radius:.1f}, the surface of the ball. A "
        "direction with a meaning changes one thing smoothly; an unused one changes nothing.",
        rows=rows,
        groups=[Group(f"{value:+.1f}" if value else "0", 1) for value in along.tolist()],
        apart=False,
    )


def principal_directions(learned: LatentBall) -> tuple[Tensor, Tensor]:
    """Unit directions of most variance in the bank, and their shares of it; the axes if there is no bank."""
    latent = learned.model.latent
    if learned.bank is None:
        return torch.eye(latent), torch.full((latent,), 1 / latent)
    bank = learned.bank.float()
    _, scales, directions = torch.linalg.svd(bank - bank.mean(0), full_matrices=False)
    largest = directions.abs().argmax(1, keepdim=True)
    directions = directions * directions.gather(1, largest).sign()  # the sign is arbitrary: make the largest positive
    return directions, scales.square() / scales.square().sum().clamp_min(torch.finfo(scales.dtype).tiny)
