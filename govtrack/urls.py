"""Addresses: pages at the root, the API below /api/v1/, health beside them."""

from django.urls import URLPattern, URLResolver, include, path, re_path

from apps.core import health
from apps.core.problems import unknown_route

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
    path("api/v1/", include("govtrack.api_urls")),
    re_path(r"^api(/|$)", unknown_route),
    path("account/", include("apps.access.account_urls")),
    path("", include("apps.access.urls")),
    path("", include("apps.web.urls")),
]
