"""Rules as a detector, called from Python."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perturbsets import Adversary, CrossEntropy, PixelBall, ProjectedGradient
from perturbsets.knowledge import Rules
from perturbsets.knowledge.rule_detector import RuleDetector


class Sign(nn.Module):
    """Two logits, of the sum of some columns and its negative."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first

    def forward(self, images: Tensor) -> Tensor:
        columns = images.flatten(1)[:, self.first : self.first + 2]
        score = 8 * (columns.sum(1) - 1)
        return torch.stack([score, -score], 1)


def test_attacks_on_the_classifier_alone_violate_the_rules_and_adaptive_ones_cost_more() -> None:
    rules = Rules(("left", "right"), {"left": "left and not right", "right": "right and not left"})
    bound = rules.bind(("left", "right"), ("left", "right"))
    states = torch.arange(40) % 2
    images = torch.where(states[:, None] == 0, 0.7, 0.3).expand(40, 4).clone().view(40, 1, 2, 2)
    detector = RuleDetector(Sign(0), Sign(2), bound, images, share=0.05)
    adversary = Adversary(PixelBall("linf", 0.6), CrossEntropy(), ProjectedGradient(40, starts="zero"))

    content = detector.evaluate(images, states, {"pgd": adversary}, weights=[1.0])
    plain, adaptive = (content["adversaries"]["pgd"][kind] for kind in ("plain", "adaptive"))

    assert content["right"]["mean"] == 1
    assert content["rejected"]["mean"] == 0
    assert plain["fooled"]["mean"] == 1
    assert plain["violated"]["mean"] == 1  # labels depend on other pixels
    assert plain["fooled_and_accepted"]["mean"] == 0
    assert adaptive["fooled_and_accepted"]["mean"] == 1
    assert plain["area"]["mean"] == 1
