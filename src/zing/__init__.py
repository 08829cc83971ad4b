"""zing: a self-hosted Z-Image-Turbo service."""

__version__ = "0.1.0"
