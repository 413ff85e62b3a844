"""Commands of the pages in the order in which they are typed, each with a sign that it did its work.

A sign is a regular expression that is looked for in what the command wrote. What a named group of it matches
stands for %name% in `altered.ALTERED`. `SCRIPTS` has all of them; `unrun` has the commands that are in none.
"""

from __future__ import annotations

from collections.abc import Mapping

_NODE = r"node {} \([0-9a-f]{{8}}\) on UDP 127.0.0.1:\d+, control socket "

QUICKSTART = {
    "shivya daemon --port 8085 --name a --service-rate 10": _NODE.format("a"),
    "shivya daemon --port 8086 --name b --service-rate 20 --peer 127.0.0.1:8085": _NODE.format("b"),
    "shivya daemon --port 8087 --name c --service-rate 40 --peer 127.0.0.1:8085": _NODE.format("c"),
}
README = {
    "shivya daemon --port 8085 &": _NODE.format(r"\S+"),
    "shivya daemon --port 8086 --peer 127.0.0.1:8085 &": _NODE.format(r"\S+"),
}
PICTURE = {
    "shivya daemon --port 8085 --name a --service-rate 10 --visualize --no-tui &": _NODE.format("a"),
    "shivya daemon --port 8086 --name b --service-rate 20 --peer 127.0.0.1:8085 --no-tui &": _NODE.format(
        "b"
    ),
    "shivya daemon --port 8087 --name c --service-rate 40 --peer 127.0.0.1:8085 --no-tui &": _NODE.format(
        "c"
    ),
    "shivya visualize": r"^http://127\.0\.0\.1:\d+/\?token=\S{22}$",
}
HOT = {
    "shivya report --port 8085 --queue 200 --rate 10": "reported queue 200 for service default",
    "shivya report --port 8086 --queue 20 --rate 20": "reported queue 20 for service default",
    "shivya report --port 8087 --queue 5 --rate 40": "reported queue 5 for service default",
    "shivya status --port 8085": r"(?s)^health      ok.*^default +200 +1 +10 .*^PEER +ID +ADDRESS +RTT",
}
DEATH = {
    "shivya doctor --port 8085": r"^ok +daemon +a answers",
    "kill -9 %3": "",
    "shivya peers --port 8085": r"^PEER +ID +ADDRESS +RTT +AGE +QUEUE +RATE/S +CONDUCTANCE\n(.*\n)?b ",
    "kill %1 %2": "",
    "shivya ledger show --port 8087 --last 5": r"^INDEX +TIME \(UTC\) +HASH +TYPE +DATA\n(.*\n)*.*_JOINED",
    "shivya ledger verify --port 8087": r"^entries +0 to \d+, all as they were written$",
}
DEMO = {
    "shivya demo --seconds 20 --kill": (
        r"(?s)p50 wait.*p99 wait.*mean wait.*moves per job.*jobs in .*jobs done .*"
        r"^jobs in = jobs done = \d+, each exactly once; p99 wait "
    )
}

MACHINES = {
    "shivya init": r"^made +\S+/\.config/shivya/mesh\.key\nmade +\S+/\.config/shivya/config\.toml\n",
    "scp -p ~/.config/shivya/mesh.key NODE:.config/shivya/": "",
    "shivya init --dir NEW": r"^made +\S+/NEW/mesh\.key\nmade +\S+/NEW/shivya\.toml\n",
    "shivya init --dir /etc/shivya": r"^made +\S+/etc/shivya/mesh\.key\nmade +\S+/etc/shivya/shivya\.toml\n",
}
FAR = {
    "shivya daemon --bind 0.0.0.0 --peer FIRST-NODE:8085": r"node \S+ \([0-9a-f]{8}\) on UDP ",
}
DAEMONS = {
    "shivya daemon --open-wire --port 8085 --peer 127.0.0.1:8086": _NODE.format(r"\S+"),
    "shivya daemon --no-law": _NODE.format(r"\S+"),
    "shivya start": _NODE.format(r"\S+"),
    "shivya daemon --params params.toml": _NODE.format(r"\S+"),
    "shivya daemon --visualize": r"live page at http://127\.0\.0\.1:\d+/\?token=",
    "shivya daemon --metrics 9100 --metrics-bind 0.0.0.0": r"metrics at http://0\.0\.0\.0:\d+",
}
"""One after the other."""
ON_A_SCREEN = {"shivya daemon": "\x1b[24;1H"}
"""On a terminal of its own, with what is to be written there."""
METRICS = {
    "shivya daemon --metrics": r"metrics at http://127\.0\.0\.1:(?P<metrics>\d+)",
    "curl -s 127.0.0.1:8000/metrics": r"(?m)^# HELP shivya_(.*\n)*# EOF",
}
BACKGROUND = {
    "shivya daemon --daemon --name edge-1": r"pid \d+, socket \S+/8085\.sock, log \S+/daemon\.log$",
}

EDGE = {
    "shivya daemon --name edge-1 --port 8085 --peer 127.0.0.1:8086 --service-rate 20": _NODE.format("edge-1"),
}
MESH = {
    "shivya status": r"(?s)^health      ok.*^law         running.*^PEER .*edge-[23] .*^HAND OVER TO +SERVICE",
    "shivya status --json | jq .collective_free_energy": r"^-?\d+\.\d+$",
    "shivya peers --port 8086": r"^PEER +ID +ADDRESS(.*\n)+edge-1 ",
    "shivya peers --json": r'"name": "edge-2"',
    "shivya links": r"^LINK +ID +STATE +BREAKER +RTT(.*\n)+edge-2 +[0-9a-f]{8} +established",
    "shivya settle --port 8085": (
        r"^FROM +TO +REPORTED +GRADIENT +CURL +HARMONIC +BALANCING +RECOMMENDED\nedge-"
    ),
    "shivya settle --json": r'"recommended": ',
    "shivya report --queue 37 --servers 4 --rate 20": "^reported queue 37 for service default$",
    "shivya offload edge-1 edge-2 12.5": r"^reported 12\.5 jobs/s from edge-1 to edge-2$",
    "shivya signal send directed backup now --target edge-2": r"^sent [0-9a-f]{32}$",
    "shivya signals --json": r'"signals": \[',
    "shivya doctor": r"^ok +daemon +edge-1 answers(.*\n)+ok +links? .*",
    "shivya doctor --port 8086": r"^ok +daemon +edge-2 answers",
}
SOCKET = {
    "S=/tmp/shivya-$(id -u)/8085.sock": "",
    "echo 'REPORT queue=37 servers=4' | nc -UN $S": r'^\{"ok":true\}$',
    "echo 'ROUTE' | socat - UNIX-CONNECT:$S": r'^\{"to":(null|\{)',
    "echo 'WATCH' | socat -t 3600 - UNIX-CONNECT:$S": r'^\{"table":\{"service":"default",',
}
GUARD = {
    "shivya guard show": r"^action +\w+\nthreat +0\.\d+\nanomalies ",
    "shivya guard show --json": r'"action": "\w+"',
    "shivya guard inject 45 --peer edge-2": r"^drill: 45 anomalies against [0-9a-f]{8}$",
    "shivya guard run --beats 10 --k-flows 4 --p-nodes 5 --t-threshold 0.02": r"^10 +NOOP +0\.0",
    "shivya guard run --beats 10 --k-flows 4 --p-nodes 5": r"^BEAT +ACTION +THREAT(.*\n)+10 +NOOP ",
    "shivya guard run --mesh": r"^BEAT +ACTION +THREAT(.*\n)+10 +\w+ +0\.",
    "shivya guard run --ledger DIR": r"^BEAT +ACTION +THREAT(.*\n)+10 ",
}
LEDGER = {
    "shivya ledger verify": (
        r"^entries +0 to \d+, all as they were written\n(.*\n)*signed +by node (?P<node>\S+),"
    ),
    "shivya ledger verify --json": r'"ok": true',
    "shivya ledger show --last 20 --action ALERT": r"^INDEX(.*\n)+(?P<entry>\d+) .*ALERT",
    "shivya ledger show --last 50 --action ALERT": r"^INDEX(.*\n)+\d+ .*ALERT",
    "shivya ledger prove 81234 -o proof.json": "",
    "shivya ledger verify --proof proof.json --node 56475aa75463474c0285df5dbf2bcab73da65135": (
        r"^entry +\d+ of a ledger of \d+\n(.*\n)*data .*ALERT(.*\n)+signed +by node"
    ),
    "shivya ledger verify /backup/edge-1/ledger": r"all as they were written$",
}
SPIRIT = {
    "shivya spirit list": r"^SPIRIT +VERSION +TIER +LICENCE +STATE +FROM +DIGEST\nphysarum ",
    "shivya spirit summon physarum --speed 2": "^physarum: speed 2, ",
    "shivya spirit dismiss": "^no spirit is summoned",
    "shivya spirit summon physarum": r"^physarum: speed 1, exploration 0\.3, decay 0\.1$",
    "shivya spirit set speed 2": "^physarum: speed 2, ",
    "shivya spirit set exploration 0.5": r"^physarum: speed 2, exploration 0\.5, ",
    "shivya spirit set decay 0.2": r"^physarum: speed 2, exploration 0\.5, decay 0\.2$",
}
ALIVE = {
    "shivya spirit show": r"^physarum: speed 2, [\s\S]*^nodes +1$",
    "shivya spirit show --json": r'"lives_here": true',
}
TOP = {"shivya top": "\x1b[24;1H", "shivya top --port 8086": "\x1b[24;1H"}
"""On a terminal of its own."""
LOOKING = {
    "shivya top --once": r"^shivya \S+ +[0-9a-f]{8} +\w+ +up .*\n(.*\n)*CELL +QUEUE",
}
PERCENT = {
    "P=$(pgrep -f 'shivya top' | head -1); A=$(awk '{print $14+$15}' /proc/$P/stat); sleep 30": "",
    """awk -v a=$A '{print ($14+$15-a)/30 " % of a core"}' /proc/$P/stat""": r"^\d+(\.\d+)? % of a core$",
}
WHATIF = {
    "shivya whatif": r"^3 nodes, service default: [\d.]+ jobs/s come, .* can be served; 4 twins, 5 s on$",
    "shivya whatif --fail edge-3": (
        r"; then: edge-\d fails\n\nNODE +QUEUE +SERVERS +RATE/S +ARRIVALS/S +THEN\nedge-1 [\s\S]*"
        r"\n +NOW +90 % +THEN +90 %\np50 in system +\S.*\np99 in system +\S"
    ),
    "shivya whatif --load 1.5 --service resize": r"^3 nodes, service resize: .*; then: load x 1\.5$",
    "shivya whatif --fail edge-3 --load 1.2": r"; then: (?=.*edge-3 fails)(?=.*load x 1\.2)",
    "shivya whatif --fail edge-3 --load 1.2 --json": r'"failed": \[',
    "shivya whatif --fail edge-3 --load 1.5 --port 8086": "; then: .*edge-3 fails",
}
DRAIN = {"shivya drain --wait 60": "^drained: the daemon has stopped$"}
REPLAY = {"shivya replay edge-1.record.gz": r"^\d+ ticks, \d+ of them judged: all the same, bit for bit$"}

BORROWING = {
    r"printf '[quota]\nmillicores = 1000\n' > small.toml; "
    r"printf '[quota]\nmillicores = 8000\n' > large.toml": "",
    "shivya daemon --config small.toml --port 8085 --name small --no-tui &": _NODE.format("small"),
    "shivya daemon --config large.toml --port 8086 --name large --peer 127.0.0.1:8085 --no-tui &": (
        _NODE.format("large")
    ),
    "sleep 10": "",
}
LEASES = {
    "shivya allocate millicores 500 --seconds 600": r"^[0-9a-f]{32}  500 millicores at small for ",
    "shivya allocate millicores 2000 --seconds 600": (
        r"^(?P<lease>[0-9a-f]{4})[0-9a-f]{28}  2000 millicores at large for 10m00s, price 0\.2$"
    ),
    "shivya leases": r"(?s)^QUOTA +CAPACITY +TAKEN.*^HELD +STATE .* held +large +2000 .*^LENT +TO ",
    "shivya leases --json": r'"granted": \[',
    "shivya lease renew 3f9a --seconds 600": "  2000 millicores at large for 10m00s",
    "shivya lease release 3f9a": "^released [0-9a-f]{32}$",
}
CREDITS = {
    "shivya credits init --supply 1000000 --witness me": "^ledger [0-9a-f]{16} begins with 1000000 credits$",
    "shivya credits open 3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29": "^done: ",
    "shivya credits transfer 3b6a27bc 12.5 --memo June": r"^done: [0-9a-f]{32}, fee 0\.0125$",
    "shivya credits balance --all": r"^ACCOUNT +BALANCE +AVAILABLE(.*\n)+in the pool 0\.0135 of 1000000$",
    "shivya credits stake 100": "^done: ",
    "shivya credits history --last 50": r"^NUMBER +TIME +BY +WHAT +TO +AMOUNT +NOTE\n(.*\n)*.* 12\.5 +June$",
    'shivya quorum propose "a new rack" --grant 3b6a27bc=.01': "^done: ",
    "shivya quorum show": r"^PROPOSAL +DECISION +VOTES +UNTIL +GRANT +TEXT\n(?P<proposal>\w{8}) +pending ",
    "shivya quorum vote 9f86d081 yes": "^done: ",
    "shivya quorum show --json": '"decision": "approved"',
    "shivya quorum propose 'new rack' --grant 3b6a27bc=100": "^done: ",
    "shivya credits audit": r"^sound: \d+ entries, \d+ operations, 1000000 credits$",
    "shivya credits audit --json": '"ok": true',
}
CREDITS_COPIED = {
    """sqlite3 credits.db ".backup '/backup/credits.db'\"""": "",
}
CREDITS_RESTORED = {
    "shivya credits audit --ledger /backup/credits.db": "^sound: ",
}
CREDITS_ANEW = {
    "shivya credits init --supply 1e6 --witness me": "^ledger [0-9a-f]{16} begins with 1000000 credits$"
}

SHELLS = {
    "shivya --version": r"^shivya \d+\.\d+\.\d+",
    'eval "$(shivya completion bash)"': "^$",
    "shivya completion zsh > ~/.zfunc/_shivya": "^$",
    "shivya completion fish > ~/.config/fish/completions/shivya.fish": "^$",
    "shivya man > deploy/man/shivya.1": "^$",
    "man -l deploy/man/shivya.1": r"^NAME\n +shivya +- load +sharing +for +fleets",
    "shivya man | man -l -": r"^NAME\n +shivya +- load +sharing +for +fleets",
    "shivya spirit pack lantern -o lantern.spirit": r"lantern[\s\S]*\b[0-9a-f]{12}",
}
FLEETS = {
    "shivya reconcile mesh.json": "RECOMMENDED",
    "shivya reconcile mesh.json --json": r'"status": "ok"',
    "shivya simulate": r"^LAW +MEAN +P50 +P99 +P99\.9 +P99/SED +95 % +MOVES/JOB +LOST\n(\w+ .*\n){4}",
    "shivya simulate scenario.toml --laws sed,shivya --seeds 12": r"^LAW .*\nsed .*\nshivya ",
    "shivya simulate --load .5,.7,.85,.95 --plot p99.svg --csv rows.csv": r"(?s)0\.5.*0\.7.*0\.85.*0\.95",
    "shivya simulate --laws none,sed,shivya,oracle --seeds 12": r"^none .*\nsed .*\nshivya .*\noracle ",
    "shivya simulate --nodes 64 --load .5,.85 --laws sed,shivya,oracle --seeds 3 --plot p99.svg": r"^oracle ",
}
TOGETHER = {
    "shivya simulate --seeds 64 --coordinator 10.0.0.5:7000 --hosts 2 --host 1": "^$",
    "shivya simulate --seeds 64 --coordinator 10.0.0.5:7000 --hosts 2 --host 0 --csv rows.csv": ("^none "),
}
TUNE = {
    "shivya tune scenario.toml -o params.toml": (
        r"(TEST FLEETS +DEFAULT +TUNED +RATIO +95 %|none of \d+ candidates)"
    ),
    "shivya tune scenario.toml -o params.toml --minutes 5 --seed 1": r"(TEST FLEETS|none of \d+ candidates)",
    "shivya tune scenario.toml -o params.toml --only gap,slope_share": r"^gap .*\nslope_share ",
}

SCRIPTS: Mapping[str, Mapping[str, str]] = {
    name: value for name, value in list(globals().items()) if name.isupper() and isinstance(value, dict)
}
