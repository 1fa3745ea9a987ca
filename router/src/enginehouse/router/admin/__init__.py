"""AdminService: tenants, keys, budgets, the catalog, decisions explained and money spent."""

from enginehouse.router.admin._access import Access, Administrator
from enginehouse.router.admin._accounts import AccountAdmin
from enginehouse.router.admin._alerts import AlertAdmin
from enginehouse.router.admin._asked import asked
from enginehouse.router.admin._audit import AuditAdmin
from enginehouse.router.admin._budgets import BudgetAdmin
from enginehouse.router.admin._catalog import CatalogAdmin
from enginehouse.router.admin._feedback import FeedbackServicer
from enginehouse.router.admin._identity import IdentityServicer
from enginehouse.router.admin._keys import KeyAdmin
from enginehouse.router.admin._pages import ordinal_start, page_size, page_start, page_token
from enginehouse.router.admin._policies import PolicyAdmin
from enginehouse.router.admin._policy_servicer import PolicyServicer
from enginehouse.router.admin._prices import PriceAdmin
from enginehouse.router.admin._servicer import AdminServicer
from enginehouse.router.admin._spend import SpendAdmin
from enginehouse.router.admin._users import UserAdmin

__all__ = [
    "Access",
    "AccountAdmin",
    "AdminServicer",
    "Administrator",
    "AlertAdmin",
    "AuditAdmin",
    "BudgetAdmin",
    "CatalogAdmin",
    "FeedbackServicer",
    "IdentityServicer",
    "KeyAdmin",
    "PolicyAdmin",
    "PolicyServicer",
    "PriceAdmin",
    "SpendAdmin",
    "UserAdmin",
    "asked",
    "ordinal_start",
    "page_size",
    "page_start",
    "page_token",
]
