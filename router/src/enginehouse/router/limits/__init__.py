"""How much a key, a user, a route and a tenant may do: requests and tokens a minute, and requests at once."""

from enginehouse.router.limits._bounds import Allowance, Bounds, Quota, of_route, route_of
from enginehouse.router.limits._limiter import Held, Limiter
from enginehouse.router.limits._settings import LimitSettings, check_route

__all__ = ["Allowance", "Bounds", "Held", "LimitSettings", "Limiter", "Quota", "check_route", "of_route", "route_of"]
