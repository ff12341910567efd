"""A program that replaces itself again and again, or ends.

    python restless.py exec SECONDS    after so long, executes itself anew, for ever
    python restless.py exit SECONDS    after so long, ends

It has a loop with a few tasks that come and go. READY is printed once, by the first
of its lives.
"""

import asyncio
import os
import sys
import time

FIRST = "RESTLESS_LIVES"


async def flicker():
    """Waits for ever in short sleeps."""
    while True:
        await asyncio.gather(asyncio.sleep(0.001), asyncio.sleep(0.002))


async def main(mode, seconds):
    """Rests for so long and then goes."""
    tasks = [asyncio.ensure_future(flicker()) for _ in range(20)]
    await asyncio.sleep(0.02)
    if FIRST not in os.environ:
        print("READY {}", flush=True)
    os.environ[FIRST] = "1"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(0)
    if mode == "exec":
        os.execv(sys.executable, [sys.executable, *sys.argv])
    os._exit(len(tasks) - len(tasks))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
