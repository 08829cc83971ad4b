"""The dialects as an operator wants them spoken, where a provider's clients want different things.

A dialect itself stays what is documented; what differs is laid around it here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from zing.dialects import ALL, evolink, kie, zimageturbo
from zing.dialects.base import Answer, Dialect, Route, Use
from zing.errors import Cancelled, ZingError
from zing.task import Listing, Moment, TaskPage, TaskState, TaskView


@dataclass(frozen=True)
class Manners:
    """How the dialects are spoken; as documented where nothing is said.

    cancelled_is_failed     EvoLink: for clients that wait for `completed` or `failed` alone
    codes_in_http           kie.ai: every code is the HTTP status too
    wait_s, prompt_max      zimageturbo.ai: seconds that a submit waits for the picture, and
                            characters of a prompt
    """

    cancelled_is_failed: bool = False
    codes_in_http: bool = False
    wait_s: float = 0.0
    prompt_max: int = zimageturbo.PROMPT_MAX


def spoken(manners: Manners) -> tuple[Dialect, ...]:
    """Every dialect, in the order of `dialects.ALL`."""
    changed: dict[str, Dialect] = {zimageturbo.NAME: _patient(manners)}
    if manners.cancelled_is_failed:
        changed[evolink.NAME] = _for_old_pollers()
    if manners.codes_in_http:
        changed[kie.NAME] = _mirrored()
    return tuple(changed.get(each.NAME, each) for each in ALL)


class _Changed:
    """A dialect with some of its names changed."""

    def __init__(self, dialect: Dialect, **other: Any) -> None:
        self._dialect = dialect
        vars(self).update(other)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dialect, name)


def _for_old_pollers() -> Dialect:
    """EvoLink's for clients that do not know that a task can be cancelled."""

    def told(view: TaskView, available: int) -> Mapping[str, Any]:
        return evolink.told(_as_failed(view), available)

    routes = tuple(_seen_as_failed(route) for route in evolink.ROUTES)
    return cast(Dialect, _Changed(evolink, ROUTES=routes, told=told))


def _seen_as_failed(route: Route) -> Route:
    words = route.words
    match route.use:
        case Use.LOOK | Use.CANCEL:
            return replace(route, words=lambda view: words(_as_failed(view)))
        case Use.FOLLOW:
            return replace(route, words=lambda moment: words(_end_as_failed(moment)))
        case Use.BATCH:
            return replace(route, words=lambda views: words([*map(_as_failed, views)]))
        case Use.LIST:
            return replace(route, asks=_with_cancelled(route), words=_page_as_failed(route))
        case _:
            return route


def _as_failed(view: TaskView) -> TaskView:
    if view.task.state is not TaskState.CANCELLED:
        return view
    failed = replace(view.task, state=TaskState.FAILED, error=Cancelled.__name__)
    return replace(view, task=failed)


def _end_as_failed(moment: Moment) -> Moment:
    return replace(moment, view=_as_failed(moment.view)) if moment.view else moment


def _with_cancelled(route: Route) -> Callable[[Mapping[str, Any]], Listing]:
    """What a list asks for: who asks for the failed gets the cancelled too."""

    def asks(fields: Mapping[str, Any]) -> Listing:
        listing: Listing = route.asks(fields)
        if TaskState.FAILED not in listing.states:
            return listing
        return replace(listing, states=(*listing.states, TaskState.CANCELLED))

    return asks


def _page_as_failed(route: Route) -> Callable[[TaskPage], Answer]:
    return lambda page: route.words(replace(page, views=tuple(map(_as_failed, page.views))))


def _mirrored() -> Dialect:
    """kie.ai's for clients that look at the HTTP status alone."""

    def refused(error: ZingError) -> Answer:
        answer = kie.refused(error)
        return replace(answer, status=answer.body["code"])

    return cast(Dialect, _Changed(kie, refused=refused))


def _patient(manners: Manners) -> Dialect:
    """zimageturbo.ai's for clients that write more or look for the picture in the first reply."""

    def patient(route: Route) -> Route:
        if route.use is not Use.SUBMIT:
            return route
        asks = partial(zimageturbo.parse, prompt_max=manners.prompt_max)
        words = zimageturbo.waited if manners.wait_s else zimageturbo.created
        return replace(route, asks=asks, words=words, wait_s=manners.wait_s)

    routes = tuple(map(patient, zimageturbo.ROUTES))
    return cast(Dialect, _Changed(zimageturbo, ROUTES=routes, PROMPT_MAX=manners.prompt_max))
