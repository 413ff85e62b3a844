"""A witness as a process: `bank_server.py DATABASE SOCKET`; a line of JSON per request and per answer."""

from __future__ import annotations

import json
import socketserver
import sys
from pathlib import Path

from bank import Glance

from shivya_daemon.ledgers.credits import Posted
from shivya_daemon.ledgers.credits.operations import unpack
from shivya_daemon.ledgers.credits.sqlite_witness import open_witness


def main(database: str, address: str) -> None:
    witness = open_witness(Path(database))

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                request = json.loads(line)
                if request is None:
                    seen = Glance.of(witness.read())
                    balances = {key.hex(): balance for key, balance in seen.balances.items()}
                    answer = json.dumps([seen.sequence, balances, seen.pool])
                else:
                    outcome = witness.submit(unpack(request))
                    posted = isinstance(outcome, Posted)
                    answer = json.dumps([outcome.sequence, outcome.fee] if posted else outcome.reason.code)
                self.wfile.write(answer.encode() + b"\n")

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    Path(address).unlink(missing_ok=True)
    with Server(address, Session) as server:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
