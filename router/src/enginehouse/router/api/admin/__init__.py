"""AdminService: tenants, keys, budgets, the catalog, decisions explained and money spent."""

from enginehouse.router.api.access import Access, Administrator
from enginehouse.router.api.admin._accounts import AccountAdmin
from enginehouse.router.api.admin._alerts import AlertAdmin
from enginehouse.router.api.admin._audit import AuditAdmin
from enginehouse.router.api.admin._authorized_call import authorized_call
from enginehouse.router.api.admin._budgets import BudgetAdmin
from enginehouse.router.api.admin._catalog import CatalogAdmin
from enginehouse.router.api.admin._feedback import FeedbackServicer
from enginehouse.router.api.admin._identity import IdentityServicer
from enginehouse.router.api.admin._keys import KeyAdmin
from enginehouse.router.api.admin._policies import PolicyAdmin
from enginehouse.router.api.admin._policy_servicer import PolicyServicer
from enginehouse.router.api.admin._prices import PriceAdmin
from enginehouse.router.api.admin._servicer import AdminServicer
from enginehouse.router.api.admin._spend import SpendAdmin
from enginehouse.router.api.admin._users import UserAdmin
from enginehouse.router.api.paging import ordinal_start, page_size, page_start, page_token

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
    "authorized_call",
    "ordinal_start",
    "page_size",
    "page_start",
    "page_token",
]
