"""A table as it is read: frames, columns, the forms of their values, and the encoding as inputs."""

from pkgutil import extend_path

# Also find the compiled module where pip has installed it, as in fastmlp/__init__.
__path__ = extend_path(__path__, __name__)
