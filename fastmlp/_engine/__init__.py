"""The engines: their interface, the compiled engine and its modules, and the NumPy engine.

Importing this package loads nothing compiled. The stub (``.pyi``) of a compiled module lies here;
its source is in ``src_cython/fastmlp/_engine/``.
"""

from pkgutil import extend_path
from typing import Any

# In the source folder, the compiled modules are where pip installed them (see fastmlp/__init__).
__path__ = extend_path(__path__, __name__)


def compiled(spec: Any) -> Any:
    """Return the compiled engine of a network; its modules are loaded by the first call."""
    from fastmlp._engine import native_engine

    return native_engine.engine(spec)
