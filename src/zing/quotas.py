"""The headers that tell a caller how often it may come, and how much of that is left.

`RateLimit` and `RateLimit-Policy` as in the IETF's draft-ietf-httpapi-ratelimit-headers-10, and the
X-RateLimit-* that clients knew before; times are seconds from now.
"""

import math
from collections.abc import Mapping

from zing.errors import RateLimited
from zing.limits import Quota

NAME = "create"


def of(quota: Quota) -> Mapping[str, str]:
    """The headers of a request that was counted."""
    rate = quota.rate
    return _headers((rate.count, rate.seconds), quota.left, math.ceil(quota.full_in_s))


def passed(error: RateLimited) -> Mapping[str, str]:
    """The headers of a request that was one too many; none where no rate says so."""
    if not error.count:
        return {}
    return _headers((error.count, error.seconds), 0, error.retry_after_s)


def _headers(policy: tuple[int, float], left: int, reset_s: int) -> Mapping[str, str]:
    count, seconds = policy
    return {
        "RateLimit": f'"{NAME}";r={left};t={reset_s}',
        "RateLimit-Policy": f'"{NAME}";q={count};w={math.ceil(seconds)}',
        "X-RateLimit-Limit": str(count),
        "X-RateLimit-Remaining": str(left),
        "X-RateLimit-Reset": str(reset_s),
    }
