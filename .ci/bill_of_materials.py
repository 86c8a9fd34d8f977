"""Add a bill of materials to a wheel: `bill_of_materials.py WHEEL`.

It says what is in the wheel, by whom and under which licence, as CycloneDX JSON in the folder
.dist-info/sboms (PEP 770). All files get the time of SOURCE_DATE_EPOCH, for equal bytes.
"""

from __future__ import annotations

import email
import json
import subprocess
import sys
import tempfile
from pathlib import Path


def bill(name: str, version: str, licence: str) -> dict[str, object]:
    """Return the bill: the package, and the one thing in it that others made."""
    package = {
        "type": "library",
        "bom-ref": name,
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
        "licenses": [{"expression": licence}],
    }
    digits = {
        "type": "data",
        "bom-ref": "digits",
        "name": "Optical Recognition of Handwritten Digits",
        "authors": [{"name": "E. Alpaydin"}, {"name": "C. Kaynak"}],
        "licenses": [{"license": {"id": "CC-BY-4.0"}}],
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": package},
        "components": [digits],
        "dependencies": [{"ref": name, "dependsOn": ["digits"]}, {"ref": "digits"}],
    }


def add_bill(wheel: Path) -> None:
    """Write the bill into a wheel, in its place."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "wheel"]
        subprocess.run([*command, "unpack", "--dest", folder, wheel], check=True)
        (root,) = Path(folder).iterdir()
        (info,) = root.glob("*.dist-info")
        metadata = email.message_from_string((info / "METADATA").read_text(encoding="utf-8"))
        content = bill(metadata["Name"], metadata["Version"], metadata["License-Expression"])
        sboms = info / "sboms"
        sboms.mkdir()
        (sboms / f"{metadata['Name']}.cdx.json").write_text(json.dumps(content, indent=1) + "\n")
        wheel.unlink()
        subprocess.run([*command, "pack", "--dest-dir", wheel.parent, root], check=True)


if __name__ == "__main__":
    add_bill(Path(sys.argv[1]))
