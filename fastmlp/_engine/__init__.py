"""The engines: their interface, the compiled engine and its modules, and the NumPy engine.

Importing this package loads nothing compiled. The stub (``.pyi``) of a compiled module lies here;
its source is in ``src_cython/fastmlp/_engine/``.
"""

from pkgutil import extend_path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastmlp._engine import native_engine
    from fastmlp._network.spec import Spec

# In the source folder, the compiled modules are where pip installed them (see fastmlp/__init__).
__path__ = extend_path(__path__, __name__)


def compiled(spec: "Spec") -> "native_engine.Engine":
    """Return the engine of a network on the CPU level of this process.

    The first call loads the compiled modules.
    """
    from fastmlp._engine import native_engine

    return native_engine.Engine(spec, native_engine.level())
