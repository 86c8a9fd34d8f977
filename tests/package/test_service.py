"""The service of docs/deploying.md answers."""

import re
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs fastapi")
pytest.importorskip("httpx", reason="needs httpx")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "deploying.md"


@pytest.mark.filterwarnings("ignore")
def test_the_service_of_the_page():
    from fastapi.testclient import TestClient

    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    service = {"__name__": "service"}
    exec(
        compile(code.replace("epochs=20", "epochs=2"), "service", "exec", dont_inherit=True),
        service,
    )
    client = TestClient(service["app"])
    row = service["X_test"][0]
    answer = client.post("/predict", json=row.tolist())
    assert answer.status_code == 200
    assert answer.json() == pytest.approx(service["net"].predict(row[None])[0].tolist())
    assert client.post("/predict", json=row[:3].tolist()).status_code == 422
