"""One file over HTTP into a part file: goes on where it was cut off, and says what the fault means."""

from __future__ import annotations

import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CHUNK = 1 << 16
TIMEOUT = 30.0  # seconds without a byte
LONGEST_WAIT = 60.0  # seconds that a server's Retry-After is obeyed at most
AGAIN = (408, 425, 429, 500, 502, 503, 504)  # statuses that pass by themselves


class Stopped(Exception):
    """Another thread gave up, or the user did."""


class Refused(Exception):
    """A file that could not be had, in one line. `final`: trying again will not help; `after`: wait so many seconds."""

    def __init__(self, line: str, final: bool = False, after: float | None = None):
        super().__init__(line)
        self.final, self.after = final, after


def receive(url: str, part: Path, size: int | None, stop: threading.Event) -> Iterator[int]:
    """Append what is missing to `part`; gives its length in bytes now and again, the last time when it is whole.

    `size` is the length that the file must have, None if unknown. Raises Refused for a fault of the network or the
    server, Stopped when `stop` is set, OSError for a fault of the disk.
    """
    had = part.stat().st_size if part.exists() else 0
    if size is not None and had >= size:
        if had > size:  # longer than it can be: somebody else's
            part.unlink()
            had = 0
        else:
            yield had
            return
    response = _open(url, had)
    with response:
        start = _start(response)
        if start != had:
            start = had = 0
        with part.open("ab", buffering=0) as file:  # what a killed process had must be on the disk
            file.truncate(had)  # a server that knows no ranges sends all of it again
            length = response.headers.get("Content-Length")
            whole = had + int(length) if length and length.isdigit() else None
            yield had
            while data := _read(response, url):
                if stop.is_set():  # before it is written: the part may be another session's by now
                    raise Stopped
                file.write(data)
                had += len(data)
                if size is not None and had > size:
                    break
                yield had
    if size is not None and had > size:
        part.unlink()
        raise Refused(f"{url} is longer than the {size} bytes that the list says", final=True)
    if had < (size or whole or 0):
        raise Refused(f"{url} broke off after {had} of {size or whole} bytes")
    yield had


def _open(url: str, had: int) -> Any:
    """The response to a GET for the bytes from `had` on."""
    headers = {"User-Agent": "peft-litmus", "Accept-Encoding": "identity"}
    if had:
        headers["Range"] = f"bytes={had}-"
    host = urlsplit(url).netloc
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and had:  # nothing after what we have: the checksum decides, or it starts anew
            return _open(url, 0)
        line = f"{url} answers {error.code} ({error.reason})"
        raise Refused(line, error.code not in AGAIN, _after(error.headers.get("Retry-After"))) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, FileNotFoundError | IsADirectoryError) or url.startswith("file:"):
            raise Refused(f"{url} is not there", final=True) from None
        raise Refused(
            f"cannot reach {host} ({_reason(error.reason)})", isinstance(error.reason, ssl.SSLError)
        ) from None
    except (HTTPException, OSError) as error:
        raise Refused(f"cannot reach {host} ({_reason(error)})") from None


def _read(response: HTTPResponse, url: str) -> bytes:
    try:
        return response.read1(CHUNK)  # what has come, without waiting for more
    except (HTTPException, OSError) as error:
        raise Refused(f"{url} broke off ({_reason(error)})") from None


def _start(response: Any) -> int:
    """The place in the file that the response starts at."""
    unit, _, rest = (response.headers.get("Content-Range") or "").partition(" ")
    first = rest.partition("-")[0]
    return int(first) if getattr(response, "status", None) == 206 and unit == "bytes" and first.isdigit() else 0


def _after(header: str | None) -> float | None:
    return min(float(header), LONGEST_WAIT) if header and header.isdigit() else None


def _reason(error: object) -> str:
    """A network fault in plain words."""
    if isinstance(error, socket.gaierror):
        return "its name is not known: no network?"
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT:.0f} s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).splitlines()[0] if str(error) else type(error).__name__
