"""The arrows of docs/architecture.md within the daemon; arrows.py holds the others."""

from __future__ import annotations

# As RULES of arrows.py.
DAEMON: dict[str, tuple[set[str], set[str]]] = {
    "shivya_daemon": (set(), set()),
    "shivya_daemon.core": ({"shivya_daemon.core"}, {"cryptography", "msgspec"}),
    "shivya_daemon.core.secure.handshake": ({"shivya_daemon.core"}, {"cryptography", "msgspec", "noise"}),
    "shivya_daemon.net": ({"shivya_daemon.net", "shivya_daemon.core"}, {"anyio", "msgspec"}),
    "shivya_daemon.mind": (
        {"shivya_daemon.mind", "shivya_daemon.world", "shivya_daemon.verdict", "shivya_daemon.settings"}
        | {"shivya_daemon.guard.arbiter", "shivya_daemon.guard.sight", "shivya_kernels"},
        {"jax", "jaxtyping", "numpy"},
    ),
    "shivya_daemon.chronicle": (
        {"shivya_daemon.core", "shivya_daemon.journal", "shivya_daemon.snapshot"},
        set(),
    ),
    "shivya_daemon.histories": (
        {"shivya_daemon.core", "shivya_daemon.journal", "shivya_daemon.ledgers.audit"},
        {"anyio"},
    ),
    "shivya_daemon.journal": ({"shivya_daemon.core", "shivya_daemon.ledgers.audit"}, {"anyio"}),
    "shivya_daemon.ledgers": (set(), set()),
    "shivya_daemon.ledgers.disk": (set(), set()),
    "shivya_daemon.ledgers.audit": (
        {"shivya_daemon.ledgers.audit", "shivya_daemon.ledgers.disk", "shivya_daemon.core"},
        {"msgspec"},
    ),
    "shivya_daemon.ledgers.credits": (
        {"shivya_daemon.ledgers.credits", "shivya_daemon.ledgers.disk", "shivya_daemon.core"},
        set(),
    ),
    "shivya_daemon.ledgers.credits.etcd_gateway": ({"shivya_daemon.ledgers.credits"}, {"httpx"}),
    "shivya_daemon.spirits": (set(), set()),
    "shivya_daemon.spirits.manifest": (set(), set()),
    "shivya_daemon.spirits.package": ({"shivya_daemon.spirits.manifest"}, set()),
    "shivya_daemon.spirits.shelf": (
        {"shivya_daemon.spirits.package", "shivya_daemon.views.frames"},
        set(),
    ),
    "shivya_daemon.spirits.boundary": ({"shivya_daemon.core"}, set()),
    "shivya_daemon.spirits.catalogue": (
        {"shivya_daemon.spirits.package", "shivya_daemon.spirits.refused", "shivya_daemon.spirits.register"},
        set(),
    ),
    "shivya_daemon.spirits.crossing": ({"shivya_daemon.spirits.register"}, set()),
    "shivya_daemon.spirits.exchange": (
        {"shivya_daemon.core", "shivya_daemon.spirits.boundary", "shivya_daemon.spirits.register"},
        set(),
    ),
    "shivya_daemon.spirits.host": (
        {
            "shivya_daemon.core",
            "shivya_daemon.settings",
            "shivya_daemon.mind.start",
            "shivya_daemon.spirits.boundary",
            "shivya_daemon.spirits.keeper",
            "shivya_daemon.spirits.life",
            "shivya_daemon.spirits.lived",
            "shivya_daemon.spirits.package",
            "shivya_daemon.spirits.patch",
            "shivya_daemon.spirits.picture",
            "shivya_daemon.spirits.steps",
        },
        set(),
    ),
    "shivya_daemon.spirits.keeper": ({"shivya_daemon.spirits.register"}, set()),
    "shivya_daemon.spirits.life": (
        {
            "shivya_daemon.spirits.crossing",
            "shivya_daemon.spirits.exchange",
            "shivya_daemon.spirits.lived",
            "shivya_daemon.spirits.outlook",
            "shivya_daemon.spirits.places",
            "shivya_daemon.spirits.register",
        },
        set(),
    ),
    "shivya_daemon.spirits.lived": (
        {"shivya_daemon.spirits.outlook", "shivya_daemon.spirits.settings"},
        {"numpy"},
    ),
    "shivya_daemon.spirits.outlook": (set(), set()),
    "shivya_daemon.spirits.patch": (
        {
            "shivya_kernels",
            "shivya_daemon.mind.traced",
            "shivya_daemon.spirits.lived",
            "shivya_daemon.spirits.outlook",
            "shivya_daemon.spirits.places",
            "shivya_daemon.spirits.register",
            "shivya_daemon.spirits.settings",
            "shivya_daemon.spirits.steps",
        },
        {"jax", "numpy"},
    ),
    "shivya_daemon.spirits.picture": (
        {
            "shivya_daemon.spirits.keeper",
            "shivya_daemon.spirits.life",
            "shivya_daemon.spirits.lived",
            "shivya_daemon.spirits.register",
        },
        {"numpy"},
    ),
    "shivya_daemon.spirits.places": (set(), set()),
    "shivya_daemon.spirits.refused": (set(), set()),
    "shivya_daemon.spirits.register": ({"shivya_daemon.core", "shivya_daemon.spirits.settings"}, set()),
    "shivya_daemon.spirits.settings": (set(), set()),
    "shivya_daemon.spirits.spirits": (
        {
            "shivya_daemon.core",
            "shivya_daemon.settings",
            "shivya_daemon.spirits.boundary",
            "shivya_daemon.spirits.catalogue",
            "shivya_daemon.spirits.host",
            "shivya_daemon.spirits.keeper",
            "shivya_daemon.spirits.package",
            "shivya_daemon.spirits.refused",
            "shivya_daemon.spirits.register",
            "shivya_daemon.spirits.settings",
        },
        {"anyio"},
    ),
    "shivya_daemon.spirits.steps": (set(), set()),
    "shivya_daemon.guard": (
        {"shivya_daemon.guard", "shivya_daemon.core", "shivya_daemon.mind.beat", "shivya_daemon.services"}
        | {"shivya_daemon.verdict", "shivya_daemon.world"},
        {"msgspec"},
    ),
    "shivya_daemon.views": (
        {"shivya_daemon.views", "shivya_daemon.snapshot"},
        {"anyio", "prometheus_client", "rich", "websockets"},
    ),
    "shivya_daemon.web_views": (
        {"shivya_daemon.paths", "shivya_daemon.settings", "shivya_daemon.snapshot"}
        | {"shivya_daemon.spirits.shelf", "shivya_daemon.views"},
        {"anyio"},
    ),
    "shivya_daemon.snapshot": (set(), set()),
    "shivya_daemon.snapshot_reader": ({"shivya_daemon.snapshot"}, set()),
    "shivya_daemon.terminal": ({"shivya_daemon.snapshot", "shivya_daemon.views"}, {"anyio"}),
    "shivya_daemon.notify": (set(), set()),
    "shivya_daemon.detach": ({"shivya_daemon.settings"}, set()),
    "shivya_daemon.paths": (set(), set()),
    "shivya_daemon.placement": (set(), set()),
    "shivya_daemon.in_service": ({"shivya_daemon.placement"}, set()),
    "shivya_daemon.rates": (set(), set()),
    "shivya_daemon.busy_time": ({"shivya_daemon.rates"}, set()),
    "shivya_daemon.logs": (set(), set()),
    "shivya_daemon.telemetry": (set(), {"psutil"}),
    "shivya_daemon.settings": ({"shivya_daemon.paths"}, set()),
    "shivya_daemon.keyfile": (set(), set()),
    "shivya_daemon.identityfile": ({"shivya_daemon.core", "shivya_daemon.keyfile"}, set()),
    "shivya_daemon.admission": ({"shivya_daemon.keyfile", "shivya_daemon.settings"}, set()),
    "shivya_daemon.addresses": ({"shivya_daemon.settings"}, {"anyio", "psutil"}),
    "shivya_daemon.clockwatch": (set(), set()),
    "shivya_daemon.signal_log": ({"shivya_daemon.core"}, set()),
    "shivya_daemon.resources": ({"shivya_daemon.core", "shivya_daemon.telemetry"}, {"psutil"}),
    "shivya_daemon.line": ({"shivya_daemon.services", "shivya_daemon.settings"}, set()),
    "shivya_daemon.lease_desk": ({"shivya_daemon.core"}, set()),
    "shivya_daemon.lease_verbs": (
        {"shivya_daemon.core", "shivya_daemon.line", "shivya_daemon.placement"},
        set(),
    ),
    "shivya_daemon.spirit_verbs": (
        {"shivya_daemon.line", "shivya_daemon.spirits.refused", "shivya_daemon.spirits.settings"},
        set(),
    ),
    "shivya_daemon.mesh_verbs": (
        {
            "shivya_daemon.core",
            "shivya_daemon.guard.sight",
            "shivya_daemon.lease_verbs",
            "shivya_daemon.line",
            "shivya_daemon.spirit_verbs",
        },
        set(),
    ),
    "shivya_daemon.purse": (
        {"shivya_daemon.purse", "shivya_daemon.core", "shivya_daemon.ledgers.credits"}
        | {"shivya_daemon.keyfile", "shivya_daemon.services", "shivya_daemon.settings"}
        | {"shivya_daemon.mind.pooling", "shivya_daemon.world"},
        {"anyio"},
    ),
    "shivya_daemon.operations": (
        {"shivya_daemon.core", "shivya_daemon.clockwatch", "shivya_daemon.resources"}
        | {"shivya_daemon.lease_desk"}
        | {"shivya_daemon.services", "shivya_daemon.settings", "shivya_daemon.signal_log"}
        | {"shivya_daemon.spirit_verbs", "shivya_daemon.status", "shivya_daemon.telemetry"},
        set(),
    ),
    "shivya_daemon.services": (
        {
            "shivya_daemon.rates",
            "shivya_daemon.busy_time",
            "shivya_daemon.settings",
            "shivya_daemon.placement",
            "shivya_daemon.in_service",
        },
        set(),
    ),
    "shivya_daemon.commands": (
        {"shivya_daemon.placement", "shivya_daemon.services", "shivya_daemon.settings"}
        | {"shivya_daemon.lease_verbs", "shivya_daemon.line", "shivya_daemon.mesh_verbs"},
        set(),
    ),
    "shivya_daemon.control": ({"shivya_daemon.commands"}, {"anyio"}),
    "shivya_daemon.world": (
        {"shivya_daemon.core", "shivya_daemon.services", "shivya_daemon.settings"},
        set(),
    ),
    "shivya_daemon.verdict": ({"shivya_daemon.placement", "shivya_daemon.world"}, set()),
    "shivya_daemon.renewal": (
        {"shivya_daemon.placement", "shivya_daemon.verdict", "shivya_daemon.world"},
        set(),
    ),
    "shivya_daemon.table": (
        {"shivya_daemon.core", "shivya_daemon.world", "shivya_daemon.verdict"}
        | {"shivya_daemon.services", "shivya_daemon.settings"},
        {"msgspec"},
    ),
    "shivya_daemon.status": (
        {"shivya_daemon.core", "shivya_daemon.world", "shivya_daemon.verdict"}
        | {"shivya_daemon.services", "shivya_daemon.snapshot"},
        {"msgspec"},
    ),
    "shivya_daemon.recent": ({"shivya_daemon.rates", "shivya_daemon.world"}, set()),
    "shivya_daemon.known": (
        {"shivya_daemon.core", "shivya_daemon.recent", "shivya_daemon.settings", "shivya_daemon.world"},
        set(),
    ),
    "shivya_daemon.desk": (
        {"shivya_daemon.known", "shivya_daemon.recent"}
        | {"shivya_daemon.core", "shivya_daemon.world", "shivya_daemon.verdict", "shivya_daemon.table"}
        | {"shivya_daemon.status", "shivya_daemon.snapshot", "shivya_daemon.services"}
        | {"shivya_daemon.settings", "shivya_daemon.telemetry", "shivya_daemon.operations"}
        | {"shivya_daemon.guard", "shivya_daemon.journal", "shivya_daemon.placement"}
        | {"shivya_daemon.renewal", "shivya_daemon.spirits.spirits"},
        set(),
    ),
    "shivya_daemon.startup": (
        {"shivya_daemon.core", "shivya_daemon.net", "shivya_daemon.settings", "shivya_daemon.telemetry"}
        | {"shivya_daemon.mind.head", "shivya_daemon.mind.record"},
        {"msgspec"},
    ),
    "shivya_daemon.daemon": ({"shivya_daemon"}, {"anyio"}),
    "shivya_daemon.app": ({"shivya_daemon"}, {"anyio"}),
}
