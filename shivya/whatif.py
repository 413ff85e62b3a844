"""``shivya whatif``: twins of the live mesh rolled forward, as it is and with a change.

What only this command needs is imported when it runs, as every other command imports this module.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from shivya.ask import ask
from shivya.commands import socket_of
from shivya.compiled import Apart, Interrupted, keep_what_is_compiled, leave
from shivya.errors import CommandError, ExitCode

if TYPE_CHECKING:
    from shivya.whatif_twins import Question


def whatif(options: Namespace) -> int:
    """Roll twins of the live mesh forward, as it is and with nodes failed or with more load."""
    from shivya.whatif_text import document, text
    from shivya.whatif_twins import outlooks

    question = _question(options)
    keep_what_is_compiled()
    try:
        with Apart() as apart:
            ((now, then),) = apart.each(lambda: [outlooks(question)])
    except Interrupted:
        sys.stderr.write("shivya whatif: interrupted\n")
        leave(ExitCode.INTERRUPTED)
    if options.json:
        sys.stdout.write(json.dumps(document(question, now, then), indent=2) + "\n")
    else:
        sys.stdout.write(text(question, now, then))
    return ExitCode.OK


def _question(options: Namespace) -> Question:
    """Ask the daemon, and check all that can be wrong."""
    from shivya import whatif_mesh
    from shivya.whatif_twins import JOBS_LIMIT, LONGEST, Question

    if options.seconds > LONGEST:
        raise CommandError(ExitCode.USAGE, f"--seconds may be at most {LONGEST:g}, not {options.seconds:g}")
    answer = ask(socket_of(options), "KNOWN", service=options.service)
    if answer.get("draining"):
        raise CommandError(ExitCode.REFUSED, "that node drains and leaves the mesh; ask another one")
    mesh = whatif_mesh.read(answer)
    failed = whatif_mesh.find(mesh, options.fail)
    whatif_mesh.check_reports(mesh)
    question = Question(mesh, failed, options.load, options.twins, options.seconds, options.seed)
    if question.jobs > JOBS_LIMIT:
        raise CommandError(
            ExitCode.USAGE,
            f"the twins would have about {question.jobs:.2g} jobs, the most is {JOBS_LIMIT:.2g}; "
            "ask for fewer --twins or --seconds",
        )
    return question
