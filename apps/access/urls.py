from django.urls import path

from apps.access import views

app_name = "access"
urlpatterns = [
    path("sessions/", views.sessions, name="sessions"),
    path("sessions/end-others/", views.end_others, name="end_others"),
    path("sessions/<uuid:pk>/end/", views.end_session, name="end_session"),
    path("sessions/all/", views.admin_sessions, name="admin_sessions"),
    path("sessions/of/<uuid:pk>/end/", views.end_all, name="end_all"),
    path("tokens/new/", views.token_new, name="token_new"),
    path("tokens/<uuid:pk>/revoke/", views.token_revoke, name="token_revoke"),
    path("setup/<str:secret>/", views.setup, name="setup"),
]
