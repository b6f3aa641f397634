"""Pages: `inventory` is what is approved and for what; `work` is what runs and changed."""

from apps.web import urls_inventory, urls_work

app_name = "web"
urlpatterns = [*urls_inventory.urlpatterns, *urls_work.urlpatterns]
