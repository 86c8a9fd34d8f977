"""Measure a request to the service of docs/deploying.md: HTTP and JSON, over one connection."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fastmlp import digits

PAGE = Path(__file__).with_name("deploying.md")
PORT, REQUESTS, PATIENCE = 8_123, 2_000, 60.0


def request(connection: http.client.HTTPConnection, body: str) -> list[float]:
    """Return the probabilities of one image."""
    connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
    probabilities: list[float] = json.loads(connection.getresponse().read())
    return probabilities


def connected() -> http.client.HTTPConnection:
    """Return a connection, once the server has trained its network and listens."""
    until = time.monotonic() + PATIENCE
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=PATIENCE)
        try:
            connection.connect()
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return connection


def main() -> None:
    """Print the median and the 99th percentile of requests in turn; first check the answers."""
    *_, images, labels = digits.split()
    bodies = [json.dumps(image.tolist()) for image in images]
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "service.py").write_text(code)
        server = [sys.executable, "-m", "uvicorn", "service:app", "--port", str(PORT)]
        process = subprocess.Popen([*server, "--log-level", "warning"], cwd=folder)
        try:
            connection = connected()
            answers = np.array([request(connection, body) for body in bodies])
            right = np.mean(answers.argmax(axis=1) == labels)
            assert right > 0.9, f"{right:.0%} of the answers are right"
            times = []
            for k in range(REQUESTS):
                began = time.perf_counter()
                request(connection, bodies[k % len(bodies)])
                times.append(time.perf_counter() - began)
        finally:
            process.terminate()
            process.wait()
    median, late = np.quantile(times, [0.5, 0.99]) * 1e3
    print(f"{right:.1%} right; median {median:.2f} ms, 99th percentile {late:.2f} ms")


if __name__ == "__main__":
    main()
