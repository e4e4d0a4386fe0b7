"""Learn a perturbation set from your own pairs.

All that is needed are pairs: a clean image and the same scene changed. This script makes two folders of PNG files, as
you may have them, and goes on from the files. Nothing is downloaded; two minutes on one core.
"""

import tempfile
from pathlib import Path

import torch
from torchvision.transforms.functional import to_pil_image

from augment import Digits, PairedFolders, PairStore, Perturb, SpatialChange, write_pairs
from cvae import FitSettings, SpatialCVAE, fit
from perturbsets import (
    Coverage,
    LatentBall,
    NecessarySubset,
    OverApproximation,
    diagnose_set,
    load,
    radius_from_pairs,
)
from perturbsets.criteria import encodings

IMAGES = 1000
STEPS = 800
SEARCH = 30

folder = Path(tempfile.mkdtemp())
images, _ = Digits("train", size=28, digit=16).batch(range(IMAGES))
change = SpatialChange(rotation=45.0, scale=(0.7, 1.3), shift=0.15, generator=torch.Generator().manual_seed(0))
for name, batch in {"clean": images, "changed": change(images)}.items():
    (folder / name).mkdir()
    for number, image in enumerate(batch):
        to_pil_image(image).save(folder / name / f"{number:04d}.png")

# ## Pairs
#
# Two folders are matched by file name; `Manifest` reads a list instead. Images are split by their names into training,
# validation and test, so that adding files moves none. With several pictures of one scene use `group="folder"`: a scene
# is then in one split only.
pairs = PairedFolders(folder / "clean", folder / "changed", size=(28, 28), channels=1)
print(write_pairs(folder / "pairs.h5", pairs))
train, validation, test = (PairStore(folder / "pairs.h5", split) for split in ("train", "validation", "test"))

# ## The model
#
# `SpatialCVAE` is for movements, `ResidualCVAE` for corruptions, `UNetCVAE` for large photographs. The loss is in nats
# per pixel; the weights that are best on the validation pairs are kept.
torch.manual_seed(0)
model = SpatialCVAE(channels=1, height=28, width=28, latent=16)
records = fit(model, train, validation, FitSettings(steps=STEPS, learning_rate=0.002))

# ## The set
#
# The radius holds the encodings of all validation pairs. The bank of encodings is what the set draws from: changes that
# were seen on one image, carried over to another.
learned = LatentBall(model, radius_from_pairs(model, validation), bank=encodings(model, validation))
print(f"radius {learned.radius:.2f} prior standard deviations")

# ## Is it a good set?
#
# Every real change should have a member near it (necessary subset property), *and* the set should hold little else. So
# look at both; a set that returns every image meets the first alone. `identity` is the error of doing nothing, and
# `mismatched_search` that of pairs which do not belong together: it has to stay large.
necessary = NecessarySubset(steps=SEARCH)(learned, test)
figures = necessary.summary()
for name in ("identity", "encoding", "search", "mismatched_search"):
    print(f"{name}: {figures[name]['mean']:.5f} mean squared error a pixel")
beyond = OverApproximation(steps=10, restarts=1)(learned, test)
print(f"reach: {beyond.summary()['reach']['ratio']:.1f} times that of real changes")
for finding in diagnose_set(figures, beyond.summary()):
    print("warning:", finding)

# A certificate says what holds for pairs that nobody has seen.
print(Coverage(share=0.9, alpha=0.05, relative=True, steps=SEARCH)(learned, test))

# ## Save it, use it
#
# The folder holds safetensors and JSON. `perturbsets.load` reads it, and so do recipes. As a transform the set joins
# any torchvision pipeline; an `Adversary` attacks in it, and methods of training take it as they take pixel balls.
learned.save(folder / "set")
perturb = Perturb(load(folder / "set"))
print(perturb(images[:8]).shape)
