r"""One-sided exact bounds on a share from k successes in n independent trials, and its p-value.

Counts are whole numbers of any shape, n is 1 or more, and chances lie in (0, 1). Everything is computed in float64 and
returned on the device of the counts, or on the CPU if that has no float64.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from scipy import special
from torch import Tensor

from augment.double_precision import in_double

Counts = Tensor | int


def share_at_least(successes: Counts, trials: Counts, alpha: float) -> Tensor:
    r"""Lower Clopper-Pearson bound: the true share is smaller with probability at most α.

    .. math:: \underline p = B^{-1}(\alpha;\, k, n - k + 1), \qquad
        P\big(\mathrm{Bin}(n, \underline p) \ge k\big) = \alpha

    with :math:`B^{-1}` the quantiles of the beta distribution; 0 where k is 0. Computed in float64: bounds near 1, of
    which certificates are made, have no room in float32. Up to :math:`n = 10^8` the tail is α to ten digits;
    at :math:`10^{12}` to three. The bound errs on one side only, so nothing is halved.

    Raises:
        ValueError: If the counts do not fit together, or α is outside (0, 1).
        TypeError: If the counts are not whole numbers.

    References:
        Clopper and Pearson, *The use of confidence or fiducial limits illustrated in the case of the binomial*, 1934.

    Example:
        >>> share_at_least(100, 100, alpha=0.05)  # 0.05 ** (1 / 100)
        tensor(0.9705, dtype=torch.float64)
    """
    check_chance("alpha", alpha)
    k, n = _counts(successes, trials)
    return _beta(special.betaincinv, k.clamp_min(1), n - k + 1, alpha).masked_fill(k == 0, 0.0)


def share_at_most(successes: Counts, trials: Counts, alpha: float) -> Tensor:
    r"""Upper Clopper-Pearson bound: the true share is larger with probability at most α.

    .. math:: \overline p = B^{-1}(1 - \alpha;\, k + 1, n - k), \qquad
        P\big(\mathrm{Bin}(n, \overline p) \le k\big) = \alpha

    which is 1 where k is n. All else is as for :func:`share_at_least`.

    Example:
        >>> share_at_most(0, 100, alpha=0.05)  # 1 - 0.05 ** (1 / 100)
        tensor(0.0295, dtype=torch.float64)
    """
    check_chance("alpha", alpha)
    k, n = _counts(successes, trials)
    return _beta(special.betainccinv, k + 1, (n - k).clamp_min(1), alpha).masked_fill(k == n, 1.0)


def chance_of_at_least(successes: Counts, trials: Counts, share: float) -> Tensor:
    r"""P-value of a share: the chance of so many successes or more if the true share is the given one.

    .. math:: P\big(\mathrm{Bin}(n, p) \ge k\big) = I_p(k, n - k + 1)

    with I the regularised incomplete beta function: the p-value of "the true share is at most p".

    Raises:
        ValueError: If the counts do not fit together, or the share p is outside (0, 1).
        TypeError: If the counts are not whole numbers.

    Example:
        >>> chance_of_at_least(3, 3, share=0.5)
        tensor(0.1250, dtype=torch.float64)
    """
    check_chance("share", share)
    k, n = _counts(successes, trials)
    return _beta(special.betainc, k.clamp_min(1), n - k + 1, share).masked_fill(k == 0, 1.0)


def check_chance(name: str, value: float) -> None:
    """Refuses a chance outside (0, 1).

    Raises:
        ValueError: If it is 0 or less, 1 or more, or NaN.
    """
    if not 0 < value < 1:
        raise ValueError(f"{name} must be above 0 and below 1, got {value}: nothing is certain, and 5 % are 0.05")


def _counts(successes: Counts, trials: Counts) -> tuple[Tensor, Tensor]:
    """Both counts in float64, in which whole numbers up to 2^53 are exact, and of one shape."""
    k, n = torch.as_tensor(successes), torch.as_tensor(trials)
    if k.is_floating_point() or n.is_floating_point():
        raise TypeError(f"successes and trials must be whole numbers, got {k.dtype} and {n.dtype}")
    k, n = torch.broadcast_tensors(in_double(k), in_double(n.to(k.device)))
    outside = ~((k >= 0) & (k <= n) & (n >= 1))
    if bool(outside.any()):
        raise ValueError(
            f"successes must be within 0 and the trials, 1 or more, got {int(k[outside][0])} of {int(n[outside][0])}"
        )
    return k, n


def _beta(function: Callable[..., object], first: Tensor, second: Tensor, chance: float) -> Tensor:
    """A function of the beta distribution with two parameters, on their device."""
    values = function(first.cpu().numpy(), second.cpu().numpy(), chance)
    return torch.as_tensor(values, dtype=torch.float64).to(first.device)
