"""Do the findings hold for other tasks? The task as a random effect: shares of variance, and F against the tasks."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field

from bench.study import Frame
from bench.study.anova import Effect, Model, effect


@dataclass(frozen=True)
class Mixed:
    """Variance of each random part (restricted maximum likelihood), and each factor against its product with tasks.

    parts    task, seed in task, pair in task, rest; {} where the model could not be fitted
    against  F of a factor with the mean square of factor x task as its error: what a new task may be expected to show
    notes    what the fit had to say
    """

    parts: dict[str, float] = field(default_factory=dict)
    against: list[Effect] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def mixed(frame: Frame, column: str, fixed: list[str]) -> Mixed:
    """The mixed model of `column`: `fixed` factors, and random tasks, seeds in them and pairs in them."""
    if frame["task"].nunique() < 2:
        return Mixed(notes=["one task only: nothing can be said about others"])
    parts, notes = _parts(frame, column, fixed)
    return Mixed(parts, [_against(frame, column, factor) for factor in ("pair", *fixed)], notes)


def _against(frame: Frame, column: str, factor: str) -> Effect:
    """F of `factor` with factor x task as the error, blocks apart."""
    terms = [("block",), (factor,), (factor, "task")]
    model = Model(frame, column, terms)
    whole, alone, none = (model.free(terms[:n]) for n in (3, 2, 1))
    return effect(factor, none[1] - alone[1], none[0] - alone[0], alone[1] - whole[1], alone[0] - whole[0])


def _parts(frame: Frame, column: str, fixed: list[str]) -> tuple[dict[str, float], list[str]]:
    import statsmodels.formula.api as smf

    rest = [f for f in fixed if f not in ("source", "target")]
    formula = " + ".join([f"{column} ~ C(pair, Sum)", *(f"C({f}, Sum)" for f in rest)])
    random = {"pair": "0 + C(pair)"} | ({"seed": "0 + C(seed)"} if frame["seed"].nunique() > 1 else {})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            model = smf.mixedlm(formula, frame, groups="task", re_formula="1", vc_formula=random)
            fit = model.fit(reml=True, method="lbfgs")
        except Exception as error:
            return {}, [f"the mixed model could not be fitted: {str(error).splitlines()[0]}"]
    parts = {"task": float(fit.cov_re.iloc[0, 0])}
    parts |= {f"{name} in task": float(v) for name, v in zip(fit.model.exog_vc.names, fit.vcomp, strict=True)}
    parts["rest"] = float(fit.scale)
    notes = sorted({str(w.message).splitlines()[0] for w in said})
    if not all(math.isfinite(v) for v in parts.values()):
        return {}, [*notes, "the mixed model gave no finite variances"]
    return parts, notes
