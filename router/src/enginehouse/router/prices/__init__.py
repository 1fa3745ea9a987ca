"""What each unit costs whom, and when: the catalog's prices, the price book over them, discounts, offers."""

from enginehouse.router.prices._book import Discount, ListPrice, PriceBook, Subject
from enginehouse.router.prices._offer import Offer, discounted

__all__ = ["Discount", "ListPrice", "Offer", "PriceBook", "Subject", "discounted"]
