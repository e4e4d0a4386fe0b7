"""Sources of pairs: changed images, two folders, a list of files, scenes under several lights."""

from augment.pairs.changed import ChangedPairs
from augment.pairs.folders import PairedFolders
from augment.pairs.manifest import Manifest
from augment.pairs.plan import Fault, Made, PairPlan, PairSource
from augment.pairs.scenes import Scene, Scenes
