"""What `deploy/` starts is what can be typed, and is as shut in as it says."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from manifest import documents
from shivya import commands, config
from shivya.cli import parser

from shivya_daemon.settings import DEFAULT_METRICS_PORT, DEFAULT_PORT

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")
DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"
UNIT = DEPLOY / "systemd" / "shivya.service"
CONTAINER = (DEPLOY / "container" / "Containerfile").read_text()
EXPOSURE = 20  # tenths


def manifests() -> dict[tuple[str, str], Any]:
    found = [each for file in sorted((DEPLOY / "k8s").glob("*.yaml")) for each in documents(file.read_text())]
    return {(each["kind"], each.get("metadata", {}).get("name", "")): each for each in found}


MANIFESTS = manifests()
POD = MANIFESTS["StatefulSet", "shivya"]["spec"]["template"]["spec"]
NODE = POD["containers"][0]


def unit() -> dict[str, list[str]]:
    settings: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            settings.setdefault(key, []).append(value)
    return settings


def typed(*words: str) -> argparse.Namespace:
    """What the command line makes of words; a flag it does not have ends the test."""
    return parser().parse_args(list(words))


def settings_of(options: argparse.Namespace, key_file: Path) -> Any:
    flags = {key: getattr(options, key) for key in commands._DAEMON_FLAGS}
    if flags["mesh_key_file"]:
        flags["mesh_key_file"] = str(key_file)
    return config.load(flags)


def test_the_unit_starts_and_stops_what_exists(tmp_path: Path) -> None:
    found = unit()
    (start,) = found["ExecStart"]
    program, *words = shlex.split(start)
    assert Path(program).name == "shivya"
    options = typed(*words)
    assert options.tui is False and not options.daemon, "systemd watches the process itself"
    assert settings_of(options, tmp_path).metrics == DEFAULT_METRICS_PORT
    stop = shlex.split(found["ExecStop"][0].removeprefix("-"))
    drain = typed(*stop[1:])
    assert drain.command == "drain"
    assert float(found["TimeoutStopSec"][0]) > drain.wait + 15, "time to hand over and to leave"
    assert found["Type"] == ["notify"] and found["WatchdogSec"] == ["30"]


def test_the_unit_is_shut_in() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here: apt-get install systemd")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(UNIT)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    level = re.search(r"exposure level for shivya\.service: ([\d.]+)", done.stdout)
    if level is None and "nknown" in done.stderr:
        pytest.skip("this systemd-analyze knows no offline check: systemd 250 or newer")
    assert level, done.stderr
    assert float(level[1]) <= EXPOSURE / 10, done.stdout
    assert done.returncode == 0


def test_the_container_starts_what_exists(tmp_path: Path) -> None:
    run = {
        key: json.loads(value) for key, value in re.findall(r"^(ENTRYPOINT|CMD) (\[.+\])", CONTAINER, re.M)
    }
    assert run["ENTRYPOINT"] == ["shivya"]
    settings = settings_of(typed(*run["CMD"]), tmp_path)
    assert settings.port == DEFAULT_PORT and settings.log_format == "json"
    health = json.loads(re.findall(r"HEALTHCHECK .*CMD (\[.+\])", CONTAINER)[0])
    assert typed(*health[1:]).command == "status"
    assert f"EXPOSE {DEFAULT_PORT}/udp {DEFAULT_METRICS_PORT}/tcp" in CONTAINER
    assert re.search(r"^USER [1-9]", CONTAINER, re.M)
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", CONTAINER, re.M):
        for name in source.split():
            assert (DEPLOY.parent / name).exists(), name


def test_the_pods_start_what_exists(tmp_path: Path) -> None:
    options = typed(*NODE["args"])
    settings = settings_of(options, tmp_path)
    ports = {port["name"]: port["containerPort"] for port in NODE["ports"]}
    assert ports == {"mesh": settings.port, "metrics": settings.metrics}
    assert settings.bind == settings.metrics_bind == "0.0.0.0"
    mesh = MANIFESTS["Service", "shivya-mesh"]
    assert options.peer == [f"{mesh['metadata']['name']}:{mesh['spec']['ports'][0]['port']}"]
    drain = typed(*NODE["lifecycle"]["preStop"]["exec"]["command"][1:])
    assert POD["terminationGracePeriodSeconds"] > drain.wait + 15
    variables = {f"SHIVYA_{key.upper()}" for key in config._KINDS if "." not in key}
    assert {entry["name"] for entry in NODE["env"]} <= variables
    user = re.findall(r"^USER (\d+):(\d+)", CONTAINER, re.M)[0]
    context = POD["securityContext"]
    assert user == (str(context["runAsUser"]), str(context["runAsGroup"]))


def test_the_services_and_the_autoscaler_are_as_designed() -> None:
    mesh = MANIFESTS["Service", "shivya-mesh"]["spec"]
    assert mesh["clusterIP"] == "None" and mesh["publishNotReadyAddresses"] is True
    metrics = MANIFESTS["Service", "shivya-metrics"]["spec"]
    assert metrics["type"] == "ClusterIP" and metrics["ports"][0]["port"] == 8000
    scaler = MANIFESTS["HorizontalPodAutoscaler", "shivya"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (1, 10)
    assert scaler["metrics"][0]["resource"]["target"]["averageUtilization"] == 50
    up, down = scaler["behavior"]["scaleUp"], scaler["behavior"]["scaleDown"]
    assert [(p["type"], p["value"], p["periodSeconds"]) for p in up["policies"]] == [
        ("Percent", 100, 30),
        ("Pods", 2, 30),
    ]
    assert down["stabilizationWindowSeconds"] == 300
    assert [(p["type"], p["value"], p["periodSeconds"]) for p in down["policies"]] == [("Percent", 50, 60)]
    assert NODE["resources"] == {
        "requests": {"cpu": "100m", "memory": "384Mi"},
        "limits": {"cpu": "500m", "memory": "512Mi"},
    }
    labels = MANIFESTS["StatefulSet", "shivya"]["spec"]["template"]["metadata"]["labels"]
    assert labels == mesh["selector"] == metrics["selector"]
    assert MANIFESTS["StatefulSet", "shivya"]["spec"]["serviceName"] == "shivya-mesh"


def understood(text: str) -> Any:
    """What kubectl makes of a manifest, without a cluster."""
    done = subprocess.run(
        ["kubectl", "annotate", "--local", "-f", "-", "checked=yes", "-o", "json"],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("file", ["statefulset.yaml", "autoscaler.yaml"])
def test_kubectl_reads_the_same(file: str) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here: docs/service.md says what it is for")
    text = (DEPLOY / "k8s" / file).read_text()
    (document,) = documents(text)
    assert understood(text) == understood(json.dumps(document))
