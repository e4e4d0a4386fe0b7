"""Classifiers of many labels per image: objectives, attacks, scores, training, and training others with them."""

from perturbsets.label_states import target_labels
from perturbsets.multi_label.deepfool import multi_label_deepfool
from perturbsets.multi_label.dual import AuxiliaryTraining, DualS1, DualS2
from perturbsets.multi_label.flips import Flips, TargetOutcomes, flips, success_at_k, target_outcomes
from perturbsets.multi_label.linear_programme import label_linear_programme
from perturbsets.multi_label.objectives import BinaryCrossEntropy, LabelMargin, MultiLabelObjective
from perturbsets.multi_label.ranking import LabelRanking, TopK
from perturbsets.multi_label.scores import MultiLabelScores, multi_label_scores
from perturbsets.multi_label.training import MultiLabelTraining, balancing_weights, choose_thresholds
from perturbsets.training.method import DualTargets
