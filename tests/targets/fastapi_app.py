"""A small FastAPI service under uvicorn.

    python fastapi_app.py [--port 0] [--uvloop] [--access-log]
    uvicorn fastapi_app:app, gunicorn -k uvicorn.workers.UvicornWorker fastapi_app:app

fastapi, uvicorn (and uvloop) have to be on PYTHONPATH. Routes and protocol:
`service_log.py`; READY has the port. Run by uvicorn or gunicorn themselves it
prints nothing of its own.
"""

import argparse
import asyncio
import os
import socket
import time

import fastapi
import service_log
import truth

app = fastapi.FastAPI()


@app.get("/ok")
async def ok():
    """Answers at once."""
    service_log.count()
    return {"ok": True, "pid": os.getpid()}


@app.get("/slow-blocking")
async def slow_blocking(seconds: float = 0.3):
    """Holds the loop."""
    service_log.count()
    service_log.block_request(seconds)
    return {"blocked": seconds}


@app.get("/slow-async")
async def slow_async(seconds: float = 0.3):
    """Takes as long, but lets others work."""
    service_log.count()
    await asyncio.sleep(seconds)
    return {"slept": seconds}


@app.get("/slow-thread")
def slow_thread(seconds: float = 0.3):
    """A plain function, which FastAPI runs in its thread pool."""
    service_log.count()
    time.sleep(seconds)
    return {"slept": seconds}


@app.get("/stalls")
async def stalls():
    """The log of the stalls of this worker."""
    return service_log.take()


async def main(options):
    """Serve on a socket of our own, so that the port is known."""
    import uvicorn

    # With its protocol named, asyncio sends each part of an answer at once.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", options.port))
    config = uvicorn.Config(app, log_level="warning", access_log=options.access_log)
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    service_log.announce(listener.getsockname()[1])
    await serving


def parse():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--access-log", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    truth.run(lambda: main(arguments), arguments.uvloop)
