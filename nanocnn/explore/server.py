"""The server of the page: Starlette and uvicorn in a thread, for this machine's browser only.

Why not `http.server`: it has no limits on bodies and slow clients, parses headers leniently, and
says itself that it is not for use; uvicorn and h11 have these, are short, and are well kept.

An address holds a secret token, so that no other user or page of this machine finds it. A request
is answered only if its Host is a name of this server (against DNS rebinding) and its Origin, if
there is one, is the server's. Bodies, the time they take, connections and rates are limited. Paths
are looked up in a table made at the start: none leads to the file system.
"""

import asyncio
import errno
import json
import logging
import socket
import threading
import webbrowser
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..common.errors import MissingExtraError
from ..common.validate import flag, integer
from . import actions, incoming, page_files
from .exploration import Exploration
from .packing import pack
from .readers import OVER, Gone, Readers

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
    from uvicorn.protocols.http.h11_impl import H11Protocol
except ImportError as error:
    missing = 'nanocnn.explore needs starlette and uvicorn: pip install "nanocnn[explore]"'
    raise MissingExtraError(missing) from error

if TYPE_CHECKING:
    from .session import Session

MAX_HEADERS = 16 * 1024  # bytes
MAX_CONNECTIONS = 256
MAX_WAITING = 32  # requests of a session
BODY_SECONDS = 15
IDLE_SECONDS = 30  # of a connection on which no request is made or no answer is read
ANSWER_SECONDS = 60
RATE, BURST = 300, 600  # requests a second, and at once

log = logging.getLogger("nanocnn.explore")


def serve(
    make_session: "Callable[[], Session]",
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    open: bool = True,
) -> Exploration:
    """Serve the page in a daemon thread; returns when it can be loaded.

    make_session  called for each reader, in a thread of its own
    host          the address to bind to; others than 127.0.0.1 let other machines in
    port          0 or None: any that is free
    open          also open a browser

    Raises ValueError for a wrong argument, also a host that is not this machine, and OSError for a
    port in use.
    """
    open = flag(open, "open")
    server = _Server(make_session, _bind(host, 0 if port is None else port), host)
    server.thread.start()  # the socket already listens: a browser that comes early waits
    if open:  # in a thread: some browsers run in the terminal, or take long to start
        threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
    return Exploration(server.url, server.close, server.readers.forget)


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket."""
    if integer(port, "port", 0) > 65535:
        raise ValueError(f"port={port}, expected an integer from 0 to 65535")
    if not isinstance(host, str) or not host.isprintable():
        raise ValueError(f"host={host!r:.80}, expected an address such as '127.0.0.1'")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except PermissionError as error:
        raise ValueError(f"port={port}: not allowed, expected 0 or 1024 to 65535") from error
    except (OSError, UnicodeError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            fix = "use another port, or 0 for one that is free"
            raise OSError(f"port {port} of {host} is in use: {fix}") from error
        raise ValueError(
            f"host={host!r:.80}, expected an address of this machine such as '127.0.0.1' ({error})"
        ) from error


class _Server:
    """A socket, the application, and the thread of their event loop."""

    def __init__(
        self, make_session: "Callable[[], Session]", listener: socket.socket, host: str
    ) -> None:
        self.listener, self.readers = listener, Readers(make_session)
        bound, port = listener.getsockname()[:2]
        token = incoming.new_token()
        shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound, bound)
        shown = f"[{shown}]" if ":" in shown else shown
        self.url = f"http://{shown}:{port}/{token}/"
        app = _application(self.readers, token, {host, bound})
        config = uvicorn.Config(
            app, http=_Protocol, ws="none", lifespan="off",
            log_config=None, log_level=logging.CRITICAL, access_log=False, server_header=False,
            proxy_headers=False, limit_concurrency=MAX_CONNECTIONS, timeout_graceful_shutdown=0,
            h11_max_incomplete_event_size=MAX_HEADERS, timeout_keep_alive=IDLE_SECONDS,
        )  # fmt: skip
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.run, name="nanocnn explore", daemon=True)

    def run(self) -> None:
        """Serve until `close`. In a thread, uvicorn leaves signals alone."""
        asyncio.run(self.serve())

    async def serve(self) -> None:
        """Serve, and at the end drop the connections of those who do not read their answers."""
        with self.listener:  # also if `close` comes before uvicorn has begun
            await self.server.serve(sockets=[self.listener])
        for connection in list(self.server.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    def close(self) -> None:
        """End all sessions and the thread, within a second."""
        self.server.should_exit = True
        self.readers.close()
        self.thread.join(5)


class _Protocol(H11Protocol):
    """Drops a connection on which nothing happens for long, as uvicorn does only after an answer.

    "Nothing" is no request that begins and ends with its headers, or an answer that is not read.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Else each answer waits for an acknowledgement between its headers and its body, 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.loop.call_later(IDLE_SECONDS, self._drop_if_idle, None)

    def _drop_if_idle(self, before: Any) -> None:
        """Drop it if no request was begun since the last look, `before`, and none is in work."""
        if self not in self.connections:
            return
        if self.cycle is before and (before is None or before.response_complete):
            self.transport.abort()
        else:
            self.loop.call_later(IDLE_SECONDS, self._drop_if_idle, self.cycle)


def _application(readers: Readers, token: str, names: set[str]) -> ASGIApp:
    files = page_files.read()
    api = _Api(readers)
    bucket = incoming.Bucket(RATE, BURST)

    def checked(request: Request) -> None:
        """Every address of the page begins with the token."""
        if not incoming.same_secret(request.path_params["token"], token):
            raise HTTPException(404, "not found: the address must have its token")
        if not bucket.take():
            raise HTTPException(429, "too many requests", {"retry-after": "1"})

    def send_file(request: Request, name: str) -> Response:
        checked(request)
        if name not in files:
            raise HTTPException(404, "not found")
        kind, data, gzipped = files[name]
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(data, media_type=kind)
        return Response(gzipped, media_type=kind, headers={"content-encoding": "gzip"})

    async def index(request: Request) -> Response:
        return send_file(request, page_files.INDEX)

    async def page(request: Request) -> Response:
        return send_file(request, request.path_params["name"])

    async def action(request: Request) -> Response:
        checked(request)
        return await api.answer(request, request.path_params["action"])

    routes = [
        Route("/{token}/", index),
        Route("/{token}/page/{name}", page),
        Route("/{token}/api/{action}", action, methods=["POST"]),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refusal})
    app.router.redirect_slashes = False
    headers = page_files.security_headers(files[page_files.INDEX].data)
    return _Guard(app, incoming.Names(names), headers)


async def _refusal(request: Request, error: Exception) -> Response:
    """The answer to a request that is refused: a text for the reader."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    return _error(error.status_code, error.detail, headers)


def _error(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    # ASCII: a text may quote what a page sent, even half of a surrogate pair.
    data = json.dumps({"error": f"{text:.1000}"})
    return Response(data, status, headers, "application/json")


class _Guard:
    """Refuses foreign Hosts and Origins, and adds the security headers to every answer."""

    def __init__(self, app: ASGIApp, names: incoming.Names, headers: dict[str, str]) -> None:
        self.app, self.names = app, names
        self.headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self.headers]
            await send(message)

        app = self.app if self._is_ours(scope) else _error(403, "wrong Host or Origin")
        await app(scope, receive, send_safely)

    def _is_ours(self, scope: Scope) -> bool:
        values: dict[bytes, list[str]] = {b"host": [], b"origin": []}
        for name, value in scope["headers"]:
            if name in values:
                values[name].append(value.decode("latin-1"))
        hosts, origins = values.values()
        return (
            len(hosts) == 1
            and self.names.allow(hosts[0])
            and all(incoming.same_origin(origin, hosts[0]) for origin in origins)
        )


class _Api:
    """Answers the actions of actions.py, each in the thread of its session."""

    def __init__(self, readers: Readers) -> None:
        self.readers, self.actions = readers, actions.ACTIONS
        self.waiting: dict[str, int] = {}  # requests of each session that are not answered

    async def answer(self, request: Request, action: str) -> Response:
        """Check the request, call the action, and pack what it returns."""
        if action not in self.actions:
            raise HTTPException(404, "not found: no such action")
        name = request.headers.get("x-session", "")
        try:
            if action != "session":  # before the body is read
                self.readers.get(name)
            body = await _read(request, action == "image")
            if action == "session":
                name, session = await asyncio.to_thread(self.readers.new)
                packed = await self._call(name, session, action, body, {"id": name})
            else:
                packed = await self._call(name, self.readers.get(name), action, body, {})
        except Gone as error:
            raise HTTPException(410, str(error)) from None
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        except TimeoutError:
            raise HTTPException(503, f"no answer within {ANSWER_SECONDS} seconds") from None
        except ClientDisconnect:
            return Response()
        except HTTPException:
            raise
        except Exception as error:
            log.exception("the action %s failed", action)
            text = f"{type(error).__name__}: {error}; this is a mistake in nanocnn"
            raise HTTPException(500, text) from None
        return Response(packed, media_type="application/octet-stream")

    async def _call(
        self, name: str, session: "Session", action: str, body: dict[str, Any],
        more: dict[str, Any],
    ) -> bytes:  # fmt: skip
        def run() -> bytes:
            result, arrays = self.actions[action](session, body)
            return pack({**result, **more}, arrays)

        if self.waiting.get(name, 0) >= MAX_WAITING:
            raise HTTPException(429, "too many requests at once", {"retry-after": "1"})
        try:
            future = session.submit(run)
        except RuntimeError as error:  # it was closed meanwhile
            raise Gone(OVER) from error
        self.waiting[name] = self.waiting.get(name, 0) + 1
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), ANSWER_SECONDS)
        except asyncio.CancelledError:
            if future.cancelled():  # by the session, at its end
                raise Gone(OVER) from None
            raise
        finally:
            self.waiting[name] -= 1
            if not self.waiting[name]:
                del self.waiting[name]


async def _read(request: Request, image: bool) -> dict[str, Any]:
    """The body: {"file": bytes} of an image, else the object in its JSON."""
    limit = incoming.MAX_IMAGE if image else incoming.MAX_JSON
    too_large = HTTPException(413, f"the request has more than {limit // 1024} KB")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                data += chunk
                if len(data) > limit:
                    raise too_large
    except TimeoutError:
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "the request came too slowly") from None
    return {"file": bytes(data)} if image else incoming.parse(bytes(data))
