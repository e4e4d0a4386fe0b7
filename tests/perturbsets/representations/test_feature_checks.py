from __future__ import annotations

import pytest
import torch
from torch import Tensor

from perturbsets.representations.units import check_features
from perturbsets.rows import named_rows


@pytest.mark.parametrize(
    ("points", "guides", "message"),
    [
        (torch.zeros(3, 2, 5), torch.zeros(3, 4), r"points \(3, 2, 5\), guides \(3, 4\)"),
        (torch.zeros(1, 2, 5), torch.zeros(3, 5), r"points \(1, 2, 5\), guides \(3, 5\)"),
        (torch.tensor([[0.0], [torch.inf]]), torch.zeros(2, 1), "points must be finite, got NaN or infinity in row 1:"),
        (torch.zeros(2, 1), torch.full((2, 1), torch.nan), "guides must be finite, got NaN or infinity in rows 0, 1:"),
    ],
)
def test_features_that_do_not_fit_are_refused_by_name(points: Tensor, guides: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_features(points=points, guides=guides)


def test_whole_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match=r"guides must be floating point features, got torch.int64.*\.float"):
        check_features(guides=torch.zeros(2, 3, dtype=torch.int64))


def test_many_rows_are_counted() -> None:
    assert named_rows(torch.ones(20, dtype=torch.bool)) == "rows 0, 1, 2, 3, 4, 5, 6, 7 and 12 more"
    assert named_rows(torch.tensor([False, True])) == "row 1"
