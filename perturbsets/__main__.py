"""``python -m perturbsets``: the command line, also for torchrun and accelerate launch."""

from perturbsets.cli import main

main()
