"""The commands of the pages that no test runs, each with the reason."""

from __future__ import annotations

_ALL = "this is what runs the tests, the examples and the benchmarks; it cannot run inside of them"
_OTHER_TESTS = "runs other tests, which run by themselves"
_BENCHMARK = "a benchmark: minutes to hours on a machine that does nothing else"
_SEARCH = "a quarter of an hour of search; another `shivya tune` is run"
_REGISTRY = "installs from a package registry"
_ROOT = "needs root, and changes the machine; tests/face/test_deploy.py checks the files that it installs"
_CONTAINER = "needs a container engine; tests/face/test_deploy.py checks the file that it builds"
_CLUSTER = "needs a cluster; tests/face/test_deploy.py checks the manifests"

UNRUN = {
    "make test": _ALL,
    "SHIVYA_REQUIRE=all make test": _ALL,
    "make demo": "makes the environment first; the `shivya demo` that it runs then is run",
    "make bench": _BENCHMARK,
    "export XLA_FLAGS=--xla_cpu_multi_thread_eigen=false": _SEARCH,
    "shivya tune benchmarks/scenarios/quick.toml -o quick-1.toml --minutes 15 --seed 1": _SEARCH,
    "shivya tune benchmarks/scenarios/guessed.toml -o guessed-1.toml --minutes 15 --seed 1": _SEARCH,
    "make soak": _OTHER_TESTS,
    ".venv/bin/pytest tests/kernels -k hodge": _OTHER_TESTS,
    ". .venv/bin/activate": "activates the environment that the tests run in",
    "pip install --target DIR kademlia==2.2.3": _REGISTRY,
    "pip install 'shivya[credits]'": _REGISTRY,
    "python3 -m venv /opt/shivya && /opt/shivya/bin/pip install .": _REGISTRY,
    "cp deploy/systemd/shivya.sysusers /usr/lib/sysusers.d/shivya.conf && systemd-sysusers": _ROOT,
    "chown -R shivya: /etc/shivya": _ROOT,
    "cp deploy/systemd/shivya.service /etc/systemd/system/ && systemctl daemon-reload": _ROOT,
    "systemctl enable --now shivya && systemctl status shivya": _ROOT,
    "systemctl stop": _ROOT,
    "sudo -u shivya /opt/shivya/bin/shivya top --socket /run/shivya/8085.sock": _ROOT,
    "systemd-analyze security --offline=true deploy/systemd/shivya.service": (
        "run by tests/face/test_deploy.py, where systemd is"
    ),
    "docker build -f deploy/container/Containerfile -t shivya:0.5.0 .": _CONTAINER,
    "docker run --network host -v shivya:/var/lib/shivya -v shivya-cache:/var/cache/shivya"
    " shivya:0.5.0": _CONTAINER,
    "shivya init --dir mesh && kubectl create secret generic shivya-mesh-key"
    " --from-file=mesh.key=mesh/mesh.key": _CLUSTER + "; `shivya init --dir` is run",
    "kubectl apply -k deploy/k8s": _CLUSTER,
    "ssh -L 9002:127.0.0.1:9002 NODE": "needs another machine",
    "etcdctl snapshot": "needs the etcd of an operator",
    "python -m shivya.demo.tether PARENT COMMAND...": "`shivya demo` starts it",
    "python -m shivya.demo.worker": "`shivya demo` starts it",
}
BENCHMARK = r"python (benchmarks/bench_\w+\.py)((?: --\w+ [\w,]+)*)"
"""All of these, too, with options or without: minutes to hours on a machine that does nothing else."""
