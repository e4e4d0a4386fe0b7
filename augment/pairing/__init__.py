"""Where pairs come from: a source and a change, two folders, a list of files, scenes under many lights."""

from augment.pairing.changed import ChangedPairs
from augment.pairing.folders import PairedFolders
from augment.pairing.manifest import Manifest
from augment.pairing.plan import Fault, Made, PairPlan
from augment.pairing.scenes import Scene, Scenes
from augment.pairing.source import PairSource

__all__ = [
    "ChangedPairs",
    "Fault",
    "Made",
    "Manifest",
    "PairPlan",
    "PairSource",
    "PairedFolders",
    "Scene",
    "Scenes",
]
