"""Where settings come from: flags > environment > project file > user file > defaults.

The environment names each key as ``SHIVYA_<KEY>``, one of a table as ``SHIVYA_<TABLE>_<KEY>``
(``SHIVYA_LAW_GAP``, ``SHIVYA_CAPABILITIES_COMPUTE_CORES``); no key holds a secret, the mesh key is named by
its file. The project file is ``shivya.toml`` in the working directory, the user file
``$XDG_CONFIG_HOME/shivya/config.toml``; a file given explicitly replaces both. A list, such as `peers`, is
replaced by the higher layer and never joined with it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from shivya import toml_file
from shivya_daemon.settings import (
    CAPABILITY_KEYS,
    CapabilitySettings,
    CreditSettings,
    DaemonSettings,
    LawSettings,
    QuotaSettings,
    SettingsError,
    SpiritSettings,
    parse_node_id,
)

PROJECT_FILE = "shivya.toml"
USER_FILE = "config.toml"


@dataclass(frozen=True)
class _Kind:
    """One type of value: how a person is told of it, how TOML types it, how text is read."""

    expected: str
    toml: tuple[type, ...]
    parse: Callable[[str], object]


@dataclass(frozen=True)
class _Layer:
    """Values of one source. `label` turns a key into the words that name its origin in an error."""

    values: Mapping[str, object]
    label: Callable[[str], str]
    folder: Path = Path()
    """What a relative path in this source is relative to."""


def _parse_switch(text: str) -> bool:
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]


def _parse_list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


_INTEGER = _Kind("a whole number", (int,), int)
_NUMBER = _Kind("a finite number", (int, float), float)
_TEXT = _Kind("a text", (str,), str)
_SWITCH = _Kind("true or false", (bool,), _parse_switch)
_PEERS = _Kind("a list of HOST:PORT texts", (list,), _parse_list)
_IDS = _Kind("a list of node ids, 40 hexadecimal digits each", (list,), _parse_list)

_NAMES = _Kind("a list of names", (list,), _parse_list)
_URLS = _Kind("a list of URLs", (list,), _parse_list)
_OFFERS = "capabilities"
_SEEKS = "capabilities.seeks"

_KINDS: Mapping[str, _Kind] = {
    "port": _INTEGER,
    "bind": _TEXT,
    "advertise": _TEXT,
    "peers": _PEERS,
    "mesh_key_file": _TEXT,
    "allow": _IDS,
    "allow_file": _TEXT,
    "open_wire": _SWITCH,
    "no_law": _SWITCH,
    "name": _TEXT,
    "state_dir": _TEXT,
    "socket": _TEXT,
    "service_rate": _NUMBER,
    "links": _INTEGER,
    "record": _TEXT,
    "tui": _SWITCH,
    "log_format": _TEXT,
    "visualize": _INTEGER,
    "metrics": _INTEGER,
    "metrics_bind": _TEXT,
    **{f"law.{f.name}": _INTEGER if isinstance(f.default, int) else _NUMBER for f in fields(LawSettings)},
    **{f"quota.{f.name}": _INTEGER if f.type == "int" else _NUMBER for f in fields(QuotaSettings)},
    "credits.ledger": _TEXT,
    "credits.etcd": _URLS,
    **{
        f"credits.{key}": _TEXT
        for key in ("etcd_ca", "etcd_cert", "etcd_key", "etcd_user", "etcd_password_file")
    },
    "credits.epoch_limit": _INTEGER,
    **{f"spirits.{f.name}": _INTEGER if f.type == "int" else _SWITCH for f in fields(SpiritSettings)},
    **{
        f"{table}.{key}": _NAMES if key in ("gateway", "tags") else _INTEGER
        for table in (_OFFERS, _SEEKS)
        for key in CAPABILITY_KEYS
    },
}
_TABLES = {key[:end] for key in _KINDS for end, letter in enumerate(key) if letter == "."}
_MAY_BE_ZERO = ("law.kappa", "law.drift")
_PATHS = (
    *("mesh_key_file", "allow_file", "state_dir", "socket", "record", "credits.ledger"),
    *(f"credits.etcd_{name}" for name in ("ca", "cert", "key", "password_file")),
)


def load(
    flags: Mapping[str, str | None],
    *,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    config_file: Path | None = None,
    params_file: Path | None = None,
    tui: bool = False,
) -> DaemonSettings:
    """Merge all sources into the settings of one daemon.

    `flags` maps keys to the text given on the command line, None where a flag was not given. `params_file` is
    what `shivya tune` wrote: its table [law] is above that of the other files. `environ` and
    `folder` default to those of the process. `tui` is the default of that key (whether standard output is a
    terminal).

    Raises `SettingsError` with one line that names the source and the key.
    """
    environ = os.environ if environ is None else environ
    folder = Path.cwd() if folder is None else folder
    merged: dict[str, object] = {"tui": tui}
    origins: dict[str, str] = {}
    for layer in _layers(flags, environ, folder, config_file, params_file):
        for key, value in layer.values.items():
            merged[key] = _convert(layer, key, value)
            origins[key] = layer.label(key)
    top: dict[str, Any] = {
        key: value for key, value in merged.items() if "." not in key
    }  # _convert checked all
    try:
        return DaemonSettings(
            law=LawSettings(**_table(merged, "law", LawSettings)),
            quota=QuotaSettings(**_table(merged, "quota", QuotaSettings)),
            credits=CreditSettings(**_table(merged, "credits", CreditSettings)),
            spirits=SpiritSettings(**_table(merged, "spirits", SpiritSettings)),
            capabilities=_capabilities(merged, _OFFERS),
            seeks=_capabilities(merged, _SEEKS),
            **top,
        )
    except SettingsError as error:
        # A setting's own check begins with its key; tell the reader where the value was written.
        origin = origins.get(str(error).split(" ", 1)[0])
        raise SettingsError(f"{origin}: {error}" if origin else str(error)) from None


def _table(merged: Mapping[str, Any], name: str, kind: Any) -> dict[str, Any]:
    """Return what was given of the table `name`, by field."""
    return {f.name: merged[k] for f in fields(kind) if (k := f"{name}.{f.name}") in merged}


def _capabilities(merged: Mapping[str, Any], table: str) -> CapabilitySettings:
    given = {name: merged[k] for key, name in CAPABILITY_KEYS.items() if (k := f"{table}.{key}") in merged}
    return CapabilitySettings(**given)


def user_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of the user's settings."""
    base = environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "/") / ".config"
    return Path(base) / "shivya"


def parse_address(text: str) -> tuple[str, int]:
    """Split ``HOST:PORT`` (IPv6 in brackets: ``[::1]:8085``); raise `SettingsError` if it is not one."""
    host, separator, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (separator and host and port.isascii() and port.isdigit() and 0 < int(port) <= 65535):
        raise SettingsError(f"{text!r} is not an address; write HOST:PORT, for example 127.0.0.1:8086")
    return host, int(port)


def _layers(
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    folder: Path,
    config_file: Path | None,
    params_file: Path | None,
) -> Iterator[_Layer]:
    """Yield the sources from the weakest to the strongest."""
    if config_file is not None:
        yield _file_layer(config_file)
    else:
        for path in (user_folder(environ) / USER_FILE, folder / PROJECT_FILE):
            if path.exists():
                yield _file_layer(path)
    if params_file is not None:
        yield _params_layer(params_file)
    variables = {_variable(key): key for key in _KINDS}
    given = {key: environ[name] for name, key in variables.items() if environ.get(name)}
    yield _Layer(given, _variable, folder)
    yield _Layer({key: text for key, text in flags.items() if text is not None}, _flag, folder)


def _variable(key: str) -> str:
    return "SHIVYA_" + key.upper().replace(".", "_")


def _flag(key: str) -> str:
    return "--peer" if key == "peers" else "--" + key.replace("_", "-")


def _params_layer(path: Path) -> _Layer:
    """Return the table [law] of a file of parameters; the rest of it says how they came about."""
    law = toml_file.read(path, SettingsError).get("law")
    if not isinstance(law, dict):
        raise SettingsError(f"{path} has no table [law]; name a file that 'shivya tune' wrote")
    return _checked(path, {"law": law})


def _file_layer(path: Path) -> _Layer:
    return _checked(path, toml_file.read(path, SettingsError))


def _checked(path: Path, table: Mapping[str, object]) -> _Layer:
    values = dict(_flat(table))
    for key, value in values.items():
        if key in _TABLES:
            raise SettingsError(f"{path}: {key} must be a table; write its keys below a line [{key}]")
        if key not in _KINDS:
            raise SettingsError(f"{path}: unknown key {key!r}; known keys are {', '.join(_beside(key))}")
        if type(value) not in _KINDS[key].toml:
            raise SettingsError(f"{path}: {key} must be {_KINDS[key].expected}, not {value!r}")
    return _Layer(values, lambda key: f"{path}: {key}", path.parent)


def _flat(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the values of a table and of the tables in it that have settings, by dotted key."""
    for key, value in table.items():
        dotted = prefix + key
        if isinstance(value, dict) and dotted in _TABLES:
            yield from _flat(value, f"{dotted}.")
        else:
            yield dotted, value


def _beside(key: str) -> dict[str, None]:
    """Return what can stand in the table in which `key` does."""
    table = key.rpartition(".")[0]
    start = len(table) + 1 if table else 0
    inside = [known for known in _KINDS if known.startswith(f"{table}." if table else "")]
    return dict.fromkeys(known[:start] + known[start:].partition(".")[0] for known in inside)


def _convert(layer: _Layer, key: str, value: object) -> object:
    """Turn one checked TOML value, or one text of a flag or variable, into what the settings hold."""
    kind, label = _KINDS[key], layer.label(key)
    if isinstance(value, str):
        try:
            value = kind.parse(value)
        except (ValueError, KeyError):
            raise SettingsError(f"{label} must be {kind.expected}, not {value!r}") from None
    if kind is _NUMBER and not math.isfinite(value := _as_float(value)):
        raise SettingsError(f"{label} must be {kind.expected}, not {value}")
    if key.startswith("law.") and isinstance(value, (int, float)) and value <= 0:
        if key not in _MAY_BE_ZERO:
            raise SettingsError(f"{label} must be greater than 0, not {value}")
        if value < 0:
            raise SettingsError(f"{label} must not be negative, not {value}")
    if key in _PATHS:
        return layer.folder / Path(str(value)).expanduser()
    if isinstance(value, list):
        return _items(label, kind, value)
    return value


def _as_float(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # an int or a float by its kind
    except OverflowError:
        return math.inf


def _items(label: str, kind: _Kind, items: list[object]) -> tuple[object, ...] | frozenset[bytes]:
    texts = [item for item in items if isinstance(item, str)]
    if len(texts) < len(items):
        raise SettingsError(f"{label} must be {kind.expected}, not {items!r}")
    try:
        if kind is _IDS:
            return frozenset(map(parse_node_id, texts))
        if kind in (_NAMES, _URLS):
            return tuple(texts)
        return tuple(map(parse_address, texts))
    except SettingsError as error:
        raise SettingsError(f"{label}: {error}") from None
