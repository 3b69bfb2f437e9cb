# Copyright 2026 The transformers-moss-tts team. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Downloads within bounds: http(s) alone, a largest size, a time limit for the whole, private addresses where they are allowed."""

import http.client
import ipaddress
import re
import socket
import ssl
import string
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from functools import partial


_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 10
_BLOCK = 1 << 18  # bytes
# Addresses that a NAT64 gateway translates to the IPv4 address in their last four bytes (RFC 6052).
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Characters that a URL may hold as they are (RFC 3986), and a percent sign that quotes nothing.
_UNQUOTED = "!$%&'()*+,/:;=?@~"
_BARE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")


def is_url(text: str) -> bool:
    """Whether a text begins like a URL of any scheme."""
    return _SCHEME.match(text) is not None


def download(url: str, *, max_bytes: int, timeout: float, allow_private_addresses: bool = True) -> bytes:
    """
    Downloads what a URL names. Spaces and letters outside ASCII are quoted.

    Args:
        url (`str`):
            URL with the scheme http or https.
        max_bytes (`int`):
            Largest size in bytes.
        timeout (`float`):
            Longest duration of the whole download, in seconds.
        allow_private_addresses (`bool`, *optional*, defaults to `True`):
            Whether the URL, and what it redirects to, may name an address that is not public: of this machine, of a local
            network, of the metadata service of a cloud. If not, the proxies of the environment are not used either, since a
            proxy resolves names itself.

    Raises:
        ValueError: if the URL has another scheme, is not valid, cannot be read, is too large, too slow, or names an address
            that is not allowed. The message names the URL.
    """
    try:
        return _Download(max_bytes, timeout, allow_private_addresses).read(url)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{_shortened(url)} could not be downloaded: {reason.rstrip('.')}.") from error


class _Download(urllib.request.AbstractHTTPHandler):
    """One download: opens the connections of its URLs and ends them when the time is over."""

    def __init__(self, max_bytes: int, timeout: float, allow_private_addresses: bool):
        super().__init__()
        self.max_bytes = max_bytes
        self.timeout = timeout
        self.allow_private_addresses = allow_private_addresses
        self.end = time.monotonic() + timeout
        self.sockets: list[socket.socket] = []
        self.opener = urllib.request.OpenerDirector()
        self.opener.add_handler(urllib.request.ProxyHandler(None if allow_private_addresses else {}))
        self.opener.add_handler(self)

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(self._connection, http.client.HTTPConnection), request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        connection = partial(self._connection, http.client.HTTPSConnection)
        return self.do_open(connection, request, context=ssl.create_default_context())

    def read(self, url: str) -> bytes:
        # A time limit of a socket starts anew with each byte: the whole is ended from outside.
        watchdog = threading.Timer(self.timeout, self._end)
        watchdog.daemon = True
        watchdog.start()
        try:
            return self._read(url)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if time.monotonic() < self.end:
                raise
            raise ValueError(f"it took longer than {self.timeout:g} s") from error
        finally:
            watchdog.cancel()
            for connected in self.sockets:
                connected.close()

    def _read(self, url: str) -> bytes:
        for _ in range(_MAX_REDIRECTS + 1):
            headers = {"User-Agent": "transformers-moss-tts"}
            request = urllib.request.Request(_quoted(url), headers=headers)
            with self.opener.open(request, timeout=self.timeout) as response:
                location = response.headers.get("Location")
                if response.status in _REDIRECTS and location:
                    # The bytes of headers are read as Latin-1, whatever they are.
                    location = urllib.parse.quote(location, safe=string.punctuation, encoding="latin-1")
                    url = urllib.parse.urljoin(request.full_url, location)
                    continue
                if response.status != 200:
                    raise ValueError(f"the server answers {response.status} {response.reason}")
                return self._body(response)
        raise ValueError(f"there are more than {_MAX_REDIRECTS} redirects")

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        expected = response.length
        body = bytearray()
        while expected is None or expected <= self.max_bytes:
            block = response.read(_BLOCK)
            # What ends from outside can look whole.
            if time.monotonic() > self.end:
                raise TimeoutError
            body += block
            if len(body) > self.max_bytes:
                break
            if not block:
                if expected is not None and len(body) < expected:
                    raise ValueError(f"it broke off after {len(body)} of {expected} bytes")
                return bytes(body)
        raise ValueError(f"it is larger than {self.max_bytes} bytes")

    def _end(self) -> None:
        for connected in self.sockets:
            try:
                connected.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # It has ended by itself.

    def _connection(self, kind: type[http.client.HTTPConnection], host: str, **options) -> http.client.HTTPConnection:
        connection = kind(host, **options)
        connection._create_connection = self._connect  # type: ignore[attr-defined]
        return connection

    def _connect(self, address: tuple[str, int], timeout: float, source_address: None = None) -> socket.socket:
        host, port = address
        # The addresses that were looked at are those that are connected to: a second look-up could give others.
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = [(str(info[4][0]), int(info[4][1])) for info in infos]
        if not self.allow_private_addresses:
            private = next((item[0] for item in found if not _is_public(item[0])), None)
            if private is not None:
                raise ValueError(f"{host} is {private}, and private addresses are not allowed")
        for number, resolved in enumerate(found, 1):
            try:
                remaining = max(self.end - time.monotonic(), 0.001)
                connected = socket.create_connection(resolved, min(timeout, remaining), source_address)
            except OSError:
                if number == len(found):
                    raise
                continue
            # A copy, which stays valid when the connection wraps its own in TLS.
            self.sockets.append(connected.dup())
            return connected
        raise OSError(f"{host} has no address")


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.split("%")[0])
    if ip.version == 6:
        translated = ipaddress.ip_address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None
        ip = ip.ipv4_mapped or ip.sixtofour or translated or ip
    return ip.is_global and not ip.is_multicast


def _quoted(url: str) -> str:
    """
    Raises:
        ValueError: if the URL is not valid, or of another scheme than http and https.
    """
    parts = urllib.parse.urlsplit(url.strip())
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"its scheme must be http or https, got {parts.scheme!r}")
    if not parts.hostname:
        raise ValueError("it names no host")
    if parts.username is not None:
        raise ValueError("it has a user name or a password, which are not supported")
    # A colon is part of IPv6 addresses alone; other hosts may have letters outside ASCII.
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname.encode("idna").decode("ascii")
    host = host if parts.port is None else f"{host}:{parts.port}"
    path, query = (
        urllib.parse.quote(_BARE_PERCENT.sub("%25", part), safe=_UNQUOTED) for part in (parts.path, parts.query)
    )
    return urllib.parse.urlunsplit((parts.scheme, host, path or "/", query, ""))


def _shortened(url: str) -> str:
    return url if len(url) <= 200 else f"{url[:200]}..."


__all__ = ["download", "is_url"]
