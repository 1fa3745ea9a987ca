"""Rate limits of keys, users, routes and tenants: requests and tokens a minute, and requests at once."""

from enginehouse.router.limits._bounds import Allowance, Bounds, Quota, of_route, route_of
from enginehouse.router.limits._limiter import Limiter, LimitReservation
from enginehouse.router.limits._settings import LimitSettings, RoutedMethods, SharingSettings, check_route
from enginehouse.router.limits._shared import SharedBuckets

__all__ = [
    "Allowance",
    "Bounds",
    "LimitReservation",
    "LimitSettings",
    "Limiter",
    "Quota",
    "RoutedMethods",
    "SharedBuckets",
    "SharingSettings",
    "check_route",
    "of_route",
    "route_of",
]
