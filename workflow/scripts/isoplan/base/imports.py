"""What registries name, loaded when it is asked for."""

from importlib import import_module


def load_named(name: str):
    """The function or class that is named as "module:name"."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
