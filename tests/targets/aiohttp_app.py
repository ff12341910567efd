"""A small aiohttp service.

    python aiohttp_app.py [--port 0] [--uvloop]

aiohttp (and uvloop) have to be on PYTHONPATH. Routes and protocol: `service_log.py`;
READY has the port. `/locked?seconds=S` also holds one lock of the service meanwhile,
so that its callers queue up.
"""

import argparse
import asyncio

import service_log
import truth
from aiohttp import web

LOCK = "lock"


def wanted(request):
    """The `seconds` of a request."""
    return float(request.query.get("seconds", 0.3))


async def ok(request):
    """Answers at once."""
    service_log.count()
    return web.json_response({"ok": True})


async def slow_blocking(request):
    """Holds the loop."""
    service_log.count()
    service_log.block_request(wanted(request))
    return web.json_response({"blocked": wanted(request)})


async def slow_async(request):
    """Takes as long, but lets others work."""
    service_log.count()
    await asyncio.sleep(wanted(request))
    return web.json_response({"slept": wanted(request)})


async def locked(request):
    """One at a time."""
    service_log.count()
    async with request.app[LOCK]:
        await asyncio.sleep(wanted(request))
    return web.json_response({"slept": wanted(request)})


async def stalls(request):
    """The log of the stalls."""
    return web.json_response(service_log.take())


def make_app():
    """The application; call it inside the loop."""
    application = web.Application()
    application[LOCK] = asyncio.Lock()
    application.router.add_get("/ok", ok)
    application.router.add_get("/slow-blocking", slow_blocking)
    application.router.add_get("/slow-async", slow_async)
    application.router.add_get("/locked", locked)
    application.router.add_get("/stalls", stalls)
    return application


async def main(options):
    """Serve for ever."""
    runner = web.AppRunner(make_app(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", options.port)
    await site.start()
    service_log.announce(runner.addresses[0][1])
    await truth.forever()


def parse():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--uvloop", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    truth.run(lambda: main(arguments), arguments.uvloop)
