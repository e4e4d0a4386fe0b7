"""Certify: a set, and a classifier in it.

An attack that finds nothing proves nothing. A certificate is a statement with a confidence, from counting alone: it
needs no trust in the networks it speaks of. Nothing is downloaded; two minutes on one core.
"""

import tempfile

import torch

from augment import ChangedPairs, Digits, PairStore, SpatialChange, write_pairs
from cvae import LoopSettings
from perturbsets import (
    Coverage,
    CoveringRadius,
    NoiseAugmentedTraining,
    PixelBall,
    SmallConvNet,
    Smoothed,
    find_contradictions,
    load,
    train_classifier,
)

STEPS = 400
DRAWS = 2000
IMAGES = 100
SEARCH = 30
SIGMA = 0.5

# ## Does the set hold future changes?
#
# Pairs that had no part in learning the set, one random pair a source. An order statistic of their errors bounds what
# future pairs of the same kind need: with confidence 95 %, at least 90 % of them lie within the tolerance found. A weak
# search makes the statement weaker, never wrong.
learned = load("digits-rts")
change = SpatialChange(rotation=45.0, scale=(0.7, 1.3), shift=0.15)
file = f"{tempfile.mkdtemp()}/pairs.h5"
write_pairs(file, ChangedPairs({"test": Digits("test", size=28, digit=16)}, change, draws=1, seed=1))
pairs = PairStore(file, "test")
generator = torch.Generator().manual_seed(0)
print(Coverage(share=0.9, alpha=0.05, relative=True, steps=SEARCH)(learned, pairs, generator=generator))

# The same the other way round: which radius suffices to come within 1 % of each change?
covering = CoveringRadius(tolerance=0.01, share=0.9, alpha=0.05, relative=True, steps=SEARCH)
print(covering(learned, pairs, generator=generator))

# ## Within which radius does a classifier keep its vote?
#
# Randomised smoothing: the class that most draws of noise in the set's parameters get. Train with the same noise, or
# there is little to certify. In a pixel ball the noise is added to pixels; in a learned set it moves the latents.
digits = Digits("train", size=28, digit=16)
images, labels = Digits("test", size=28, digit=16).batch(range(IMAGES))
settings = LoopSettings(steps=STEPS, learning_rate=0.002)
for name, perturbations in {"pixels": PixelBall("l2", 1.0), "learned set": learned}.items():
    model = SmallConvNet()
    train_classifier(model, digits, NoiseAugmentedTraining(perturbations, sigma=SIGMA), settings)
    smoothed = Smoothed(model, perturbations, sigma=SIGMA)
    result = smoothed.certify(images, draws=DRAWS, alpha=0.001, labels=labels, generator=generator)
    for radius in (0.0, 0.5, 1.0):
        print(f"{name}: {result.correct(radius).double().mean():.0%} certified at radius {radius}")

# In the learned set the radius counts prior standard deviations, and the statement is about changes of an image that is
# known: g(x, u) for all u up to the radius. It does not cover changed images whose original is unknown.

# ## Trust, and check
#
# An attack inside the certified radii has to find nothing.
contradictions = find_contradictions(smoothed, images, result, generator=generator)
print(f"{int(contradictions.contradicted.sum())} contradictions among {len(contradictions.rows)} certified images")
