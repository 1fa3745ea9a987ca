"""Prices of units by caller and time: the catalog's prices, the price book over them, discounts, offers."""

from enginehouse.router.prices._book import Discount, DiscountScope, ListPrice, PriceBook
from enginehouse.router.prices._offer import UNBOUNDED_NANOS, Offer, discounted
from enginehouse.router.prices._store import PRICES_CHANNEL, AlreadyBegun, PriceRefresher, PriceStore, StartTaken

__all__ = [
    "PRICES_CHANNEL",
    "UNBOUNDED_NANOS",
    "AlreadyBegun",
    "Discount",
    "DiscountScope",
    "ListPrice",
    "Offer",
    "PriceBook",
    "PriceRefresher",
    "PriceStore",
    "StartTaken",
    "discounted",
]
