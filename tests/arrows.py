"""The arrows of docs/architecture.md: which module may import what; test_architecture.py enforces them."""

from __future__ import annotations

from arrows_daemon import DAEMON

# What the command line may use of the daemon without starting one: all of it standard library.
EDGE = {"shivya_daemon.paths", "shivya_daemon.settings", "shivya_daemon.keyfile", "shivya_daemon.views.words"}

# A module (longest prefix wins) may import these of our own modules and these third-party packages.
# The standard library is allowed to all, but for what FORBIDDEN says.
RULES: dict[str, tuple[set[str], set[str]]] = {
    "shivya": (
        {"shivya.version", "shivya.client", "shivya.leasing", "shivya.proxy", "shivya.experiments"},
        set(),
    ),  # lazily
    "shivya.version": (set(), set()),
    "shivya.__main__": ({"shivya.cli"}, set()),
    "shivya.cli": ({"shivya", *EDGE}, set()),
    "shivya.commands": (
        {"shivya", "shivya_daemon.app", "shivya_daemon.detach", "shivya_daemon.mind"}
        | {"shivya_daemon.views.keys", *EDGE},
        set(),
    ),
    "shivya.command_tree": (set(), set()),
    "shivya.completion": ({"shivya.command_tree"}, set()),
    "shivya.manual": ({"shivya.command_tree", "shivya.version"}, set()),
    "shivya.top": (
        {"shivya.ask", "shivya.errors", "shivya_daemon.snapshot", "shivya_daemon.snapshot_reader"}
        | {"shivya_daemon.views"},
        {"rich"},
    ),
    "shivya.arguments": (set(), set()),
    "shivya.experiment_arguments": (
        {"shivya.arguments", "shivya.commands", "shivya.simulate", "shivya.tune", "shivya.whatif"},
        set(),
    ),
    "shivya.credits_arguments": (
        {"shivya.arguments", "shivya.credits_commands", "shivya.credits_text"},
        set(),
    ),
    "shivya.credits_commands": (
        {"shivya", "shivya_daemon.core", "shivya_daemon.identityfile", "shivya_daemon.ledgers.credits"}
        | {"shivya_daemon.purse.etcd_access", *EDGE},
        set(),
    ),
    "shivya.credits_text": (
        {"shivya.errors", "shivya.tables", "shivya_daemon.ledgers.credits", "shivya_daemon.views.words"},
        set(),
    ),
    "shivya.ledger_arguments": ({"shivya.arguments", "shivya.ledger_commands"}, set()),
    "shivya.ledger_commands": (
        {"shivya.commands", "shivya.config", "shivya.errors", "shivya.tables"}
        | {"shivya_daemon.ledgers.audit", *EDGE},
        set(),
    ),
    "shivya.lease_arguments": ({"shivya.arguments", "shivya.lease_commands"}, set()),
    "shivya.lease_commands": (
        {"shivya.ask", "shivya.commands", "shivya.errors", "shivya.leasing", "shivya.tables"} | EDGE,
        set(),
    ),
    "shivya.leasing": ({"shivya.ask", "shivya.errors"}, set()),
    "shivya.mesh_commands": ({"shivya", *EDGE}, set()),
    "shivya.guard_arguments": ({"shivya.arguments", "shivya.guard_commands"}, set()),
    "shivya.guard_commands": (
        {"shivya.ask", "shivya.commands", "shivya.errors", "shivya.tables"}
        | {"shivya_daemon.guard", "shivya_daemon.ledgers.audit", *EDGE},
        set(),
    ),
    "shivya.spirit_arguments": (
        {"shivya.arguments", "shivya.spirit_commands", "shivya.spirit_pack"},
        set(),
    ),
    "shivya.spirit_commands": (
        {"shivya.ask", "shivya.commands", "shivya.tables", "shivya_daemon.views.words"},
        set(),
    ),
    "shivya.spirit_pack": (
        {"shivya.arguments", "shivya.commands", "shivya.errors"}
        | {"shivya_daemon.spirits.package", "shivya_daemon.views.words"},
        set(),
    ),
    "shivya.init": ({"shivya.config", "shivya.errors", *EDGE}, set()),
    "shivya.doctor": (
        {"shivya.ask", "shivya.config", "shivya.errors", "shivya.tables"}
        | {"shivya.daemon_checks", "shivya.host_checks", "shivya.findings", *EDGE},
        set(),
    ),
    "shivya.daemon_checks": ({"shivya.drop_words", "shivya.findings", "shivya_daemon.views.words"}, set()),
    "shivya.host_checks": ({"shivya.findings"}, set()),
    "shivya.findings": (set(), set()),
    "shivya.drop_words": (set(), set()),
    "shivya.ask": ({"shivya.errors"}, set()),
    "shivya.errors": (set(), set()),
    "shivya.tables": ({"shivya_daemon.views.words"}, set()),
    "shivya.config": ({"shivya.toml_file", "shivya_daemon.settings"}, set()),
    "shivya.toml_file": (set(), set()),
    "shivya.counts": (set(), set()),
    "shivya.client": (
        {
            "shivya.counts",
            "shivya.daemon_link",
            "shivya.leasing",
            "shivya_daemon.placement",
            "shivya_daemon.busy_time",
            "shivya_daemon.in_service",
            "shivya_daemon.paths",
        },
        set(),
    ),
    "shivya.daemon_link": ({"shivya_daemon.placement"}, set()),
    "shivya.waiting": (set(), set()),
    "shivya.transfer": ({"shivya.job_channel", "shivya.job_frames", "shivya.client"}, set()),
    "shivya.job_channel": ({"shivya.job_frames"}, set()),
    "shivya.job_frames": (set(), set()),
    "shivya.settlement": ({"shivya_kernels"}, {"jax", "numpy"}),
    "shivya.reconcile": ({"shivya.errors", "shivya.settlement", "shivya.tables"}, set()),
    "shivya.experiments": ({"shivya.simulate_scenario", "shivya_kernels"}, set()),
    "shivya.compiled": ({"shivya.errors", "shivya_daemon.mind"}, {"rich"}),
    "shivya.tune": (
        {"shivya.compiled", "shivya.errors", "shivya.experiments", "shivya.simulate_scenario"}
        | {"shivya.tables", "shivya.tune_file", "shivya.tune_search", "shivya.tune_space", "shivya.version"}
        | {"shivya_daemon.views.words"},
        set(),
    ),
    "shivya.tune_file": ({"shivya.toml_file", "shivya_kernels"}, set()),
    "shivya.tune_search": (
        {"shivya.experiments", "shivya.tune_space", "shivya.tune_sweep", "shivya_kernels"},
        {"jax", "numpy"},
    ),
    "shivya.tune_space": ({"shivya_kernels"}, {"jax", "numpy"}),
    "shivya.tune_sweep": (set(), {"numpy"}),
    "shivya.whatif": (
        {"shivya.ask", "shivya.commands", "shivya.compiled", "shivya.errors"}
        | {"shivya.whatif_mesh", "shivya.whatif_text", "shivya.whatif_twins"},
        set(),
    ),
    "shivya.whatif_mesh": ({"shivya.errors"}, set()),
    "shivya.whatif_text": (
        {"shivya.tables", "shivya.whatif_mesh", "shivya.whatif_twins", "shivya_daemon.views.words"},
        set(),
    ),
    "shivya.whatif_twins": ({"shivya.whatif_mesh", "shivya_kernels"}, {"numpy"}),
    "shivya.simulate": (
        {
            "shivya.compiled",
            "shivya.errors",
            "shivya.experiments",
            "shivya.simulate_hosts",
            "shivya.simulate_plot",
            "shivya.simulate_scenario",
        }
        | {"shivya.tables", "shivya_daemon.views.words", "shivya_kernels"},
        set(),
    ),
    "shivya.simulate_hosts": ({"shivya.errors", "shivya.experiments"}, {"jax", "numpy"}),
    "shivya.simulate_plot": ({"shivya.experiments"}, set()),
    "shivya.simulate_scenario": ({"shivya.toml_file", "shivya_kernels"}, set()),
    "shivya.proxy": ({"shivya.settlement", "shivya_kernels"}, set()),
    "shivya.demo": ({"shivya.demo", "shivya.client", "shivya.transfer", "shivya.waiting"}, {"rich"}),
    "shivya_kernels": ({"shivya_kernels"}, {"jax", "numpy", "jaxtyping"}),
    **DAEMON,
}

FORBIDDEN = {
    "shivya_daemon.core": {"time", "random", "socket", "asyncio", "secrets", "threading"},
    "shivya_daemon.ledgers.credits": {"asyncio", "os", "random", "secrets", "socket", "threading", "time"},
    "shivya_daemon.ledgers.credits.etcd_gateway": {"asyncio", "random", "secrets", "socket"},
    "shivya_daemon.ledgers.credits.log_witness": {"asyncio", "random", "secrets", "socket"},
    "shivya_daemon.ledgers.credits.sqlite_witness": {"asyncio", "random", "secrets", "socket", "time"},
    "shivya_kernels": {"time", "random", "socket", "os", "datetime"},
    "shivya_daemon.views": {"socket", "subprocess"},
    "shivya_daemon.views.front": {"subprocess"},  # the one place where views listen
}
