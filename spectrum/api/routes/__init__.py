"""The routes of each kind of object, under /client/v4. A new kind adds a line to `ROUTERS`."""

from collections.abc import Sequence

from fastapi import APIRouter

from spectrum.api.routes import (
    access_rules,
    accounts,
    analytics,
    apps,
    audit,
    balancing_search,
    balancing_state,
    configured,
    figures,
    importing,
    ips,
    lists,
    live,
    load_balancers,
    monitor_groups,
    monitors,
    nodes,
    pools,
    previews,
    reports,
    served_certificates,
    sessions,
    stories,
    tokens,
    user,
    zones,
)

ROUTERS: Sequence[APIRouter] = (
    user.router,
    accounts.router,
    zones.router,
    tokens.router,
    audit.router,
    ips.router,
    importing.router,
    apps.router,
    monitors.router,
    monitor_groups.router,
    pools.router,
    previews.router,
    balancing_search.router,
    balancing_state.router,
    load_balancers.router,  # after those whose paths could be its ids
    access_rules.router,
    lists.router,
    sessions.router,
    stories.router,
    nodes.router,
    reports.router,
    configured.router,
    figures.router,
    served_certificates.router,
    live.router,
    analytics.router,
)
