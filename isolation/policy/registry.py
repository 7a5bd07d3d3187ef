"""Every selector of the policy language. The grammar reads with this list; the documentation is written from it."""

from __future__ import annotations

from collections.abc import Mapping

from isolation.policy.conditions import (
    azure_ad,
    email,
    email_domain,
    everyone,
    ip,
    login_method,
    user_risk,
    user_risk_score,
    user_type,
)
from isolation.policy.selector import Selector

SELECTORS: tuple[Selector, ...] = (
    everyone.SELECTOR,
    email.SELECTOR,
    email_domain.SELECTOR,
    azure_ad.SELECTOR,
    user_type.SELECTOR,
    user_risk.SELECTOR,
    user_risk_score.SELECTOR,
    login_method.SELECTOR,
    ip.SELECTOR,
)

BY_KEY: Mapping[str, Selector] = {selector.key: selector for selector in SELECTORS}

# Selectors of the Access API that a pasted policy may contain and that do not exist here.
# Source: cloudflare-python 5.9, types/zero_trust/access/access_rule.py.
ELSEWHERE: frozenset[str] = frozenset(
    {
        "any_valid_service_token",
        "auth_context",
        "auth_method",
        "certificate",
        "cloudflare_account_member",
        "common_name",
        "device_posture",
        "email_list",
        "external_evaluation",
        "geo",
        "github-organization",
        "group",
        "gsuite",
        "ip_list",
        "linked_app_token",
        "oidc",
        "okta",
        "saml",
        "service_token",
    }
)
