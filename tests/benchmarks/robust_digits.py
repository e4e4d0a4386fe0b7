"""A small classifier of MNIST that is robust in part: trained for about a minute, then kept beside the runs."""

from __future__ import annotations

from pathlib import Path

import torch

from augment import MNIST
from cvae import LoopSettings
from perturbsets import AdversarialTraining, Adversary, OneStep, PixelBall, SmallConvNet, train_classifier

RADIUS, STEP = 0.3, 0.375
SETTINGS = LoopSettings(steps=3000, batch=128, learning_rate=2e-3, validate_every=3000)
KEPT = Path(__file__).resolve().parents[2] / "runs" / "benchmarks" / "robust-digits"


def robust_digits(root: str, kept: Path = KEPT) -> SmallConvNet:
    """The classifier, by fast adversarial training in L-inf: one long step from a random start.

    Args:
        root: Folder of MNIST.
        kept: Folder of the weights; trained where they are not there yet.
    """
    if not (kept / "config.json").exists():
        torch.manual_seed(0)
        model = SmallConvNet()
        attack = Adversary(PixelBall("linf", RADIUS), ascent=OneStep(step_size=STEP, starts="uniform"))
        train_classifier(model, MNIST("train", root), AdversarialTraining(attack), SETTINGS, progress=True)
        model.save_pretrained(kept)
    return SmallConvNet.from_pretrained(kept).eval()
