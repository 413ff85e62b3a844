"""Files of tuned parameters: what `shivya tune` writes, and how they are read back. TOML.

[law] is what a daemon takes, [parameters] all that was tuned; the rest says how they came about.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shivya import toml_file

if TYPE_CHECKING:
    from shivya_kernels.fleet import Params, Scenario

DAEMON_KEYS = (
    "gap",
    "slope_share",
    "drift",
    "drift_fade",
    "drift_share",
    "drift_seconds",
    "kappa",
    "prior_jobs",
    "rate_seconds",
    "pull_wait",
)
"""Parameters that are settings of the daemon, under the same names in its table [law]."""

_HEAD = """\
# Parameters of the law of load sharing, tuned by shivya on the fleet that [scenario] names.
# A daemon takes those of [law]: shivya daemon --params FILE, or that table in its shivya.toml.
"""


class ParametersError(ValueError):
    """A file of parameters that cannot be used; one line that names the file, the key and what to write."""


def scenario_hash(scenario: Scenario) -> str:
    """SHA-256 of what a scenario means, however its file is written."""
    meaning = json.dumps(_as_floats(dataclasses.asdict(scenario)), sort_keys=True)
    return hashlib.sha256(meaning.encode()).hexdigest()


def _as_floats(value: Any) -> Any:
    """Whole numbers as floats, for 2 and 2.0 mean the same."""
    if isinstance(value, dict):
        return {key: _as_floats(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_floats(inner) for inner in value]
    return float(value) if type(value) is int else value


def write(path: Path, document: Mapping[str, Mapping[str, Any]]) -> None:
    """Write tables of numbers, texts and lists of those, all at once or not at all."""
    text = _HEAD + "".join(
        f"\n[{name}]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in table.items())
        for name, table in document.items()
    )
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    # JSON's texts, whole numbers and finite floats are TOML's too.
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def read(path: Path) -> Params:
    """Read the parameters of a file, for `fleet.simulate` and `experiments.run`; the rest are the law's own.

    Raises `ParametersError` for a file that cannot be read, an unknown parameter, or one that is no number.
    """
    table = numbers(path)

    from shivya_kernels.fleet import LAWS

    defaults = LAWS["shivya"].params
    known = [field.name for field in dataclasses.fields(defaults)]
    for key in table:
        if key not in known:
            raise ParametersError(f"{path}: no parameter {key!r}; there are {', '.join(known)}")
    return dataclasses.replace(defaults, **table)


def numbers(path: Path) -> dict[str, Any]:
    """Read the table [parameters] without JAX, which alone knows their names; raises `ParametersError`."""
    table = toml_file.read(path, ParametersError).get("parameters")
    if not isinstance(table, dict):
        raise ParametersError(f"{path} has no table [parameters]; name a file that 'shivya tune' wrote")
    for key, value in table.items():
        if type(value) not in (int, float) or not 0 <= value <= sys.float_info.max:
            raise ParametersError(f"{path}: {key} must be a number, 0 or more, not {value!r:.40}")
    return table
