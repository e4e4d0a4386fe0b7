"""Members of the learned set as pictures: nearest to real changes, drawn, and along directions."""

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
    """Some pairs at random, each of another source.

    Args:
        pairs: Pairs as :class:`augment.PairStore` gives them.
        generator: For the choice.

    Returns:
        Clean and changed images in [0, 1].
    """
    order = torch.randperm(len(pairs), generator=generator)[:CANDIDATES]
    clean, changed, source, *_ = pairs.batch(order)
    rows = list({int(number): row for row, number in enumerate(source)}.values())[:SHOWN]
    return to_dtype(clean[rows], torch.float32, scale=True), to_dtype(changed[rows], torch.float32, scale=True)


@torch.no_grad()
def compare(learned: LatentBall, clean: Images, changed: Images) -> Grid:
    """Pairs beside what the set has nearest to them."""
    region = learned.at(clean)
    offsets = region.project(region.encode(changed))
    encoded = region.decode(offsets)
    nearest = Adversary(learned, ApproximationError(), SEARCH)(None, clean, changed, start=offsets).images
    left = float((nearest - changed).square().mean() / (clean - changed).square().mean())
    return Grid(
        name="pairs",
        title="Real changes and the nearest members of the set",
        alt=f"{len(clean)} held-out pairs in columns: clean image, changed image, the decoded encoding, the nearest "
        f"member of the set found by search, and what is left between that and the changed image.",
        caption="Each column is one held-out pair, picked at random. Where the set holds the change, the nearest "
        "member looks like the changed image and the last row is black. In these pictures the search leaves "
        f"{percent(left)} of the squared difference between clean and changed image.",
        rows=(
            Row("clean x", clean),
            Row("changed x̃", changed),
            Row("at the encoding", encoded),
            Row("nearest member", nearest),
            Row("|nearest − x̃|", (nearest - changed).abs()),
        ),
        groups=(Group("", len(clean)),),
    )


def floats(pairs: Pairs, rows: Tensor) -> tuple[Images, Images]:
    """Clean and changed images of some pairs, in [0, 1]."""
    clean, changed, *_ = pairs.batch(rows)
    return to_dtype(clean, torch.float32, scale=True), to_dtype(changed, torch.float32, scale=True)


@torch.no_grad()
def worst_pairs(learned: LatentBall, clean: Images, changed: Images, offsets: Offsets) -> Grid:
    """The pairs of which the nearest member leaves most."""
    nearest = learned.at(clean).decode(offsets)
    left = (nearest - changed).square().flatten(1).mean(1) / (clean - changed).square().flatten(1).mean(1)
    return Grid(
        name="worst",
        title="The pairs that the set holds worst",
        alt=f"The {len(clean)} held-out pairs of which the nearest member leaves the largest shares, the worst first.",
        caption="Below the last row, how much of the squared difference between clean and changed image is left. Where "
        "these have something in common, the set lacks it.",
        rows=(
            Row("clean x", clean),
            Row("changed x̃", changed),
            Row("nearest member", nearest),
            Row("|nearest − x̃|", (nearest - changed).abs(), [percent(float(share)) for share in left]),
        ),
        groups=(Group("", len(clean)),),
    )


@torch.no_grad()
def farthest_members(learned: LatentBall, clean: Images, changed: Images, offsets: Offsets) -> Grid:
    """The members farthest from their images."""
    found = learned.at(clean).decode(offsets)
    far, real = ((other - clean).square().flatten(1).mean(1) for other in (found, changed))
    times = [f"{float(ratio):.1f} ×" for ratio in far / real.clamp_min(torch.finfo(real.dtype).tiny)]
    return Grid(
        name="farthest",
        title="The members farthest from their images",
        alt=f"{len(clean)} clean images, a real change of each, and the member farthest from it that a search found.",
        caption="Below the last row, the squared distance over that of the real change beside it. What no longer shows "
        "its label there is why a classifier cannot withstand the whole ball.",
        rows=(Row("clean x", clean), Row("a real change", changed), Row("farthest member", found, times)),
        groups=(Group("", len(clean)),),
    )


@torch.no_grad()
def draw_samples(learned: LatentBall, clean: Images, generator: torch.Generator, *, draws: int = 5) -> Grid:
    """Members drawn from the set, by both of its distributions."""
    rows = clean[:6]
    headings: dict[Draw, str] = {"bank": "changes carried over (bank)", "prior": "drawn from the prior"}
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
        alt="One clean image per row, followed by members of its set drawn in either of two ways.",
        caption="Each row starts with a clean image. Samples from the bank carry the change of another pair over to "
        "it; samples from the prior draw the offset itself. Both should keep what the image is and vary how it "
        "appears, over the whole range of the real changes.",
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
        title="A walk through the ball",
        alt=f"One image decoded at {stops} points from one end of the ball to the other, along {len(rows)} directions.",
        caption="One image along the directions in which the encodings of real changes vary most (with their share "
        f"of the variance), from −{radius:.1f} through the centre to +{radius:.1f}, the rim of the ball. A direction "
        "with a meaning of its own changes one thing smoothly; one that the set does not use changes nothing.",
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
    directions = directions * directions.gather(1, largest).sign()  # a direction's sign is arbitrary: fix it
    return directions, scales.square() / scales.square().sum().clamp_min(torch.finfo(scales.dtype).tiny)
