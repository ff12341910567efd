"""A small asyncio service with five mistakes, for `asyncspy demo`.

1. `GET /report` sleeps synchronously inside the handler: the loop stands still.
2. `thumbnails` computes in the loop's thread.
3. Orders queue up for one lock, which is held across a slow call: a convoy.
4. Exports wait for an executor that has a single worker.
5. Every notification starts a task that waits for ever: a leak.

    python demo.py               until Ctrl-C
    python demo.py --until-eof   until the standard input is closed

Needs CPython 3.8 or later, nothing else. Prints `READY pid` when all of this has begun,
just before a handler blocks the loop.
"""

import asyncio
import concurrent.futures
import os
import sys
import threading
import time

MAX_LEAKED = 300


class Shop:
    """The service."""

    def __init__(self):
        self.reports = 0
        self.stock_lock = asyncio.Lock()
        self.pool = concurrent.futures.ThreadPoolExecutor(1, "exporter")
        self.handlers = set()

    async def handle_report(self):
        """Mistake 1: what it calls blocks."""
        self.reports += 1
        rows = self.query_database("SELECT * FROM sales")
        await asyncio.sleep(0)
        return rows

    def query_database(self, statement):
        """Waits for the answer like any synchronous database driver."""
        if self.reports == 2:
            print("READY", os.getpid(), flush=True)
        time.sleep(0.6)
        return statement

    async def make_thumbnails(self):
        """Mistake 2: work for a process pool."""
        while True:
            await asyncio.sleep(1.7)
            self.scale_image(0.25)

    def scale_image(self, seconds):
        """Burns processor time."""
        pixel, end = 1, time.monotonic() + seconds
        while time.monotonic() < end:
            pixel = (pixel * 1103515245 + 12345) % 2147483648
        return pixel

    async def place_orders(self):
        """Mistake 3: the lock is held while the payment is under way."""
        while True:
            async with self.stock_lock:
                await self.charge_card()
            await asyncio.sleep(0.05)

    async def charge_card(self):
        """A slow call over the network."""
        await asyncio.sleep(0.9)

    async def export_invoices(self):
        """Mistake 4: four exporters, one thread."""
        loop = asyncio.get_running_loop()
        while True:
            await loop.run_in_executor(self.pool, self.write_pdf)

    def write_pdf(self):
        """Slow, but in a thread of its own."""
        time.sleep(0.8)

    async def notify(self):
        """Mistake 5: nobody ever tells these tasks to end."""
        while True:
            await asyncio.sleep(0.25)
            leaked = sum(name.startswith("subscriber-") for name in self.names())
            if leaked < MAX_LEAKED:
                self.start("subscriber-%d" % (leaked + 1), self.push_updates())

    async def push_updates(self):
        """Waits for an event that has no sender."""
        await asyncio.Event().wait()

    async def accept(self):
        """A report is asked for every 1.3 seconds."""
        while True:
            await asyncio.sleep(0.7)
            self.start("GET /report", self.handle_report())

    def names(self):
        """The names of the tasks that were started and have not ended."""
        return [task.get_name() for task in self.handlers]

    def start(self, name, coroutine):
        """Start a task, and keep it alive until it has ended."""
        task = asyncio.create_task(coroutine, name=name)
        self.handlers.add(task)
        task.add_done_callback(self.handlers.discard)
        return task


async def main():
    """Start everything."""
    shop = Shop()
    asyncio.current_task().set_name("main")
    background = [
        shop.start("accept", shop.accept()),
        shop.start("thumbnails", shop.make_thumbnails()),
        shop.start("notifications", shop.notify()),
    ]
    for number in range(1, 5):
        background.append(shop.start("order-%d" % number, shop.place_orders()))
        background.append(shop.start("export-%d" % number, shop.export_invoices()))
    await asyncio.gather(*background)


def end_with_input():
    """End when whoever started this is gone, whatever the loop does."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    if "--until-eof" in sys.argv:
        threading.Thread(target=end_with_input, name="parent-watch", daemon=True).start()
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        os._exit(130)
