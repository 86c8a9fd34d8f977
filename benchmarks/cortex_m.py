"""What ``to_c`` writes on a Cortex-M4: instructions a row and bytes, beside emlearn's if here.

QEMU executes; it counts instructions exactly and knows no cycles, of which a Cortex-M4 takes one or
more for each. Bytes are those of code and constants of a prediction, libm's not included. The
networks, and what their predictions are compared with, are those of the benchmark ``c``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from c_code import NETWORKS, ROWS, TOLERANCE, network, sources
from harness import FAULT, CannotRunError, Names, Rows

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))
import cortex

OPTIONS = ("-Os", "-O2", "-O3")

CALL = """\
#include "{header}"
void call(const float (*rows)[{n_in}], float (*y)[{n_out}], int i);
void call(const float (*rows)[{n_in}], float (*y)[{n_out}], int i) {{ (void)({call}); }}
"""
PROGRAM = """\
#include <stdint.h>
#include <stdio.h>
static volatile uint32_t *const clock = (volatile uint32_t *)0xE000E010u; /* SysTick, 24 bits */
static const float rows[{n_rows}][{n_in}] = {{ {rows} }};
static float y[{n_rows}][{n_out}];
void call(const float (*rows)[{n_in}], float (*y)[{n_out}], int i);
int main(void)
{{
    clock[1] = 0xFFFFFF;
    clock[2] = 0;
    clock[0] = 5;
    const uint32_t before = clock[2];
    for (int i = 0; i < {n_rows}; i++) call(rows, y, i);
    printf("%lu\\n", (unsigned long)((before - clock[2]) & 0xFFFFFF));
    for (int i = 0; i < {n_rows}; i++) for (int j = 0; j < {n_out}; j++) printf("%.9g ", y[i][j]);
    return 0;
}}
"""


def row(
    folder: Path, texts: Sequence[str], option: str, more: list[str], wanted: Any, most: float
) -> dict[str, Any]:
    """Compile and run."""
    parts = ["call.c", *(each for each in more if each.endswith(".c"))]
    folders = [each for each in more if each.startswith("-I")]
    for name, text in zip(("call.c", "main.c"), texts, strict=True):
        (folder / name).write_text(text)
    command = [cortex.COMPILER, *cortex.FLAGS, "-std=gnu11", "-w", option, *folders]
    objects = []
    for part in parts:
        objects.append(part.replace(".c", ".o"))
        subprocess.run([*command, "-c", part, "-o", objects[-1]], cwd=folder, check=True)
    program = [*command, "main.c", *objects, *cortex.linked(folder), "-o", "main", "-lm"]
    subprocess.run(program, cwd=folder, check=True)
    run = subprocess.run(
        cortex.command(folder / "main"), capture_output=True, text=True, check=True, timeout=120
    )
    ticks, *predictions = map(float, run.stdout.split())
    if not np.allclose(np.reshape(predictions, wanted.shape), wanted, rtol=0, atol=most):
        return {FAULT: "NOT COUNTED"}
    size = cortex.COMPILER.replace("gcc", "size")
    sizes = subprocess.run(
        [size, *objects], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.splitlines()[1:]
    n_bytes = sum(int(line.split()[0]) + int(line.split()[1]) for line in sizes)
    return {"instructions/row": ticks * cortex.TICK / len(wanted), "bytes": n_bytes}


CHOSEN = Names.of(NETWORKS)


def measure(
    cases: Sequence[str] = CHOSEN, options: Sequence[str] = OPTIONS
) -> Iterator[tuple[str, Rows]]:
    if not cortex.is_here():
        raise CannotRunError(f"{cortex.COMPILER}, newlib and {cortex.EMULATOR} are needed")
    for case in cases:
        n_in, _, n_out = NETWORKS[case]
        theirs, x = network(*NETWORKS[case])
        fields = {"n_in": n_in, "n_out": n_out, "n_rows": ROWS}
        fields["rows"] = ", ".join(f"{v:.9e}f" for v in x.ravel())
        table: Rows = {}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            found = sources(theirs, x, folder)
            for option in options:
                for writer, (header, call, more) in found.items():
                    caller = CALL.format(header=header, call=call, **fields)
                    texts = [caller, PROGRAM.format(**fields)]
                    checked = theirs.predict_proba(x), TOLERANCE[writer]
                    table[f"{writer}, {option}"] = row(folder, texts, option, more, *checked)
        yield f"{case} as C, Cortex-M4", table
