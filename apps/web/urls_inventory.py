from django.urls import URLPattern, path

from apps.web.views import approvals, overview, people, providers, schedules, use_cases, versions

urlpatterns: list[URLPattern] = [
    path("", overview.overview, name="overview"),
    path("versions/", versions.version_list, name="version_list"),
    path("versions/new/", versions.version_new, name="version_new"),
    path("versions/<uuid:pk>/", versions.version, name="version"),
    path("providers/", providers.provider_list, name="provider_list"),
    path("providers/new/", providers.provider_new, name="provider_new"),
    path("providers/<slug:slug>/", providers.provider, name="provider"),
    path("use-cases/", use_cases.use_case_list, name="use_case_list"),
    path("use-cases/new/", use_cases.use_case_new, name="use_case_new"),
    path("use-cases/<slug:slug>/", use_cases.use_case, name="use_case"),
    path("approvals/new/", approvals.approval_new, name="approval_new"),
    path("approvals/<int:number>/", approvals.approval, name="approval"),
    path("approvals/<int:number>/<slug:move>/", approvals.approval_move, name="approval_move"),
    path("schedules/new/", schedules.schedule_new, name="schedule_new"),
    path("schedules/<uuid:pk>/", schedules.schedule, name="schedule"),
    path("people/", people.people, name="people"),
]
