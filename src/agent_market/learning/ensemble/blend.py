"""How the predictions of several models become one: each in a unit that can be compared, times a weight."""

from dataclasses import dataclass

import numpy as np

from agent_market.learning.ensemble.options import Options


@dataclass(frozen=True)
class Evidence:
    """What was known of the members before a test window began.

    said: (n, n_members) predictions measured from where they say nothing: 0, or 0.5 of a probability. came: (n,) the
    label. ic: (n_members,) mean IC of each member on those rows, NaN where it has none.
    """

    said: np.ndarray
    came: np.ndarray
    ic: np.ndarray


@dataclass(frozen=True)
class Blend:
    """Weights (n_members,), which sum to 1, of predictions in units of `scale` (n_members,), their deviations.

    `ranks` is (n_known, n_members), each column sorted: with it, a prediction counts by its rank among those, from -0.5
    to 0.5. `choices` is how many blends were compared; `fell_back` says that no member gave reason for a weight.
    """

    weights: np.ndarray
    scale: np.ndarray
    ranks: np.ndarray | None = None
    choices: int = 1
    fell_back: bool = False

    def combine(self, said: np.ndarray) -> np.ndarray:
        """One score (n,) of predictions (n, n_members); what a row gets depends on that row alone, to the last bit."""
        total = np.zeros(len(said))
        for member in np.flatnonzero(self.weights):
            total += self.weights[member] * self._unit(said[:, member], member)
        return total

    def _unit(self, said: np.ndarray, member: int) -> np.ndarray:
        if self.ranks is None:
            return said / self.scale[member]
        known = self.ranks[:, member]
        below, up_to = (np.searchsorted(known, said, side=side) for side in ("left", "right"))
        return np.where(np.isnan(said), np.nan, (below + up_to) / (2.0 * len(known)) - 0.5)


def fit_blend(evidence: Evidence, options: Options, *, clip: float | None) -> Blend:
    """The blend that the evidence speaks for; a member that said the same of all rows gets no weight.

    `clip` holds the label within so many deviations in `stacking`. Where no member has a positive IC, or a
    positive part in the fit, all that vary weigh the same.
    """
    scale = evidence.said.std(axis=0)
    varies = scale > 0
    scale = np.where(varies, scale, 1.0)
    standard = evidence.said / scale
    choices = 1
    if options.method == "ic_weights":
        wanted = np.where(varies, np.nan_to_num(evidence.ic).clip(min=0.0), 0.0)
    elif options.method == "stacking":
        wanted = _non_negative_fit(standard, evidence.came, varies, clip)
    elif options.method == "diverse":
        wanted, choices = _diverse(standard, evidence.ic, varies)
    else:
        wanted = varies.astype(float)
    fell_back = not wanted.sum() > 0
    if fell_back:
        wanted = varies.astype(float) if varies.any() else np.ones(len(scale))
    ranks = np.sort(evidence.said, axis=0) if options.method == "rank_mean" else None
    return Blend(wanted / wanted.sum(), scale, ranks, choices, fell_back)


def _non_negative_fit(standard: np.ndarray, came: np.ndarray, varies: np.ndarray, clip: float | None) -> np.ndarray:
    """Least-squares weights of the label on standardized predictions, none below zero (Lawson & Hanson 1974)."""
    from scipy.optimize import nnls  # slow to import

    weights, deviation = np.zeros(len(varies)), came.std()
    if varies.any() and deviation > 0:
        label = came if clip is None else came.clip(-clip * deviation, clip * deviation)
        weights[varies] = nnls(standard[:, varies], label)[0]
    return weights


def _diverse(standard: np.ndarray, ic: np.ndarray, varies: np.ndarray) -> tuple[np.ndarray, int]:
    """Equal weights of the members that together promise most, and how many sets were compared.

    The mean of m standardized predictions with coefficients IC_i and correlations r_ij has the coefficient
    sum(IC_i) / sqrt(sum(r_ij)): a weak member that disagrees adds more than a stronger one that repeats. The set grows
    by the member that raises it most, as long as one does.
    """
    candidates = [int(member) for member in np.flatnonzero(varies & (np.nan_to_num(ic) > 0))]
    weights = np.zeros(len(ic))
    if not candidates:
        return weights, 1
    together = np.eye(len(ic))
    together[np.ix_(candidates, candidates)] = np.atleast_2d(np.corrcoef(standard[:, candidates].T))

    def promise(chosen: list[int]) -> float:
        return ic[chosen].sum() / np.sqrt(max(together[np.ix_(chosen, chosen)].sum(), 1e-12))

    chosen: list[int] = []
    best, compared = 0.0, 0
    while left := [member for member in candidates if member not in chosen]:
        compared += len(left)
        promised = [promise([*chosen, member]) for member in left]
        if not max(promised) > best:
            break
        best = max(promised)
        chosen.append(left[int(np.argmax(promised))])
    weights[chosen] = 1.0
    return weights, compared
