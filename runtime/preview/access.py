"""Who may see the page: everybody, or those who know a token."""

from __future__ import annotations

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from derain.core.errors import ConfigError

MIN_TOKEN = 8  # characters; shorter ones can be guessed by trying


class Access:
    """Compares what a browser sends with `token`, in constant time.

    The token comes once, as ``?token=...``; then the browser has a cookie, which does
    not contain it and is worth as much after a restart. Cookies do not tell ports
    apart, so its name tells tokens apart: two runs on one device keep theirs.

    Args:
        token: The token; None: everybody may.

    Raises:
        ConfigError: The token is too short.
    """

    def __init__(self, token: str | None) -> None:
        if token is not None and len(token) < MIN_TOKEN:
            raise ConfigError(
                f"the token of the preview has {len(token)} characters, wanted at "
                f"least {MIN_TOKEN}: it could be guessed"
            )
        self._token = None if token is None else token.encode()
        key = self._token or b""
        self._name = "derain_" + hmac.new(key, b"name", hashlib.sha256).hexdigest()[:8]
        self._cookie = hmac.new(key, b"cookie", hashlib.sha256).hexdigest()

    def allows(self, query: str, cookies: str) -> bool:
        """Whether a request with these ``?`` and ``Cookie:`` texts may see the page."""
        return self._token is None or self._knows(query) or self._returns(cookies)

    def cookie_for(self, query: str) -> str | None:
        """The ``Set-Cookie:`` for a request that has the right token, or None."""
        if not self._knows(query):
            return None
        # Strict: pages of other sites cannot ask in the viewer's name.
        return f"{self._name}={self._cookie}; Path=/; HttpOnly; SameSite=Strict"

    def _knows(self, query: str) -> bool:
        if self._token is None:
            return False
        (given,) = parse_qs(query).get("token", [""])[-1:]
        return hmac.compare_digest(given.encode(), self._token)

    def _returns(self, cookies: str) -> bool:
        try:
            given = SimpleCookie(cookies).get(self._name)
        except CookieError:
            return False
        return given is not None and hmac.compare_digest(
            given.value.encode(), self._cookie.encode()
        )
