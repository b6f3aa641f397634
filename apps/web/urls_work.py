"""What runs, changed, and is decided; and the history of it all."""

from django.urls import URLPattern, path

from apps.web.views import changes, history, runs, suites, ticket_acts, tickets

urlpatterns: list[URLPattern] = [
    path("runs/", runs.run_list, name="run_list"),
    path("runs/new/", runs.run_new, name="run_new"),
    path("runs/<uuid:pk>/", runs.run, name="run"),
    path("runs/<uuid:pk>/progress/", runs.run_progress, name="run_progress"),
    path("runs/<uuid:pk>/<slug:act>/", runs.run_act, name="run_act"),
    path("suites/", suites.suite_list, name="suite_list"),
    path("suites/import/", suites.suite_import, name="suite_import"),
    path("suites/<slug:slug>/", suites.suite, name="suite"),
    path("suites/<slug:slug>/export/", suites.suite_export, name="suite_export"),
    path("changes/", changes.change_list, name="change_list"),
    path("changes/<int:number>/", changes.change, name="change"),
    path("comparisons/<uuid:pk>/", changes.comparison, name="comparison"),
    path("tickets/", tickets.ticket_list, name="ticket_list"),
    path("tickets/<int:number>/", tickets.ticket, name="ticket"),
    path("tickets/<int:number>/propose/", ticket_acts.ticket_propose, name="ticket_propose"),
    path("tickets/<int:number>/confirm/", ticket_acts.ticket_confirm, name="ticket_confirm"),
    path("tickets/<int:number>/send-back/", ticket_acts.ticket_send_back, name="ticket_send_back"),
    path("tickets/<int:number>/withdraw/", ticket_acts.ticket_withdraw, name="ticket_withdraw"),
    path("tickets/<int:number>/comment/", ticket_acts.ticket_comment, name="ticket_comment"),
    path("tickets/<int:number>/assign/", ticket_acts.ticket_assign, name="ticket_assign"),
    path(
        "tickets/<int:number>/controls/<uuid:pk>/reverse/",
        ticket_acts.ticket_reverse,
        name="ticket_reverse",
    ),
    path("history/", history.history, name="history"),
    path("history/verify/", history.history_verify, name="history_verify"),
    path("history/<uuid:pk>/", history.history_entry, name="history_entry"),
]
