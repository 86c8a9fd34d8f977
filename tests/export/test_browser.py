"""The page of docs/deploying.md predicts, in a browser.

Needs chromium, and in ``FASTMLP_ORT_WEB`` the folder ``dist`` of the npm package onnxruntime-web.
"""

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

import fastmlp
from fastmlp import digits

PAGE = Path(__file__).resolve().parents[2] / "docs" / "deploying.md"
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
RUNTIME = Path(os.environ.get("FASTMLP_ORT_WEB", "nowhere"))
BROWSER = shutil.which("chromium")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=60000")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Say nothing of each request."""


@pytest.mark.skipif(not (BROWSER and RUNTIME.is_dir()), reason="needs chromium, onnxruntime-web")
def test_the_page_predicts_what_fastmlp_predicts(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    (page,) = re.findall(r"```html\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (folder / "page.html").write_text(page)
    for name in FILES:
        shutil.copy(RUNTIME / name, folder)
    X, y, X_test, _ = digits.split()
    net = fastmlp.MLP([64, 128, 10], loss="cross_entropy", rng=0)
    net.fit(X, y, epochs=2)
    net.to_onnx(folder / "digits.onnx")
    (folder / "rows.json").write_text(json.dumps(X_test[:100].tolist()))
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/page.html"
        command = [BROWSER, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
        run = subprocess.run([*command, address], capture_output=True, text=True, timeout=120)
        server.shutdown()
    (text,) = re.findall(r'<pre id="probabilities">(.*?)</pre>', run.stdout, re.DOTALL)
    found, wanted = json.loads(text), net.predict(X_test[:100])
    np.testing.assert_allclose(np.reshape(found["probabilities"], wanted.shape), wanted, atol=1e-6)
    assert found["label"] == wanted.argmax(axis=1).tolist()
