"""Downloads from a server that does what servers do."""

import http.server
import socket
import threading
import time
import urllib.parse

import pytest

from transformers_moss_tts.audio_io import AudioLimits, load_audio
from transformers_moss_tts.utils.download import _is_public, download


CONTENT = bytes(range(256)) * 8


class Handler(http.server.BaseHTTPRequestHandler):
    paths = []

    def do_GET(self):
        self.paths.append(self.path)
        name = urllib.parse.urlsplit(self.path).path.rsplit("/", 1)[-1]
        getattr(self, f"send_{name}", self.send_file)()

    def log_message(self, *args):
        pass

    def _start(self, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def _repeat(self, data, pause=0.0):
        try:
            while not self.server.is_over:
                self.wfile.write(data)
                time.sleep(pause)
        except OSError:
            pass

    def send_file(self):
        self._start(Content_Length=str(len(CONTENT)))
        self.wfile.write(CONTENT)

    def send_missing(self):
        self.send_error(404)

    def send_cut(self):
        self._start(Content_Length=str(len(CONTENT)))
        self.wfile.write(CONTENT[:100])

    def send_garbage(self):
        self.wfile.write(b"\x00\x01 no HTTP\r\n\r\n")

    def send_promised(self):
        self._start(Content_Length=str(10**12))

    def send_endless(self):
        self._start()
        self._repeat(bytes(1 << 16))

    def send_slow(self):
        self._start()
        self._repeat(b"x", 0.05)

    def send_slow_header(self):
        self._repeat(b"H", 0.05)

    def send_slow_chunks(self):
        self._start(Transfer_Encoding="chunked")
        self._repeat(b"0", 0.05)

    def send_moved(self):
        self._start(302, Location="/a b/声音".encode().decode("latin-1"))

    def send_moved_endlessly(self):
        self._start(302, Location="/a", Connection="close")
        self._repeat(bytes(1 << 16))

    def send_loop(self):
        self._start(302, Location="/loop")

    def send_to_a_file(self):
        self._start(302, Location="file:///etc/passwd")


@pytest.fixture(scope="module")
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.is_over = False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.is_over = True
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


def read(url, **limits):
    return download(url, **{"max_bytes": 10**6, "timeout": 20.0} | limits)


@pytest.mark.parametrize(
    "path,asked",
    [
        ("/a.wav", "/a.wav"),
        ("", "/"),
        ("/a b.wav", "/a%20b.wav"),
        ("/a%20b.wav", "/a%20b.wav"),
        ("/100%.wav", "/100%25.wav"),
        ("/声.wav?名=é#part", "/%E5%A3%B0.wav?%E5%90%8D=%C3%A9"),
        ("/moved", "/a%20b/%E5%A3%B0%E9%9F%B3"),
        ("/moved_endlessly", "/a"),
    ],
)
def test_urls_are_quoted(server, path, asked):
    assert read(server.replace("http", "HTTP") + path) == CONTENT
    assert Handler.paths[-1] == asked


@pytest.mark.parametrize(
    "path,message",
    [
        ("/missing", "404"),
        ("/cut", "broke off after 100 of 2048 bytes"),
        ("/garbage", "garbage"),
        ("/promised", "larger than 1000000 bytes"),
        ("/endless", "larger than 1000000 bytes"),
        ("/loop", "more than 10 redirects"),
        ("/to_a_file", "http or https, got 'file'"),
    ],
)
def test_faults_name_the_url(server, path, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(server + path)
    assert server + path in str(caught.value)


@pytest.mark.parametrize("path", ["/slow", "/slow_header", "/slow_chunks"])
def test_the_whole_takes_no_longer_than_allowed(server, path):
    start = time.monotonic()
    with pytest.raises(ValueError, match=rf"{path}.* longer than 0.5 s"):
        read(server + path, timeout=0.5)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "url,message",
    [
        ("ftp://127.0.0.1/a.wav", "http or https, got 'ftp'"),
        ("http:///a.wav", "no host"),
        ("http://a:b@127.0.0.1/a.wav", "password"),
        ("http://127.0.0.1:http/a.wav", "[Pp]ort"),
        ("http://127.0.0.1:99999/a.wav", "[Pp]ort"),
        ("http://[::1/a.wav", "IPv6"),
        ("http://" + "a" * 64 + ".com/a.wav", "label"),
        ("http://127.0.0.1:9/" + "a" * 1000, "refused"),
    ],
)
def test_urls_that_cannot_be_read(url, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(url)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("url", ["", "/loop", "/to_a_file"])
def test_private_addresses_are_refused(server, url):
    asked = len(Handler.paths)
    with pytest.raises(ValueError, match=r"127.0.0.1, and private addresses are not allowed"):
        load_audio(server + url, 24000, limits=AudioLimits(allow_private_addresses=False))
    assert len(Handler.paths) == asked


def test_a_name_with_one_private_address_is_refused(server, monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
    monkeypatch.setattr(socket, "create_connection", lambda *args: pytest.fail("it was connected"))
    with pytest.raises(ValueError, match=r"example.com is 10.0.0.1"):
        read("http://example.com/a.wav", allow_private_addresses=False)


def test_a_redirect_to_a_private_address_is_refused(server, monkeypatch):
    monkeypatch.setattr("transformers_moss_tts.utils.download._is_public", lambda address: len(Handler.paths) == asked)
    asked = len(Handler.paths)
    with pytest.raises(ValueError, match="private addresses are not allowed"):
        read(f"{server}/moved", allow_private_addresses=False)
    assert Handler.paths[asked:] == ["/moved"]


def test_a_proxy_is_not_used_where_private_addresses_are_refused(monkeypatch):
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"10.0.0.1, and private"):
        read("http://10.0.0.1/a.wav", allow_private_addresses=False)
    with pytest.raises(ValueError, match="refused"):
        read("http://10.0.0.1/a.wav")


@pytest.mark.parametrize(
    "address,expected",
    [
        ("93.184.216.34", True),
        ("2606:4700::1111", True),
        ("64:ff9b::5db8:d822", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
    ],
)
def test_public_addresses(address, expected):
    assert _is_public(address) is expected
