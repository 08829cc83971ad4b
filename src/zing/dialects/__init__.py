"""The wire formats that the service speaks, one module each."""

from collections.abc import Sequence

from zing.dialects import evolink, kie, tensorslab, zimageturbo
from zing.dialects.base import Dialect

ALL: tuple[Dialect, ...] = (evolink, kie, tensorslab, zimageturbo)


def below(path: str, among: Sequence[Dialect] = ALL) -> Dialect | None:
    """The dialect whose prefix a path is at or below; of several, the one with the longest."""
    matches = [
        (len(prefix), each)
        for each in among
        for prefix in each.PREFIXES
        if path == prefix or path.startswith(f"{prefix}/")
    ]
    return max(matches, key=lambda match: match[0])[1] if matches else None
