"""A program that imports asyncio only when it is told to.

    python late_import.py

Before: READY says {"asyncio": false}; `truth` prints the same; `quit` and the end of
stdin end the program. The command `import` imports asyncio and starts a loop with
five tasks in the main thread, which prints READY a second time, now in the protocol
of `truth.py` and with {"asyncio": true}.
"""

import json
import os
import sys
import threading
import time


def emit(line):
    """Print one line and flush it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def facts():
    """What there is to say before asyncio is there."""
    return {
        "pid": os.getpid(),
        "python": list(sys.version_info[:3]),
        "asyncio": "asyncio" in sys.modules,
        "threads": [
            {"name": thread.name, "native_id": thread.native_id}
            for thread in threading.enumerate()
        ],
    }


def start_loop():
    """Import asyncio and run a few tasks."""
    import asyncio

    import truth

    async def main():
        truth.adopt_loop()
        truth.label("main", asyncio.current_task())
        for number in range(4):
            truth.spawn("sleep", asyncio.sleep(3600 + number), "late-%d" % number)
        truth.serve({"asyncio": True})
        await truth.forever()

    truth.run(main)


def main():
    """Obey until asyncio is wanted."""
    threading.Thread(target=time.sleep, args=(1e6,), name="other", daemon=True).start()
    emit("READY " + json.dumps(facts()))
    for line in iter(sys.stdin.readline, ""):
        command = line.strip()
        if command == "import":
            start_loop()
        elif command == "truth":
            emit(json.dumps(facts()))
        elif command == "quit":
            break
    os._exit(0)


if __name__ == "__main__":
    main()
