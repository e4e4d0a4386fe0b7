"""Train robustly, in a plain PyTorch loop and in Lightning.

An adversary is a function from `(model, images, labels)` to images, so it fits into any training loop. It leaves the
model's mode, gradients and running statistics as they were. Nothing is downloaded; one minute on one core.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader

from augment import Digits
from cvae import LoopSettings
from perturbsets import (
    AdversarialTraining,
    Adversary,
    PixelBall,
    ProjectedGradient,
    RobustValidation,
    SmallConvNet,
    attacks,
    evaluate,
    train_classifier,
)

EPOCHS = 10
STEPS = 120
IMAGES = 300

digits = Digits("train", size=28, digit=16)
images, labels = Digits("test", size=28, digit=16).batch(range(IMAGES))
ball = PixelBall("linf", 0.1)
adversary = Adversary(ball, ascent=ProjectedGradient(steps=5, step_size=0.03))

# ## A plain loop
#
# One line more than standard training. `rank="value"` returns the image of the highest loss, misclassified or not,
# which is what training wants; the default prefers images whose attack succeeded.
torch.manual_seed(0)
plain, robust = SmallConvNet(), SmallConvNet()
for model in (plain, robust):
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(EPOCHS):
        for batch, classes in DataLoader(digits, batch_size=128, shuffle=True):
            if model is robust:
                batch = adversary(model, batch, classes, rank="value").images
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(batch), classes).backward()
            optimizer.step()
    model.eval()

# ## In Lightning
#
# The same line in `training_step`. Lightning is not a dependency of this package: `pip install lightning`.
try:
    import lightning
except ImportError:
    lightning = None
    print("lightning is not installed: this part is left out")

if lightning is not None:

    class RobustModule(lightning.LightningModule):
        """A classifier trained on attacked images."""

        def __init__(self):
            super().__init__()
            self.model = SmallConvNet()

        def training_step(self, batch, index):
            batch, classes = batch
            attacked = adversary(self.model, batch, classes, rank="value").images
            return nn.functional.cross_entropy(self.model(attacked), classes)

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 2e-3)

    module = RobustModule()
    trainer = lightning.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(module, DataLoader(digits, batch_size=128, shuffle=True))

# ## With the trainer of this package
#
# `train_classifier` takes any of the published methods (`AdversarialTraining`, `FastAdversarialTraining`, `TRADES`,
# `MART`, ...), continues a killed training to the same weights, and runs on several processes. `RobustValidation` keeps
# the weights of the best robust accuracy on images that are not trained on.
held_out = Digits("validation", size=28, digit=16).batch(range(100))
validation = RobustValidation(attacks.pgd(radius=0.1, steps=5), *held_out)
trained = SmallConvNet()
settings = LoopSettings(steps=STEPS, validate_every=max(STEPS // 3, 1), learning_rate=0.002)
records = train_classifier(trained, digits, AdversarialTraining(adversary), settings, validation=validation)

# ## Compare
#
# Judge with another, stronger attack than the one trained against.
models = {"plain": plain, "robust loop": robust, "train_classifier": trained}
if lightning is not None:
    models["Lightning"] = module.model.eval()
judges = {"clean": None, "PGD-20": attacks.pgd(radius=0.1, steps=20, restarts=2)}
table = evaluate(models, judges, images, labels)
for name in table.rows:
    print(name, *(f"{judge} {table.accuracy(name, judge).mean:.1%}" for judge in judges), sep="  ")
