"""The engines: their interface, the compiled engine and its modules, and the NumPy engine.

Importing this package loads nothing compiled. The stub (``.pyi``) of a compiled module lies here;
its source is in ``src_cython/fastmlp/_engine/``.
"""

from pkgutil import extend_path

# In the source folder, the compiled modules are where pip installed them (see fastmlp/__init__).
__path__ = extend_path(__path__, __name__)
