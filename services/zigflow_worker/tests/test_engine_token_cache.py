"""Tokens that calls share: until when, one request for many, another after a 401."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.responses import JSONResponse

from services.zigflow_worker.tests.token_server import CALL, TokenCaller
from zigflow_worker.errors import WorkflowError
from zigflow_worker.outgoing.authentication import TokenCache
from zigflow_worker.outgoing.messages import Authentication, OutgoingRequest, OutgoingResponse


class Clock:
    """A clock that tests move."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(token_caller: TokenCaller) -> Clock:
    clock = Clock()
    token_caller.tokens = TokenCache(clock)
    return clock


def refusal(request: OutgoingRequest) -> OutgoingResponse:
    return OutgoingResponse(status=401, headers=(), body=b"", request=request)


async def token_after_a_401(authentication: Authentication) -> str:
    request = await authentication.apply(CALL)
    again = await authentication.answer(request, refusal(request))
    assert again is not None
    assert len(again.headers) == 1
    return again.headers[0][1].removeprefix("Bearer ")


async def test_a_token_serves_until_thirty_seconds_before_it_expires(
    token_caller: TokenCaller, clock: Clock
):
    token_caller.server.extra = {"expires_in": 100}
    assert await token_caller.token() == "token-1"
    clock.now += 69.9
    assert await token_caller.token() == "token-1"
    clock.now += 0.1
    assert await token_caller.token() == "token-2"


@pytest.mark.parametrize(
    "lifetime", [{}, {"expires_in": 30}, {"expires_in": "soon"}, {"expires_in": 10**400}]
)
async def test_a_token_without_a_lifetime_serves_one_call(
    lifetime: object, token_caller: TokenCaller
):
    token_caller.server.extra = dict(lifetime)  # type: ignore[call-overload]
    assert [await token_caller.token(), await token_caller.token()] == ["token-1", "token-2"]


async def test_another_policy_has_another_token(token_caller: TokenCaller):
    assert await token_caller.token() == "token-1"
    assert await token_caller.token(scopes=["more"]) == "token-2"
    assert await token_caller.token(client={"id": "me", "secret": "other"}) == "token-3"
    assert await token_caller.token() == "token-1"


async def test_the_cache_is_bounded_and_shows_no_secret(token_caller: TokenCaller):
    token_caller.tokens = TokenCache(size=2)
    for scope in ("a", "b", "a", "c"):
        await token_caller.token(scopes=[scope])
    assert len(token_caller.tokens.tokens) == 2
    assert await token_caller.token(scopes=["a"]) == "token-1"
    assert await token_caller.token(scopes=["b"]) == "token-4"
    assert "token-" not in repr(vars(token_caller.tokens.tokens))
    assert "s" * 32 not in repr(vars(token_caller.tokens.tokens))


async def started(token_caller: TokenCaller, count: int) -> Sequence[asyncio.Task[str]]:
    """Calls that wait for the one token that the server holds back."""
    token_caller.server.hold = asyncio.Event()
    calls = [asyncio.create_task(token_caller.token()) for _ in range(count)]
    async with asyncio.timeout(60):
        await token_caller.server.asked.wait()
    return calls


async def test_many_calls_wait_for_one_request(token_caller: TokenCaller):
    calls = await started(token_caller, 50)
    token_caller.server.hold.set()  # type: ignore[union-attr]
    assert set(await asyncio.gather(*calls)) == {"token-1"}
    assert len(token_caller.server.parameters) == 1


async def test_a_cancelled_call_leaves_the_request_to_the_others(token_caller: TokenCaller):
    first, *others = await started(token_caller, 3)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    token_caller.server.hold.set()  # type: ignore[union-attr]
    assert set(await asyncio.gather(*others)) == {"token-1"}
    assert len(token_caller.server.parameters) == 1


async def test_the_last_call_that_is_cancelled_ends_the_request(token_caller: TokenCaller):
    calls = await started(token_caller, 2)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    token_caller.server.hold.set()  # type: ignore[union-attr]
    assert await token_caller.token() == "token-2"
    assert len(token_caller.tokens.tokens) == 1


async def test_a_request_that_hangs_is_not_joined_for_good(token_caller: TokenCaller):
    """Calls that come and go would never leave it without one who waits."""
    token_caller.tokens = TokenCache(seconds=0.2)
    token_caller.server.hold = hold = asyncio.Event()
    calls = [asyncio.create_task(token_caller.problem()) for _ in range(2)]
    for failure in await asyncio.gather(*calls):
        assert failure == ("communication", 500, "a token took longer than 0.2 s")
    token_caller.tokens.tokens._flights._seconds = 60
    hold.set()
    assert (await token_caller.token()).startswith("token-")


async def test_a_failure_is_that_of_all_who_wait_and_of_nobody_later(token_caller: TokenCaller):
    calls = await started(token_caller, 5)
    token_caller.server.answer = lambda parameters: JSONResponse({"error": "invalid_client"}, 401)
    token_caller.server.hold.set()  # type: ignore[union-attr]
    failures = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(failure) for failure in failures] == [WorkflowError] * 5
    assert len(token_caller.server.parameters) == 1
    token_caller.server.answer = lambda parameters: None
    assert await token_caller.token() == "token-2"


async def test_a_401_fetches_one_token_for_all_that_the_old_one_failed(token_caller: TokenCaller):
    calls = [token_caller.authentication() for _ in range(3)]
    requests = [await call.apply(CALL) for call in calls]
    again = [
        await call.answer(request, refusal(request))
        for call, request in zip(calls, requests, strict=True)
    ]
    assert [one.headers for one in again if one] == [[("Authorization", "Bearer token-2")]] * 3
    assert calls[0].authorization == {"scheme": "Bearer", "parameter": "token-2"}
    assert len(token_caller.server.parameters) == 2


async def test_a_401_of_another_origin_gets_no_token(token_caller: TokenCaller):
    authentication = token_caller.authentication()
    request = await authentication.apply(CALL)
    elsewhere = OutgoingRequest(method="GET", url="http://resource.example:81/x")
    assert await authentication.answer(request, refusal(elsewhere)) is None
    assert len(token_caller.server.parameters) == 1


REFRESH: Any = {"grant": "refresh_token", "subject": {"token": "given", "type": "refresh_token"}}


async def test_a_rotated_refresh_token_takes_the_place_of_the_given_one(token_caller: TokenCaller):
    token_caller.server.extra = {"expires_in": 300, "refresh_token": "rotated"}
    assert await token_after_a_401(token_caller.authentication(**REFRESH)) == "token-2"
    sent = [parameters["refresh_token"] for parameters in token_caller.server.parameters]
    assert sent == ["given", "rotated"]


async def test_the_given_refresh_token_is_tried_where_the_rotated_one_is_refused(
    token_caller: TokenCaller,
):
    token_caller.server.extra = {"expires_in": 300, "refresh_token": "rotated"}
    token_caller.server.answer = lambda parameters: (
        JSONResponse({"error": "invalid_grant"}, 400)
        if parameters["refresh_token"] == "rotated"
        else None
    )
    assert await token_after_a_401(token_caller.authentication(**REFRESH)) == "token-3"
    token_caller.server.answer = lambda parameters: JSONResponse({}, 503)
    with pytest.raises(WorkflowError) as error:
        await token_after_a_401(token_caller.authentication(**REFRESH))
    assert error.value.problem["status"] == 503
    assert len(token_caller.server.parameters) == 4
