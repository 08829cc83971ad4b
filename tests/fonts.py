"""What tests need that draw with the emoji font: continuous integration installs it."""

import pytest

from training import sprites


def _has_font() -> bool:
    try:
        return bool(sprites.font_path())
    except FileNotFoundError:
        return False


needs_font = pytest.mark.skipif(
    not _has_font(), reason="needs the Debian package fonts-noto-color-emoji"
)
