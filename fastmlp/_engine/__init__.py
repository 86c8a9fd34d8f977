"""The engines' side of the seam: the contract, and the compiled engine with all that it needs.

Nothing compiled is imported here: ``backend`` does so on first use. Where a compiled module will be
lies its stub (``.pyi``), which is shipped; its sources are in ``src_cython/fastmlp/_engine/``.
"""

from pkgutil import extend_path

# Started in the source folder: the compiled modules are where pip put them, as in fastmlp/__init__.
__path__ = extend_path(__path__, __name__)
