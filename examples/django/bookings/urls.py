from django.urls import path

from . import views

urlpatterns = [
    path("", views.start),
    path("orgs", views.sign_up),
    path("login", views.sign_in),
    path("logout", views.sign_out),
    path("me", views.who_am_i),
    path("me/memory", views.forget_me),
    path("venues", views.add_venue),
    path("people", views.add_person),
    path("venues/<venue>/bookings", views.bookings),
    path("venues/<venue>/chat", views.chat),
    path("venues/<venue>/notes", views.add_note),
    path("venues/<venue>/memory", views.memory),
    # What agents call.
    path("assistant/venues/<venue>/book", views.book),
    path("assistant/venues/<venue>/cancel", views.cancel),
    path("assistant/venues/<venue>/list", views.list_bookings),
]
