"""The views. Everything is JSON; an answer of the assistant is a stream of server-sent events."""
import uuid
from functools import wraps

from django.contrib.auth import authenticate, login, logout
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Sum
from django.http import Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt, ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from . import assistant, forms
from .middleware import Conflict, Unauthorized
from .models import Booking, Membership, Org, Person, Venue


def signed_in(view):
    """For people who are signed in, with the venue of the path if they belong to it. All other venues are alike: not there."""

    @wraps(view)
    def inner(request, venue=None):
        if not request.user.is_authenticated:
            raise Unauthorized("Sign in first.")
        return view(request) if venue is None else view(request, venue_of(request.user, venue))

    return inner


def for_managers(view):
    @signed_in
    @wraps(view)
    def inner(request, *venue):
        if not request.user.is_manager:
            raise PermissionDenied("This is for managers.")
        return view(request, *venue)

    return inner


def venue_of(person: Person, venue: str) -> Venue:
    found = person.venues.filter(id=venue).first()
    if found is None:
        raise Http404("No such venue.")
    return found


# --- people and venues ----------------------------------------------------------------------------------------------------------------------


@require_GET
@ensure_csrf_cookie
def start(request):
    """Gives the page its CSRF token: a cookie, whose value is sent as `X-CSRFToken` with all that changes something."""
    return JsonResponse({"application": "Bookings"})


def csrf_failure(request, reason=""):
    return JsonResponse({"detail": reason}, status=403)


def about(person: Person) -> dict:
    venues = [{"id": v.id, "name": v.name} for v in person.venues.order_by("name")]
    return {"name": person.name, "org": person.org.name, "manager": person.is_manager, "venues": venues}


@require_POST
def sign_up(request):
    new = forms.read(forms.Account, request)
    try:
        with transaction.atomic():
            person = Person(org=Org.objects.create(name=new["org"]), name=new["name"], is_manager=True)
            person.set_password(new["password"])
            person.save()
    except IntegrityError:
        raise Conflict("There is an organisation of this name.") from None
    login(request, person)
    return JsonResponse(about(person), status=201)


@require_POST
def sign_in(request):
    who = forms.read(forms.Account, request)
    known = Person.objects.filter(org__name=who["org"], name=who["name"]).first()
    # Also for names that do not exist, so that time does not tell which do.
    person = authenticate(request, id=known.id if known else "nobody", password=who["password"])
    if person is None:
        raise Unauthorized("No such organisation, name and password.")
    login(request, person)
    return JsonResponse(about(person))


@require_POST
def sign_out(request):
    logout(request)
    return HttpResponse(status=204)


@require_GET
@signed_in
def who_am_i(request):
    return JsonResponse(about(request.user))


@require_POST
@for_managers
def add_venue(request):
    venue = Venue(org=request.user.org, **forms.read(forms.NewVenue, request))
    with transaction.atomic():
        venue.save()
        Membership.objects.create(person=request.user, venue=venue)
    return JsonResponse({"id": venue.id, "name": venue.name}, status=201)


@require_POST
@for_managers
def add_person(request):
    new = forms.read(forms.NewPerson, request)
    venues = [venue_of(request.user, venue) for venue in new["venues"]]
    person = Person(org=request.user.org, name=new["name"])
    person.set_password(new["password"])
    try:
        with transaction.atomic():
            person.save()
            Membership.objects.bulk_create(Membership(person=person, venue=venue) for venue in venues)
    except IntegrityError:
        raise Conflict("There is somebody of this name.") from None
    return JsonResponse(about(person), status=201)


@require_GET
@signed_in
def bookings(request, venue: Venue):
    found = Booking.objects.filter(venue=venue).order_by("id")
    if not request.user.is_manager:
        found = found.filter(person=request.user)
    return JsonResponse({"items": [b.shown() for b in found]})


# --- the assistant --------------------------------------------------------------------------------------------------------------------------


@require_POST
@signed_in
def chat(request, venue: Venue):
    """A page that lost the stream sends the same again, with the same `Idempotency-Key`, and gets the rest after its `Last-Event-ID`."""
    said = forms.read(forms.Said, request)
    after = request.headers.get("Last-Event-ID", "0")
    if not after.isascii() or not after.isdigit():
        raise ValidationError("Last-Event-ID is not a number.")
    who = assistant.caller(request.user, venue)
    run = assistant.send(who, said["conversation"] or "main", said["text"], request.headers.get("Idempotency-Key") or uuid.uuid4().hex)
    return StreamingHttpResponse(assistant.relay(who, run, int(after)), content_type="text/event-stream", headers={"Cache-Control": "no-store"})


@require_POST
@for_managers
def add_note(request, venue: Venue):
    note = forms.read(forms.Note, request)
    assistant.note(assistant.caller(request.user, venue), note["text"])
    return JsonResponse(note, status=201)


@require_GET
@signed_in
def memory(request, venue: Venue):
    return JsonResponse(assistant.remembered(assistant.caller(request.user, venue), request.GET.get("about")))


@require_http_methods(["DELETE"])
@signed_in
def forget_me(request):
    assistant.forget(request.user)
    return HttpResponse(status=204)


# --- what agents call -----------------------------------------------------------------------------------------------------------------------


def from_sid(view):
    """A call of Sid in the name of a guest. It carries a token and no cookie, so it needs no CSRF token."""

    @csrf_exempt
    @require_POST
    @wraps(view)
    def inner(request, venue):
        handle = assistant.handle_of(request.headers.get("Authorization", "").removeprefix("Bearer "))
        person = handle and Person.objects.filter(sid_handle=handle).first()
        if not person:
            raise Unauthorized("Not a token of a guest.")
        return JsonResponse(view(request, person, venue_of(person, venue)))

    return inner


@from_sid
def book(request, person: Person, venue: Venue):
    table = forms.read(forms.Table, request)
    token = request.headers.get("Idempotency-Key", "")
    if not 1 <= len(token) <= 200:
        raise ValidationError("Idempotency-Key is missing.")
    # Locks the venue (on SQLite the whole database): two calls at once neither book one table twice nor more seats than there are.
    with transaction.atomic():
        venue = Venue.objects.select_for_update().get(id=venue.id)
        booking = Booking.objects.filter(venue=venue, request=token).first()
        if booking is None:
            taken = Booking.objects.filter(venue=venue, day=table["day"], is_cancelled=False).aggregate(sum=Sum("guests"))["sum"] or 0
            if table["guests"] > venue.seats - taken:
                raise Conflict(f"{venue.seats - taken} seats are free on {table['day']}.")
            booking = Booking.objects.create(venue=venue, person=person, request=token, **table)
    if booking.person_id != person.id or (booking.day, booking.guests, booking.note) != (table["day"], table["guests"], table["note"]):
        raise ValidationError("This Idempotency-Key was used for something else.")
    return booking.shown()


@from_sid
def cancel(request, person: Person, venue: Venue):
    booking = Booking.objects.filter(id=forms.read(forms.Which, request)["booking"], venue=venue, person=person).first()
    if booking is None:
        raise Http404("No such booking.")
    booking.is_cancelled = True
    booking.save()
    return booking.shown()


@from_sid
def list_bookings(request, person: Person, venue: Venue):
    return {"items": [b.shown() for b in Booking.objects.filter(venue=venue, person=person).order_by("id")]}
