"""Attack and evaluate your model.

Any module that maps images in [0, 1] to logits can be attacked; what it wants otherwise belongs inside it, as in
`Normalized(model, mean, std)`. Here a small network stands for yours. Nothing is downloaded; one minute on one core.
"""

import rich
import torch

from augment import Digits
from cvae import LoopSettings
from perturbsets import (
    Adversary,
    Averaged,
    SmallConvNet,
    StandardTraining,
    attacks,
    audit,
    evaluate,
    load,
    train_classifier,
)

STEPS = 300
IMAGES = 200
QUERIES = 500
SEARCH = 100

model = SmallConvNet()
settings = LoopSettings(steps=STEPS, learning_rate=0.002)
train_classifier(model, Digits("train", size=28, digit=16), StandardTraining(), settings)
images, labels = Digits("test", size=28, digit=16).batch(range(IMAGES))

# ## One attack
#
# A preset of `perturbsets.attacks` has the settings of its paper and is called as `(model, images, labels)`. The result
# has a row for each image: the changed image, whether the attack succeeded, and the model calls it took.
attack = attacks.pgd(norm="linf", radius=0.1)
result = attack(model, images, labels, generator=torch.Generator().manual_seed(0))
print(f"PGD: {1 - result.success.double().mean():.1%} robust, {result.calls.double().mean():.0f} calls an image")

# ## Several in one table
#
# `evaluate` gives every classifier the same draws, and an interval to every accuracy. Any perturbation set can be
# attacked, such as rotations, scales and shifts that were learned from pairs of digits.
adversaries = {
    "clean": None,
    "FGSM": attacks.fgsm(norm="linf", radius=0.1),
    "PGD": attack,
    "grid of rotations and shifts": attacks.spatial(),
    "learned set": Adversary(load("digits-rts")),
}
table = evaluate({"mine": model}, adversaries, images, labels)
for name in table.columns:
    accuracy = table.accuracy("mine", name)
    print(f"{name}: {accuracy.mean:.1%} [{accuracy.low:.1%}, {accuracy.high:.1%}]")

# ## A figure to publish
#
# One attack may be weak against one model. The ensemble tries several, each on the images that are still robust.
robustness = attacks.autoattack(norm="linf", radius=0.1, steps=SEARCH, queries=QUERIES)(model, images, labels)
print(f"ensemble: {robustness.accuracy.mean:.1%} robust; images broken by each attack: {robustness.broken}")

# The audit looks for signs that an attack fails for other reasons than the model's strength.
rich.print(audit(attack, model, images[:64], labels[:64]).table())

# ## How large must a change be?
#
# Instead of success at one radius, the smallest change of each image: a curve of accuracy over radius from one search.
smallest = attacks.fmn(norm="l2", steps=SEARCH)(model, images, labels)
print(f"median smallest L2 change: {smallest.radii.median():.2f}")
print("robust at 0.5, 1 and 2:", smallest.accuracy(torch.tensor([0.5, 1.0, 2.0])).tolist())

# ## Random models
#
# A model that draws noise in its forward pass gives other gradients each time. Attack the mean over its draws.
noisy = torch.nn.Sequential(torch.nn.Dropout(0.2), model)
averaged = attack(Averaged(noisy, draws=8), images[:32], labels[:32])
print(f"behind random dropout: {1 - averaged.success.double().mean():.1%} robust")
