"""The sessions of a server: one for each reader, each with its own copy of the model."""

import secrets
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .session import Session

MAX_SESSIONS = 16
OVER = "this session is over: load the page again"


class Gone(LookupError):
    """There is no such session, or there is no more."""


class Readers:
    """Sessions by their id, a secret. The one idle longest is closed for a new one.

    make  makes a session: `make()`

    Safe to use from several threads.
    """

    def __init__(self, make: "Callable[[], Session]", most: int = MAX_SESSIONS) -> None:
        self.make, self.most = make, most
        self.sessions: dict[str, Session] = {}  # the one used last at the end
        self.lock = threading.Lock()
        self.closed = False

    def new(self) -> "tuple[str, Session]":
        """Make a session; returns its id and itself. Raises Gone after `close`."""
        session, name, idle = self.make(), secrets.token_urlsafe(16), []
        with self.lock:
            if self.closed:
                idle.append(session)
            else:
                self.sessions[name] = session
                while len(self.sessions) > self.most:
                    idle.append(self.sessions.pop(next(iter(self.sessions))))
        _end(idle)
        if self.closed:
            raise Gone("the server is closed")
        return name, session

    def get(self, name: str) -> "Session":
        """The session with this id; raises Gone without one."""
        with self.lock:
            if name not in self.sessions:
                raise Gone(OVER)
            session = self.sessions[name] = self.sessions.pop(name)
        return session

    def forget(self) -> None:
        """Close all sessions; readers get new ones."""
        with self.lock:
            sessions, self.sessions = list(self.sessions.values()), {}
        _end(sessions)

    def close(self) -> None:
        """Close all sessions, for good."""
        self.closed = True
        self.forget()


def _end(sessions: "list[Session]") -> None:
    """Close sessions; one that is at work ends later."""
    for each in sessions:
        threading.Thread(target=each.close, daemon=True).start()
