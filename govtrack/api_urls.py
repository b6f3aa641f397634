"""Every address below /api/v1/, in one list."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.permissions import AllowAny
from rest_framework.routers import SimpleRouter

from apps.access import api as access
from apps.accounts import api as accounts
from apps.audit import api as audit
from apps.core.problems import unknown_route
from apps.drift import api as drift
from apps.drift import fleet_api as fleet
from apps.drift import planning_api as planning
from apps.drift import probes_api as probes
from apps.drift import probes_watch_api as probes_watch
from apps.evaluations import api as evaluations
from apps.evaluations import money_api as money
from apps.evaluations import scorings_api as scorings
from apps.evaluations import suites_api as suites
from apps.registry import api as registry
from apps.registry import gate_api as gate
from apps.tickets import api as tickets
from apps.vendors import api as vendors

RESOURCES = [
    ("users", access.UserResource),
    ("teams", accounts.TeamResource),
    ("role-assignments", accounts.AssignmentResource),
    ("sessions", access.SessionResource),
    ("tokens", access.TokenResource),
    ("reauth-demands", access.DemandResource),
    ("providers", registry.ProviderResource),
    ("endpoints", registry.EndpointResource),
    ("models", registry.ModelResource),
    ("model-versions", registry.VersionResource),
    ("use-cases", registry.UseCaseResource),
    ("approvals", registry.ApprovalResource),
    ("assumptions", registry.AssumptionResource),
    ("suites", suites.SuiteResource),
    ("suite-revisions", suites.RevisionResource),
    ("suite-revisions/<uuid:revision_id>/cases", suites.CaseResource),
    ("schedules", evaluations.ScheduleResource),
    ("runs", evaluations.RunResource),
    ("runs/<uuid:run_id>/samples", evaluations.SampleResource),
    ("runs/<uuid:run_id>/scores", evaluations.ScoreResource),
    ("prices", money.PriceResource),
    ("budgets", money.BudgetResource),
    ("scorings", scorings.ScoringResource),
    ("scorings/<uuid:scoring_id>/judgements", scorings.JudgementResource),
    ("reviews", scorings.ReviewResource),
    ("observed-identities", evaluations.IdentityResource),
    ("approvals/<uuid:approval_id>/power", planning.PowerResource),
    ("baselines", drift.BaselineResource),
    ("baselines/<uuid:baseline_id>/watches", drift.WatchResource),
    ("comparisons", drift.ComparisonResource),
    ("comparisons/<uuid:comparison_id>/metrics", drift.MetricResource),
    ("comparisons/<uuid:comparison_id>/pairs", drift.PairResource),
    ("change-events", drift.ChangeResource),
    ("change-events/<uuid:change_event_id>/comparisons", drift.ChangeComparisons),
    ("change-events/<uuid:change_event_id>/metrics", drift.ChangeMetrics),
    ("change-events/<uuid:change_event_id>/pairs", drift.ChangePairs),
    ("change-events/<uuid:change_event_id>/broken-assumptions", drift.ChangeBroken),
    ("probes", probes.ProbeResource),
    ("probes/<uuid:probe_id>/rounds", probes.RoundResource),
    ("model-versions/<uuid:model_version_id>/watch", probes_watch.VersionWatchResource),
    ("identity-findings", probes.FindingResource),
    ("control-arms", probes.ControlResource),
    ("control-findings", probes.ControlFindingResource),
    ("observations", probes.ObservationResource),
    ("observed-traffic", probes.TrafficResource),
    ("notices", vendors.NoticeResource),
    ("tickets", tickets.TicketResource),
    ("tickets/<uuid:ticket_id>/comments", tickets.CommentResource),
    ("tickets/<uuid:ticket_id>/decisions", tickets.TicketDecisions),
    ("tickets/<uuid:ticket_id>/control-actions", tickets.TicketActions),
    ("decisions", tickets.DecisionResource),
    ("control-actions", tickets.ActionResource),
    ("policies", tickets.PolicyResource),
    ("audit/entries", audit.EntryResource),
    ("audit/leaves", audit.LeafResource),
    ("audit/heads", audit.HeadResource),
]

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
for prefix, resource in RESOURCES:
    words = [part for part in prefix.split("/") if not part.startswith("<")]
    router.register(prefix, resource, basename="-".join(["api", *words]))

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include(router.urls)),
    path("me", accounts.MeResource.as_view({"get": "show"}), name="api-me"),
    path("roles", accounts.RoleResource.as_view({"get": "list"}), name="api-roles"),
    path("audit/verify", audit.VerifyResource.as_view({"get": "verify"}), name="api-audit-verify"),
    path("fleet", fleet.FleetResource.as_view({"get": "show"}), name="api-fleet"),
    path("gate", gate.GateResource.as_view({"get": "ask"}), name="api-gate"),
    path("gate/check", gate.GateResource.as_view({"get": "check"}), name="api-gate-check"),
    # The schema and its page say nothing that the source does not.
    path(
        "schema",
        SpectacularAPIView.as_view(permission_classes=[AllowAny], authentication_classes=[]),
        name="api-schema",
    ),
    path(
        "docs",
        SpectacularSwaggerSplitView.as_view(
            url_name="api-schema",
            template_name="api/docs.html",
            permission_classes=[AllowAny],
        ),
        name="api-docs",
    ),
    re_path(r"", unknown_route),
]
