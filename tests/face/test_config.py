from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from shivya import config

from shivya_daemon.settings import (
    CAPABILITY_KEYS,
    CapabilitySettings,
    CreditSettings,
    DaemonSettings,
    LawSettings,
    QuotaSettings,
    SettingsError,
    SpiritSettings,
)


def load(folder: Path, environ: dict[str, str] | None = None, **options):
    flags = options.pop("flags", {})
    return config.load(
        flags, environ={"XDG_CONFIG_HOME": str(folder / "user")} | (environ or {}), folder=folder, **options
    )


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def user_file(folder: Path, text: str) -> Path:
    return write(folder / "user" / "shivya" / "config.toml", text)


def project_file(folder: Path, text: str) -> Path:
    return write(folder / "shivya.toml", text)


def test_defaults_without_any_source(tmp_path):
    assert load(tmp_path) == DaemonSettings()


def test_each_layer_overrides_the_one_below(tmp_path):
    user_file(tmp_path, 'port = 1001\nname = "user"\nservice_rate = 1\nlog_format = "json"\n')
    project_file(tmp_path, 'port = 1002\nname = "project"\nservice_rate = 2\n')
    settings = load(
        tmp_path, {"SHIVYA_PORT": "1003", "SHIVYA_NAME": "variable"}, flags={"port": "1004", "name": None}
    )
    assert (settings.port, settings.name, settings.service_rate, settings.log_format) == (
        1004,
        "variable",
        2.0,
        "json",
    )


def test_an_explicit_file_replaces_project_and_user_files(tmp_path):
    user_file(tmp_path, 'name = "user"\n')
    project_file(tmp_path, "port = 1002\n")
    explicit = write(tmp_path / "explicit.toml", "service_rate = 3.5\n")
    settings = load(tmp_path, config_file=explicit)
    assert (settings.name, settings.port, settings.service_rate) == (None, DaemonSettings().port, 3.5)


def test_tuned_parameters_are_above_files_and_below_the_environment(tmp_path):
    """And of what shivya tune wrote, only the table [law] counts."""
    project_file(tmp_path, "[law]\ngap = 0.3\nkappa = 0.1\n")
    tuned = write(tmp_path / "params.toml", "[law]\ngap = 0.2\ndrift = 0.25\n[test]\np99_ratio = 0.8\n")
    settings = load(tmp_path, {"SHIVYA_LAW_DRIFT": "0.75"}, params_file=tuned)
    assert settings.law == LawSettings(gap=0.2, drift=0.75, kappa=0.1)
    other = write(tmp_path / "other.toml", "gap = 0.2\n")
    with pytest.raises(SettingsError, match="no table \\[law\\]; name a file that 'shivya tune' wrote"):
        load(tmp_path, params_file=other)


def test_law_keys_merge_one_by_one(tmp_path):
    user_file(tmp_path, "[law]\ngap = 0.2\nhop_limit = 3\n")
    project_file(tmp_path, "[law]\ngap = 0.3\n")
    settings = load(tmp_path, {"SHIVYA_LAW_STALE_AFTER": "2.5"})
    assert settings.law == LawSettings(gap=0.3, hop_limit=3, stale_after=2.5)


def test_peers_are_replaced_not_joined(tmp_path):
    project_file(tmp_path, 'peers = ["10.0.0.1:1", "[::1]:2"]\n')
    assert load(tmp_path).peers == (("10.0.0.1", 1), ("::1", 2))
    assert load(tmp_path, {"SHIVYA_PEERS": "a:3, b:4"}).peers == (("a", 3), ("b", 4))
    assert load(tmp_path, flags={"peers": "c:5"}).peers == (("c", 5),)


def test_paths_of_a_file_are_relative_to_it_and_others_to_the_working_directory(tmp_path):
    explicit = write(tmp_path / "etc" / "mesh.toml", 'state_dir = "state"\nsocket = "/run/x.sock"\n')
    settings = load(tmp_path, {"SHIVYA_SOCKET": "here.sock"}, config_file=explicit)
    assert settings.state_dir == tmp_path / "etc" / "state"
    assert settings.socket == tmp_path / "here.sock"


@pytest.mark.parametrize(("text", "value"), [("1", True), ("true", True), ("No", False), ("0", False)])
def test_tui_default_gives_way_to_any_source(tmp_path, text, value):
    assert load(tmp_path, tui=True).tui is True
    assert load(tmp_path, {"SHIVYA_TUI": text}, tui=not value).tui is value


def test_every_setting_can_be_given():
    tables = {"law", "capabilities", "seeks", "quota", "credits", "spirits"}
    settings = {f.name for f in fields(DaemonSettings)} - tables
    settings |= {f"law.{f.name}" for f in fields(LawSettings)}
    settings |= {f"quota.{f.name}" for f in fields(QuotaSettings)}
    settings |= {f"credits.{f.name}" for f in fields(CreditSettings)}
    settings |= {f"spirits.{f.name}" for f in fields(SpiritSettings)}
    assert set(CAPABILITY_KEYS.values()) == {f.name for f in fields(CapabilitySettings)}
    for table in ("capabilities", "capabilities.seeks"):
        settings |= {f"{table}.{key}" for key in CAPABILITY_KEYS}
    assert set(config._KINDS) == settings


def test_capabilities_merge_key_by_key(tmp_path):
    user_file(
        tmp_path,
        '[capabilities]\ncompute = { cores = 4, memory_mb = 8192 }\ntags = ["site", "gpu"]\nwitness = 5\n',
    )
    project_file(
        tmp_path,
        '[capabilities]\ntags = []\ncompute.cores = 2\nseeks = { gateway = ["mqtt"] }\n'
        "[capabilities.storage]\ncapacity_mb = 512000\niops = 2000\n",
    )
    settings = load(
        tmp_path,
        {"SHIVYA_CAPABILITIES_GATEWAY": "modbus, opc-ua", "SHIVYA_CAPABILITIES_SEEKS_COMPUTE_CORES": "8"},
    )
    assert settings.capabilities == CapabilitySettings(
        cores=2,
        memory_mb=8192,
        capacity_mb=512000,
        iops=2000,
        gateway=("modbus", "opc-ua"),
        witness=5,
    )
    assert settings.seeks == CapabilitySettings(cores=8, gateway=("mqtt",))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("prot = 1\n", ["unknown key 'prot'", "port"]),
        ("[law]\ngaps = 1\n", ["unknown key 'law.gaps'"]),
        ("law = 3\n", ["law must be a table"]),
        ("[other]\nx = 1\n", ["unknown key 'other'"]),
        ("port = '8085'\n", ["port must be a whole number", "'8085'"]),
        ("port = true\n", ["port must be a whole number"]),
        ("port = 70000\n", ["port must be between 0 and 65535"]),
        ("tui = 1\n", ["tui must be true or false"]),
        ("service_rate = nan\n", ["service_rate must be a finite number"]),
        ("service_rate = 0\n", ["service_rate must be a positive number"]),
        ("links = 1\n", ["links must be between 2 and 12, not 1"]),
        ("links = 13\n", ["links must be between 2 and 12, not 13"]),
        ("name = 'two words'\n", ["name", "characters"]),
        ("peers = [1]\n", ["peers must be a list of HOST:PORT"]),
        ("peers = ['nowhere']\n", ["peers", "'nowhere'", "HOST:PORT"]),
        ("[law]\ngap = -1\n", ["law.gap must be greater than 0"]),
        ("[law]\nhop_limit = 1.5\n", ["law.hop_limit must be a whole number"]),
        ("port = \n", ["not valid TOML"]),
        ("capabilities = 4\n", ["capabilities must be a table", "[capabilities]"]),
        ("[capabilities]\ncpu = 4\n", ["'capabilities.cpu'", "capabilities.compute, capabilities.storage,"]),
        ("[capabilities]\ncompute = 4\n", ["capabilities.compute must be a table"]),
        (
            "[capabilities]\ncompute = { threads = 4 }\n",
            ["'capabilities.compute.threads'; known keys are capabilities.compute.cores,"],
        ),
        (
            "[capabilities]\ncompute = { cores = 1.5 }\n",
            ["capabilities.compute.cores must be a whole number"],
        ),
        (
            "[capabilities]\ncompute.cores = 4294967296\n",
            ["capabilities.compute.cores must be between 0 and"],
        ),
        ("[capabilities]\nwitness = -1\n", ["capabilities.witness must be between 0 and"]),
        ("[capabilities]\nstorage.iops = 5\n", ["capabilities.storage.iops", "capacity_mb"]),
        ("[capabilities]\ngateway = 'mqtt'\n", ["capabilities.gateway must be a list of names", "'mqtt'"]),
        ("[capabilities]\ntags = [1]\n", ["capabilities.tags must be a list of names"]),
        ("[capabilities]\ntags = ['two words']\n", ["capabilities.tags", "'two words'", "a-z A-Z"]),
        ("[capabilities]\ntags = ['']\n", ["capabilities.tags", "1 to 24"]),
        ("[capabilities]\ntags = ['a', 'a']\n", ["capabilities.tags", "each once"]),
        (f"[capabilities]\ntags = {[str(n) for n in range(9)]}\n", ["capabilities.tags", "at most 8"]),
        ("[capabilities.seeks]\ntags = ['é']\n", ["capabilities.seeks.tags", "'é'"]),
        ("[capabilities.seeks]\nseeks = 1\n", ["unknown key 'capabilities.seeks.seeks'"]),
    ],
)
def test_a_mistake_in_a_file_is_one_line_with_file_and_key(tmp_path, text, parts):
    path = project_file(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load(tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(path), *parts):
        assert part in message


@pytest.mark.parametrize(
    ("environ", "flags", "parts"),
    [
        ({"SHIVYA_PORT": "many"}, {}, ["SHIVYA_PORT must be a whole number", "'many'"]),
        ({"SHIVYA_LAW_GAP": "inf"}, {}, ["SHIVYA_LAW_GAP must be a finite number"]),
        ({"SHIVYA_TUI": "maybe"}, {}, ["SHIVYA_TUI must be true or false"]),
        ({}, {"service_rate": "-3"}, ["--service-rate", "positive"]),
        ({"SHIVYA_CAPABILITIES_WITNESS": "x"}, {}, ["SHIVYA_CAPABILITIES_WITNESS must be a whole number"]),
        ({"SHIVYA_CAPABILITIES_TAGS": "a b"}, {}, ["SHIVYA_CAPABILITIES_TAGS", "'a b'"]),
        ({}, {"peers": "host"}, ["--peer", "'host'"]),
        ({}, {"peers": "host:0"}, ["--peer", "HOST:PORT"]),
    ],
)
def test_a_mistake_in_a_variable_or_flag_names_it(tmp_path, environ, flags, parts):
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, environ, flags=flags)
    for part in parts:
        assert part in str(caught.value)


def test_a_missing_explicit_file_is_told(tmp_path):
    with pytest.raises(SettingsError, match=r"cannot read .*absent\.toml"):
        load(tmp_path, config_file=tmp_path / "absent.toml")


def test_bytes_that_are_not_text_are_told(tmp_path):
    (tmp_path / "shivya.toml").write_bytes(b"name = '\xff'\n")
    with pytest.raises(SettingsError, match="not valid TOML"):
        load(tmp_path)
