"""Reading a TOML file that a person wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def read(path: Path, refusal: type[ValueError], remedy: str = "") -> dict[str, Any]:
    """Return the tables of a file; raises `refusal` in one line, with `remedy`, where it cannot be read."""
    import tomllib  # only where a file exists

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise refusal(f"cannot read {path}: {error.strerror}{remedy and '; '}{remedy}") from None
    except ValueError as error:
        raise refusal(f"{path} is not valid TOML: {error}") from None
