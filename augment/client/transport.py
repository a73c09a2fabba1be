"""Requests to the service: addresses, single attempts, retries within a deadline, and the client's errors.

ClientError
├── RefusedError           the service's answer is a problem document; carries it
├── UnreachableError       no server answered within the deadline
├── TooManyFailuresError   more rows replace refused records than max_failures allows
└── JobError               a job failed or was cancelled
"""

import base64
import contextlib
import copy
import http.client
import json
import logging
import random
import select
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self

from augment import validation
from augment.client.version_warning import VERSION_HEADER, VersionWarning, warn_of_other_client
from augment.errors import CallError


class ClientError(Exception):
    """Base class of the client's errors."""


class UnreachableError(ClientError):
    """No server answered within the deadline; the cause is the last failure."""


class TooManyFailuresError(ClientError):
    """More rows of this run replace refused records than ``max_failures`` allows."""


class JobError(ClientError):
    """A job failed or was cancelled; ``document`` is its last state."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = dict(document)
        error = document.get("error") or {}
        super().__init__(
            f"job {document.get('id')} is {document.get('state')}: {error.get('detail', 'no reason given')}"
        )


class RefusedError(ClientError):
    """A problem document (RFC 9457): ``status``, ``title``, ``detail`` and each place that is wrong in ``errors``."""

    def __init__(self, status: int, document: Mapping[str, Any], retry_after_s: float | None = None) -> None:
        self.status = status
        self.document = dict(document)
        self.title = str(document.get("title", ""))
        self.detail = str(document.get("detail", ""))
        self.errors: list[Any] = list(document.get("errors") or ())
        self.retry_after_s = retry_after_s
        super().__init__(f"{status} {self.title}: {self.detail}")

    @classmethod
    def read(cls, status: int, body: bytes, retry_after: str | None) -> "RefusedError":
        """Read an answer. A body that is not a problem document (such as a proxy's page) becomes the detail."""
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            document = {"title": "No problem document", "detail": body[:200].decode("utf-8", "replace")}
        try:
            seconds = None if retry_after is None else float(retry_after)
        except ValueError:  # a date, which this service never sends
            seconds = None
        return cls(status, document, seconds)


TRANSIENT = (OSError, http.client.HTTPException)
"""Errors of a server that dies, restarts or has not started yet."""

_LOG = logging.getLogger("augment.client")
_TRY_AGAIN = frozenset({429, 502, 503, 504})
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.1, 5.0
_CONNECT_S = 5.0
_FIRST_ANSWER_S = 5.0
"""Deadline of the first answer: until then a wrong URL is more likely than a restart."""
_PROBLEM_BYTES_MAX = 1 << 20
_BULK_BYTES = 1 << 18
"""Bytes that a large read waits for: waking up for each packet costs an eighth of sending and receiving."""
_BULK_WAIT_MS = 20
"""Longest such wait: a link that needs longer for these bytes (100 Mbit/s) causes few wake-ups anyway."""
_CAN_WAIT_FOR_MUCH = hasattr(select, "poll") and hasattr(socket, "SO_RCVLOWAT")
"""False on Windows, where each read takes what has arrived."""


@contextlib.contextmanager
def arguments_checked() -> Iterator[None]:
    """Raise ClientError for a CallError of the block: an argument of the caller's is wrong."""
    try:
        yield
    except CallError as error:
        raise ClientError(str(error)) from error


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """URL and key of a service. ``address`` is an IP address of ``host``, or None if ``host`` has only one."""

    scheme: str
    host: str
    port: int | None
    path: str
    key: str | None = field(repr=False)
    address: str | None = None

    @classmethod
    def parse(cls, url: str, key: str | None) -> Self:
        """Read ``http[s]://[:key@]host[:port][/path]``. A key in the URL overrides ``key``. Raises ClientError."""
        try:
            parts = urllib.parse.urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ClientError(f"{url!r} is not a URL ({error}); write http://host:port") from error
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ClientError(f"{url!r} is not the URL of a service; write http://host:port")
        own = urllib.parse.unquote(parts.password) if parts.password else key
        return cls(parts.scheme, parts.hostname, port, parts.path.rstrip("/"), own)

    def __str__(self) -> str:
        """Return the URL, and the IP address if the host has several."""
        return self.url + (f" at {self.address}" if self.address else "")

    def resolve(self) -> "list[ServiceAddress]":
        """Return one server for each IP address of the host, or itself if the host has only one.

        The IPv4 and IPv6 addresses of localhost count as one server. Raises OSError if the host is unknown.
        """
        port = self.port or (443 if self.scheme == "https" else 80)
        infos = socket.getaddrinfo(self.host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(each[4][0]) for each in infos))
        if len(addresses) == 1 or set(addresses) == {"127.0.0.1", "::1"}:
            return [self]
        return [replace(self, address=each) for each in addresses]

    @property
    def url(self) -> str:
        """URL without the key."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{'' if self.port is None else f':{self.port}'}{self.path}"

    def connect(self, timeout_s: float) -> http.client.HTTPConnection:
        """Open a new connection. Raises OSError."""
        kind = http.client.HTTPSConnection if self.scheme == "https" else http.client.HTTPConnection
        connection = kind(self.host, self.port, timeout=timeout_s)
        if self.address is not None:
            # Certificates and the Host header need the name; only the socket uses the address.
            address = self.address
            connection._create_connection = (  # type: ignore[attr-defined]  # noqa: SLF001 - http.client has no other way
                lambda to, *options: socket.create_connection((address, to[1]), *options)
            )
        connection.connect()
        return connection


class Answer:
    """Response that is read as it arrives. Raises ``TRANSIENT``.

    ``watch`` is called with ``abort`` before the request is sent. ``abort`` may be called from another thread and ends
    any wait.
    """

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: Any,
        headers: Any,
        watch: Callable[[Callable[[], None]], None] = lambda _: None,
    ) -> None:
        self._connection = connection
        self._socket: socket.socket = connection.sock
        self._poll = select.poll() if _CAN_WAIT_FOR_MUCH else None
        if self._poll is not None:
            self._poll.register(self._socket, select.POLLIN)
        watch(self.abort)
        try:
            connection.request(method, target, body, headers)
            self._response = connection.getresponse()
        except BaseException:
            connection.close()
            raise
        self.status = self._response.status
        self.headers = self._response.headers

    def read(self, size: int | None = None) -> bytes:
        """Return the next ``size`` bytes, or all."""
        return self._response.read(size)

    def fill(self, memory: memoryview) -> int:
        """Read until the memory is full or the answer ends, and return the number of bytes."""
        bulk = len(memory) - _BULK_BYTES  # until this offset, at least _BULK_BYTES more are to come
        num_bytes = 0
        if bulk > 0 and self._poll and type(self._socket) is socket.socket:  # TLS buffers and splits records itself
            num_bytes = self._read_into(memory[:bulk], partial(self._wait_for_much, self._poll))
        return num_bytes + self._read_into(memory[num_bytes:], lambda: None)

    def _read_into(self, memory: memoryview, wait: Callable[[], None]) -> int:
        num_bytes = 0
        while num_bytes < len(memory):
            wait()
            num_more = self._response.readinto(memory[num_bytes:])
            if not num_more:
                break
            num_bytes += num_more
        return num_bytes

    def _wait_for_much(self, poll: "select.poll") -> None:
        """Wait until ``_BULK_BYTES`` have arrived, but at most ``_BULK_WAIT_MS``."""
        self._wake_at(_BULK_BYTES)
        poll.poll(_BULK_WAIT_MS)
        self._wake_at(1)

    def _wake_at(self, num_bytes: int) -> None:
        """Set the number of bytes that must arrive before a waiting read wakes up. The end or a reset wakes it too."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, num_bytes)

    def abort(self) -> None:
        """Cut the connection."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()
        self._connection.close()


class Stop:
    """Stop signal of a thread: wakes it if it sleeps, and aborts its wait for the network."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._abort: Callable[[], None] | None = None

    def __bool__(self) -> bool:
        return self._event.is_set()

    def sleep(self, seconds: float) -> None:
        """Sleep, at most until ``set`` is called."""
        self._event.wait(seconds)

    def watch(self, abort: Callable[[], None] | None) -> None:
        """Set the function that ``set`` calls. It is called at once if ``set`` was called before."""
        with self._lock:
            self._abort = abort
            if self._event.is_set() and abort is not None:
                abort()

    def set(self) -> None:
        """End the thread's work."""
        with self._lock:
            self._event.set()
            if self._abort is not None:
                self._abort()


class Patience:
    """Limit on the time without progress, and the delay before the next attempt."""

    def __init__(self, deadline_s: float, sleep: Callable[[float], object] = time.sleep) -> None:
        self._deadline_s = deadline_s
        self._sleep = sleep
        self.renew()

    def renew(self) -> None:
        """Begin again after progress."""
        self._ends = time.monotonic() + self._deadline_s
        self._delay_s = _FIRST_DELAY_S

    def check(self, cause: BaseException, servers: str) -> None:
        """Raise UnreachableError if the deadline has passed."""
        if time.monotonic() >= self._ends:
            raise UnreachableError(
                f"no progress for {self._deadline_s:g} s (deadline_s); last from {servers}: "
                f"{type(cause).__name__}: {cause}. Is the URL right, and does the service run (`augment serve`)?"
            ) from cause

    def delay_s(self, cause: BaseException) -> float:
        """Return the seconds to wait before the next attempt: ``Retry-After``, else twice as long each time."""
        delay_s = getattr(cause, "retry_after_s", None) or self._delay_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        self._delay_s = min(2 * self._delay_s, _LONGEST_DELAY_S)
        return min(delay_s, max(0.0, self._ends - time.monotonic()))

    def wait(self, cause: BaseException, servers: str) -> None:
        """Wait before the next attempt. Raises UnreachableError if the deadline has passed."""
        self.check(cause, servers)
        seconds = self.delay_s(cause)
        _LOG.warning("%s: %s: %s; trying again in %.1f s", servers, type(cause).__name__, cause, seconds)
        self._sleep(seconds)


class Transport:
    """Sender of requests to the first server that answers. Thread-safe. Can be pickled.

    ``timeout_s`` bounds each wait for bytes, ``deadline_s`` the time without an answer. Until a server has answered
    once, the deadline is 5 s.
    """

    def __init__(self, urls: Sequence[str], key: str | None, *, timeout_s: float, deadline_s: float) -> None:
        if not urls:
            raise ClientError("no URL is given; give one or more")
        with arguments_checked():
            timeout_s = validation.seconds("timeout_s", timeout_s)
            deadline_s = validation.seconds("deadline_s", deadline_s)
        self.servers = tuple(dict.fromkeys(ServiceAddress.parse(url, key) for url in urls))
        self.timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._has_answered = False
        self._lock = threading.Lock()
        self._current = 0
        self._has_warned_of_version = False

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def impatient(self) -> Self:
        """Return a copy that gives up after 5 s without an answer, for a display."""
        impatient = copy.copy(self)
        impatient._has_answered = False  # noqa: SLF001 - a copy of itself
        return impatient

    @property
    def deadline_s(self) -> float:
        """Longest time without progress, in seconds."""
        return self._deadline_s if self._has_answered else min(self._deadline_s, _FIRST_ANSWER_S)

    @property
    def current(self) -> ServiceAddress:
        """Server that is asked next."""
        with self._lock:
            return self.servers[self._current]

    def prefer(self, server: ServiceAddress) -> None:
        """Let the next request go to this server."""
        with self._lock:
            self._current = self.servers.index(server)

    def leave(self, server: ServiceAddress) -> bool:
        """Switch to the next server. Return True if all have been asked and it is time to wait."""
        with self._lock:
            if self.servers[self._current] == server:
                self._current = (self._current + 1) % len(self.servers)
            return self._current == 0

    def open(
        self,
        server: ServiceAddress,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        watch: Callable[[Callable[[], None]], None] = lambda _: None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Make one attempt. Raises RefusedError for every status but success, ``TRANSIENT`` if no answer came."""
        parameters = {name: value for name, value in (query or {}).items() if value is not None}
        target = server.path + path + (f"?{urllib.parse.urlencode(parameters)}" if parameters else "")
        sent = {"Connection": "close", **(headers or {})}
        if server.key:
            # Basic takes any key (Bearer only ASCII tokens), and other clients also send a key in a URL as Basic.
            sent["Authorization"] = "Basic " + base64.b64encode(f":{server.key}".encode()).decode()
        timeout_s = timeout_s or min(self.timeout_s, self._deadline_s)
        connection = server.connect(min(timeout_s, _CONNECT_S))
        connection.sock.settimeout(timeout_s)
        answer = Answer(connection, method, target, body, sent, watch)
        self._has_answered = True
        self._compare_version(server, answer)
        if answer.status >= 300:
            with answer:
                raise RefusedError.read(
                    answer.status, answer.read(_PROBLEM_BYTES_MAX), answer.headers.get("Retry-After")
                )
        return answer

    def _compare_version(self, server: ServiceAddress, answer: Answer) -> None:
        if self._has_warned_of_version:
            return
        try:
            service_version = answer.headers.get(VERSION_HEADER)
            self._has_warned_of_version = warn_of_other_client(service_version, server.url)
        except VersionWarning:  # the caller turns warnings into errors; raise this one only once too
            self._has_warned_of_version = True
            with answer:
                raise

    def request(
        self, method: str, path: str, *, only: ServiceAddress | None = None, **sent: Any
    ) -> tuple[bytes, Mapping[str, str]]:
        """Return the body and the headers (names in lower case) from the first server that answers in time.

        A request may be sent twice, so it must be idempotent. ``only`` restricts it to one server. After a 5xx the next
        server is asked. Raises RefusedError if the last one answers 5xx too.
        """
        patience = Patience(self.deadline_s)
        while True:
            server = only or self.current
            try:
                with self.open(server, method, path, **sent) as answer:
                    return answer.read(), {name.lower(): value for name, value in answer.headers.items()}
            except (RefusedError, *TRANSIENT) as error:
                if not is_transient(error) and not is_fault(error):
                    raise
                all_tried = only is not None or self.leave(server)
                if not all_tried:
                    _LOG.warning("%s: %s: %s; asking %s", server, type(error).__name__, error, self.current)
                    continue
                if not is_transient(error):
                    raise
                patience.wait(error, str(server))

    def json(self, method: str, path: str, document: Any = None, **sent: Any) -> Any:
        """Send and receive JSON as ``request`` does. Raises ClientError if the answer is not JSON."""
        headers = {**sent.pop("headers", {}), "Accept": "application/json"}
        if document is not None:
            sent["body"] = json.dumps(document).encode()
            headers["Content-Type"] = "application/json"
        data, _ = self.request(method, path, headers=headers, **sent)
        try:
            return json.loads(data) if data else None
        except ValueError as error:
            raise ClientError(
                f"{self.current} answered {method} {path} with {data[:60]!r}, which is not JSON: this URL belongs to "
                "another service"
            ) from error


def is_transient(error: BaseException) -> bool:
    """True if the same request may succeed later at the same server."""
    return not isinstance(error, RefusedError) or error.status in _TRY_AGAIN


def is_fault(error: BaseException) -> bool:
    """True if the service failed, so that another server may succeed."""
    return isinstance(error, RefusedError) and error.status >= 500
