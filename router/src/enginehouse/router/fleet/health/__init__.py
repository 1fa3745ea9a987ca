"""Health of models and engines: circuit breakers, fed by what engines tell the registry of their calls."""

from enginehouse.router.fleet.health._breaker import Breaker, BreakerState, BreakerTerms
from enginehouse.router.fleet.health._health import Health
from enginehouse.router.fleet.health._metrics import HealthMetrics
from enginehouse.router.fleet.health._settings import HealthSettings

__all__ = ["Breaker", "BreakerState", "BreakerTerms", "Health", "HealthMetrics", "HealthSettings"]
