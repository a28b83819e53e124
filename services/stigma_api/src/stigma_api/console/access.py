"""Access to the console: its principals, and whether a request comes from its own pages."""

from __future__ import annotations

from urllib.parse import urlsplit

import grpc
import structlog
from starlette.requests import Request
from starlette.responses import Response

from stigma.contracts.channels import is_loopback
from stigma_api import errors
from stigma_api.access.authentication import Authenticator
from stigma_api.access.principals import LOCAL, Principal, Principals
from stigma_api.console.login_throttle import LoginThrottle
from stigma_api.console.sessions import LIFETIME, Sessions
from stigma_api.errors import ApiError

_COOKIE = "stigma_session"
_OWN_SITES = frozenset({"same-origin", "none"})


class Access:
    """Authenticates: by session cookie, by `Authorization: Bearer KEY`, or everybody.

    Args:
        principals: as of the API; None where the API takes everybody on this machine for "local".
        secret: signs session cookies, see `Sessions`.
    """

    def __init__(self, principals: Principals | None, secret: str = "") -> None:
        self._authenticator = Authenticator(principals)
        self._sessions = None if principals is None else Sessions(principals, secret)
        # Apart: a program with an old key keeps no person out.
        self._sign_ins, self._bearers = LoginThrottle(), LoginThrottle()
        self._log = structlog.get_logger()

    @property
    def asks_for_key(self) -> bool:
        """Whether the console has a sign-in."""
        return self._sessions is not None

    def principal(self, request: Request) -> Principal:
        """Return the principal of a request.

        Raises:
            ApiError: UNAUTHENTICATED.
            TooManyAttemptsError: too many wrong keys came from there.
        """
        if self._sessions is None:
            self._require_own_host(request)
            return LOCAL
        if self.has_api_key(request):
            return self._bearer(request)
        found = self._sessions.principal(request.cookies.get(_COOKIE, ""))
        if found is None:
            raise ApiError(grpc.StatusCode.UNAUTHENTICATED, "sign in with your API key")
        return found

    def sign_in(self, request: Request, response: Response, key: str) -> bool:
        """Set a session cookie; return whether the key is known.

        Raises:
            TooManyAttemptsError: too many wrong keys came from there.
        """
        self._sign_ins.check(_address(request))
        issued = self._sessions.issue(key) if self._sessions is not None else None
        if issued is None:
            self._sign_ins.record_failure(_address(request))
            self._log.warning("console_sign_in_refused")
            return False
        principal, cookie = issued
        self._set_cookie(request, response, cookie, int(LIFETIME.total_seconds()))
        self._log.info("console_signed_in", principal=principal.name)
        return True

    def sign_out(self, request: Request, response: Response) -> None:
        """Clear the session cookie."""
        self._set_cookie(request, response, "", 0)

    @staticmethod
    def has_api_key(request: Request) -> bool:
        """Return whether an API key is sent; another scheme is for some proxy."""
        scheme, _, _ = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer"

    @staticmethod
    def require_own_page(request: Request) -> None:
        """Refuse what another site's page sends with our user's cookie.

        Raises:
            ApiError: PERMISSION_DENIED.
        """
        site = request.headers.get("sec-fetch-site")
        origin = request.headers.get("origin")
        if site is not None:
            own = site in _OWN_SITES
        elif origin is not None:  # browsers before 2023, and plain HTTP
            own = _netloc(origin) == request.headers.get("host")
        else:
            own = True  # no browser: no site can make it send cookies
        if not own:
            raise errors.permission_denied("the request comes from another site")

    def _bearer(self, request: Request) -> Principal:
        authorization = request.headers["authorization"]
        self._bearers.check(_address(request))
        try:
            return self._authenticator.authenticate({"authorization": authorization}, {})
        except ApiError:
            self._bearers.record_failure(_address(request))
            raise

    @staticmethod
    def _require_own_host(request: Request) -> None:
        """Refuse DNS rebinding: a foreign name that resolves to this machine."""
        host = request.headers.get("host", "")
        try:
            address = host if urlsplit(f"//{host}").port else f"{host}:0"
        except ValueError:  # no port, or no address, that there is
            address = ""
        if not is_loopback(address):
            raise errors.permission_denied("open the console by a loopback address")

    @staticmethod
    def _set_cookie(request: Request, response: Response, value: str, seconds: int) -> None:
        forwarded = request.headers.get("x-forwarded-proto") == "https"
        response.set_cookie(
            _COOKIE,
            value,
            max_age=seconds,
            httponly=True,
            samesite="strict",
            secure=forwarded or request.url.scheme == "https",
        )


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _address(request: Request) -> str:
    """Return the client's address: behind a trusted proxy, as that forwards it."""
    return request.client.host if request.client is not None else ""
