"""Two interpreters in one process, each with an asyncio loop of its own (3.12+).

    python subinterp.py

The second interpreter runs `subinterp_inside.py` in the thread `second-interpreter`.
Protocol and truth are those of `truth.py`; besides, the truth has
`"subinterpreters": [truth of the second interpreter]`, and the command
`substall SECONDS` stalls the second loop and prints `STALLED`. Where there are no
sub-interpreters the program prints `UNSUPPORTED subinterp` and ends with 2.
"""

import asyncio
import json
import os
import sys
import threading

import introspect
import truth

SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
import subinterp_inside
subinterp_inside.run({commands}, {answers})
"""


def interpreters_module():
    """The low-level module, whose name changed in 3.13; None before 3.12."""
    if sys.version_info < (3, 12):
        return None
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
    return interpreters


class SecondInterpreter:
    """A running interpreter and the two pipes to it."""

    def __init__(self, interpreters):
        commands, self.to_inside = os.pipe()
        self.from_inside, answers = os.pipe()
        self.answers = open(self.from_inside, encoding="utf-8")
        folder = os.path.dirname(os.path.abspath(__file__))
        script = SCRIPT.format(folder=folder, commands=commands, answers=answers)
        execute = getattr(interpreters, "exec", interpreters.run_string)
        self.thread = threading.Thread(
            target=lambda: self.report(execute(interpreters.create(), script)),
            name="second-interpreter",
            daemon=True,
        )
        self.thread.start()

    def report(self, failure):
        """The script ended, which it never does by itself."""
        truth.emit("FAILED %s" % failure)
        os._exit(3)

    def ask(self, command):
        """Send a line and return the line that answers it."""
        os.write(self.to_inside, command.encode() + b"\n")
        return self.answers.readline().strip()


def merged_truth(second):
    """The truth of both interpreters."""
    record = truth.take_truth(introspect.pending_tasks())
    record["subinterpreters"] = [json.loads(second.ask("truth"))]
    return record


def stall_second(second, seconds):
    """Stall the second loop; what the inside prints is printed as it is."""
    return truth.Line(second.ask("stall " + seconds))


async def main(interpreters):
    """Tasks of the main interpreter, then the second one."""
    truth.adopt_loop()
    truth.label("main", asyncio.current_task())
    for number in range(3):
        truth.spawn("sleep", asyncio.sleep(3600 + number), "outside-%d" % number)
    second = SecondInterpreter(interpreters)
    ready = second.answers.readline().split(" ", 1)
    assert ready[0] == "READY", ready
    commands = {
        "truth": lambda: merged_truth(second),
        "substall": lambda seconds: stall_second(second, seconds),
    }
    truth.serve({"subinterpreters": [json.loads(ready[1])]}, commands)
    await truth.forever()


if __name__ == "__main__":
    module = interpreters_module()
    if module is None:
        truth.emit("UNSUPPORTED subinterp")
        sys.exit(2)
    truth.run(lambda: main(module))
