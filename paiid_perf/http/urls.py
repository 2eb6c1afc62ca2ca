app_name = "paiid_perf"
urlpatterns: list[object] = []
