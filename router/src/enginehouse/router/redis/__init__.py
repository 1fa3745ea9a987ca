"""Redis, when configured: what replicas share that may be lost. Nothing here is ever the truth about money."""

from enginehouse.router.redis._connection import RedisUnavailable, SharedRedis, check_redis_url

__all__ = ["RedisUnavailable", "SharedRedis", "check_redis_url"]
