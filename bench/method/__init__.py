"""What a fine-tuning method is, and what its author may use.

    bench.method           the contract: Method, Network, register, LitmusError, and what the harness does with them
    bench.method.reparam   methods that change a layer's weight, W' = W + delta: Reparam, LowRank, wrap, unwrap
    bench.method.bypass    methods that add a module beside a layer, y = f(x) + g(x): insert, Parallel, Series, Branch

`METHODS`, the registry, is one dictionary for the whole process: entries come and go, it is never replaced by another.
"""

from bench.method.contract import (
    METHODS,
    Figures,
    LitmusError,
    Loss,
    Method,
    Network,
    Value,
    attached,
    figures,
    fit_budget,
    floating,
    label,
    load_file,
    load_plugins,
    load_state,
    make,
    parse_spec,
    quantised,
    reach,
    refuse_quantised,
    register,
    source_digest,
    state,
    used,
)

__all__ = [
    "METHODS", "Figures", "LitmusError", "Loss", "Method", "Network", "Value", "attached", "figures", "fit_budget",
    "floating", "label", "load_file", "load_plugins", "load_state", "make", "parse_spec", "quantised", "reach",
    "refuse_quantised", "register", "source_digest", "state", "used",
]  # fmt: skip
