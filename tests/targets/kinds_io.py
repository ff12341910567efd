"""Scenarios of `kinds.py`: sockets, streams, executors and threads."""

import asyncio
import concurrent.futures
import functools
import socket
import threading

import truth

KEPT = []
NEVER = threading.Event()


def wait_in_thread():
    """The job of a worker thread: waits for ever."""
    NEVER.wait()


def pair():
    """Two connected, non-blocking sockets."""
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    KEPT.extend((left, right))
    return left, right


async def receive(connection):
    """Waits for bytes on a socket."""
    await asyncio.get_running_loop().sock_recv(connection, 100)


async def accept(listener):
    """Waits for a connection."""
    await asyncio.get_running_loop().sock_accept(listener)


async def send_all(connection):
    """Waits until the peer reads, which it never does."""
    await asyncio.get_running_loop().sock_sendall(connection, b"x" * (8 << 20))


async def read_stream(reader):
    """Waits for bytes of a stream."""
    await reader.read(100)


async def read_line(reader):
    """Waits for a line of a stream."""
    await reader.readline()


async def drain_stream(writer):
    """Writes more than the peer ever reads and waits for it."""
    writer.write(b"x" * (8 << 20))
    await writer.drain()


async def in_executor(executor):
    """Waits for a job of a thread pool; later jobs are queued."""
    await asyncio.get_running_loop().run_in_executor(executor, wait_in_thread)


async def in_thread():
    """Waits for `asyncio.to_thread`."""
    await asyncio.to_thread(wait_in_thread)


async def open_stream():
    """A stream and its writer over one end of a socket pair."""
    left, _ = pair()
    reader, writer = await asyncio.open_connection(sock=left)
    KEPT.append(writer)
    return reader, writer


def daemon_executor():
    """A thread pool of one worker; `os._exit` ends the program in spite of it."""
    executor = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="pool")
    KEPT.append(executor)
    return executor


async def start():
    """Create the tasks in the running loop."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    listener.setblocking(False)
    KEPT.append(listener)
    truth.spawn("sock_accept", accept(listener), "sock-accept")
    loop = asyncio.get_running_loop()
    truth.spawn("sock_recv", receive(pair()[0]), "sock-recv")
    truth.spawn("sock_recv", loop.sock_recv(pair()[0], 100), "sock-recv-direct")
    truth.spawn("sock_sendall", send_all(pair()[0]), "sock-sendall")
    reader, _ = await open_stream()
    truth.spawn("stream_read", read_stream(reader), "stream-read")
    reader, _ = await open_stream()
    truth.spawn("stream_read", read_line(reader), "stream-readline")
    _, writer = await open_stream()
    truth.spawn("stream_drain", drain_stream(writer), "stream-drain")
    executor = daemon_executor()
    truth.spawn("executor", in_executor(executor), "executor-running")
    truth.spawn("executor", in_executor(executor), "executor-queued")
    partial = functools.partial(wait_in_thread)
    future = asyncio.wrap_future(executor.submit(partial))
    truth.spawn("executor", asyncio.wait_for(future, None), "executor-wrapped")
    if hasattr(asyncio, "to_thread"):
        truth.spawn("to_thread", in_thread(), "to-thread")
