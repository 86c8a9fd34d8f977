"""A store of objects on this machine, which answers like S3 and fails on demand."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

FOUND = "<Contents><Key>{}</Key><Size>{}</Size></Contents>"
LIST = (
    "<?xml version='1.0'?><ListBucketResult><IsTruncated>false</IsTruncated>{}</ListBucketResult>"
)


class Store(http.server.ThreadingHTTPServer):
    """Serves a folder, whose subfolders are buckets."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.folder = folder
        self.faults: list[str] = []  # the next requests of contents have them
        self.requests: list[str] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Requests(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a client acknowledges headers only after 40 ms
    server: Store

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        options = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        self.server.requests.append(f"{self.command} {self.path}")
        file = self.server.folder / urllib.parse.unquote(path).strip("/")
        if "list-type" in options:
            self.answer(200, self.listed(file, options.get("prefix", "")).encode())
        elif not file.is_file():
            self.answer(200 if file.parent == self.server.folder and file.is_dir() else 404, b"")
        elif self.command == "GET" and self.server.faults:
            getattr(self, self.server.faults.pop(0))(file)
        else:
            self.send(file)

    def listed(self, bucket: Path, prefix: str) -> str:
        files = [file for file in sorted(bucket.rglob("*")) if file.is_file()]
        keys = [(file.relative_to(bucket).as_posix(), file.stat().st_size) for file in files]
        return LIST.format("".join(FOUND.format(*key) for key in keys if key[0].startswith(prefix)))

    def send(self, file: Path) -> None:
        content = file.read_bytes()
        size, wanted = len(content), self.headers.get("Range")
        if wanted and self.command == "GET":
            first, last = wanted.removeprefix("bytes=").split("-")
            content = content[int(first) : int(last) + 1 if last else None]
        self.answer(
            206 if wanted else 200, content, f"bytes {first}-{last}/{size}" if wanted else ""
        )

    def busy(self, _: Path) -> None:
        self.answer(503, b"")

    def slow(self, file: Path) -> None:
        time.sleep(0.5)
        self.send(file)

    def cut(self, file: Path) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(file.stat().st_size))
        self.end_headers()
        self.close_connection = True

    def answer(self, status: int, content: bytes, extent: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"0"')
        self.send_header("Last-Modified", "Sun, 29 Nov 2026 00:00:00 GMT")
        self.send_header("Accept-Ranges", "bytes")
        if extent:
            self.send_header("Content-Range", extent)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Store]:
    """Serve a folder while the block runs."""
    with Store(folder) as store:
        thread = threading.Thread(target=store.serve_forever, args=[0.01], daemon=True)
        thread.start()
        try:
            yield store
        finally:
            store.shutdown()
            thread.join()
