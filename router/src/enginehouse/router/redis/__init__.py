"""Redis, when configured: what replicas share that may be lost. Nothing here is ever the truth about money."""

from enginehouse.router.redis._connection import RedisAway, SharedRedis, check_redis_url

__all__ = ["RedisAway", "SharedRedis", "check_redis_url"]
