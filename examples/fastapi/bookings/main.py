"""The routes. Everything is JSON; an answer of the assistant is a stream of server-sent events."""
import uuid
from contextlib import asynccontextmanager
from datetime import date
from typing import Annotated

from fastapi import Cookie, Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel, func, select, update
from starlette.concurrency import run_in_threadpool

from . import accounts, assistant
from .accounts import Db, Here, Manager, Me
from .models import Booking, Membership, Org, Person, Venue, engine


@asynccontextmanager
async def life(_: FastAPI):
    SQLModel.metadata.create_all(engine)
    yield
    await assistant.streaming.aclose()


app = FastAPI(title="Bookings", lifespan=life)


@app.exception_handler(assistant.Unavailable)
def unavailable(_: Request, __: assistant.Unavailable):
    return JSONResponse({"detail": "The assistant is away for a moment."}, 503, {"Retry-After": "2"})


class Input(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


Name = Annotated[str, Field(min_length=1, max_length=80)]
Password = Annotated[str, Field(min_length=8, max_length=200)]


class NewOrg(Input):
    org: Name
    name: Name
    password: Password


class NewVenue(Input):
    name: Name


class NewPerson(Input):
    name: Name
    password: Password
    venues: list[str]


class Said(Input):
    text: Annotated[str, Field(min_length=1, max_length=20_000)]
    conversation: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,60}$")] = "main"


class Note(Input):
    text: Annotated[str, Field(min_length=1, max_length=2_000)]


class Table(Input):
    day: date
    guests: Annotated[int, Field(ge=1)]
    note: Annotated[str, Field(max_length=500)] = ""


class Which(Input):
    booking: int


# --- people and venues ----------------------------------------------------------------------------------------------------------------------


@app.get("/")
def start():
    return {"application": app.title}


@app.post("/orgs", status_code=201)
def sign_up(new: NewOrg, db: Db, response: Response):
    org = Org(name=new.org)
    person = Person(org_id=org.id, name=new.name, password=accounts.hashed(new.password), is_manager=True)
    try:
        db.add(org)
        db.flush()
        db.add(person)
        db.commit()
    except IntegrityError:
        raise HTTPException(409, "There is an organisation of this name.") from None
    accounts.sign_in(db, response, person)
    return about(db, person)


@app.post("/login")
def login(who: NewOrg, db: Db, response: Response):
    person = accounts.find(db, who.org, who.name, who.password)
    accounts.sign_in(db, response, person)
    return about(db, person)


@app.post("/logout", status_code=204)
def logout(db: Db, response: Response, session: Annotated[str | None, Cookie()] = None):
    accounts.sign_out(db, response, session)


def about(db, person: Person) -> dict:
    venues = db.exec(select(Venue).join(Membership).where(Membership.person_id == person.id).order_by(Venue.name)).all()
    return {"name": person.name, "org": db.get_one(Org, person.org_id).name, "manager": person.is_manager,
            "venues": [{"id": v.id, "name": v.name} for v in venues]}


@app.get("/me")
def who_am_i(db: Db, person: Me):
    return about(db, person)


@app.post("/venues", status_code=201)
def add_venue(new: NewVenue, db: Db, person: Manager):
    venue = Venue(org_id=person.org_id, name=new.name)
    db.add(venue)
    db.flush()
    db.add(Membership(person_id=person.id, venue_id=venue.id))
    db.commit()
    return {"id": venue.id, "name": venue.name}


@app.post("/people", status_code=201)
def add_person(new: NewPerson, db: Db, manager: Manager):
    venues = [accounts.venue_of(db, manager, venue) for venue in new.venues]
    person = Person(org_id=manager.org_id, name=new.name, password=accounts.hashed(new.password))
    try:
        db.add(person)
        db.flush()
        db.add_all(Membership(person_id=person.id, venue_id=venue.id) for venue in venues)
        db.commit()
    except IntegrityError:
        raise HTTPException(409, "There is somebody of this name.") from None
    return about(db, person)


def shown(booking: Booking) -> dict:
    return {"id": booking.id, "day": booking.day.isoformat(), "guests": booking.guests, "note": booking.note, "cancelled": booking.is_cancelled}


@app.get("/venues/{venue}/bookings")
def bookings(db: Db, person: Me, venue: Here):
    wanted = select(Booking).where(Booking.venue_id == venue.id).order_by(Booking.id)
    if not person.is_manager:
        wanted = wanted.where(Booking.person_id == person.id)
    return {"items": [shown(b) for b in db.exec(wanted)]}


# --- the assistant --------------------------------------------------------------------------------------------------------------------------


@app.post("/venues/{venue}/chat")
async def chat(said: Said, db: Db, person: Me, venue: Here, idempotency_key: Annotated[str, Header(max_length=200)] = "",
               last_event_id: Annotated[int, Header(ge=0)] = 0):
    """A page that lost the stream sends the same again, with the same `Idempotency-Key`, and gets the rest after its `Last-Event-ID`."""
    who = await run_in_threadpool(assistant.caller, db, person, venue)
    try:
        run = await run_in_threadpool(assistant.send, who, said.conversation, said.text, idempotency_key or uuid.uuid4().hex)
    except ValueError as error:
        raise HTTPException(422, str(error)) from None
    return StreamingResponse(assistant.relay(who, run, last_event_id), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@app.post("/venues/{venue}/notes", status_code=201)
def add_note(note: Note, db: Db, person: Manager, venue: Here):
    assistant.note(assistant.caller(db, person, venue), note.text)
    return note


@app.get("/venues/{venue}/memory")
def memory(db: Db, person: Me, venue: Here, about: str | None = None):
    return assistant.remembered(assistant.caller(db, person, venue), about)


@app.delete("/me/memory", status_code=204)
def forget_me(db: Db, person: Me):
    assistant.forget(db, person)


# --- what agents call -----------------------------------------------------------------------------------------------------------------------


def guest(db: Db, authorization: Annotated[str, Header()] = "") -> Person:
    """Whose token Sid sent."""
    handle = assistant.handle_of(authorization.removeprefix("Bearer "))
    person = handle and db.exec(select(Person).where(Person.sid_handle == handle)).first()
    if not person:
        raise HTTPException(401, "Not a token of a guest.")
    return person


Guest = Annotated[Person, Depends(guest)]


def there(db: Db, person: Guest, venue: str) -> Venue:
    return accounts.venue_of(db, person, venue)


There = Annotated[Venue, Depends(there)]
Token = Annotated[str, Header(alias="Idempotency-Key", min_length=1, max_length=200)]


@app.post("/assistant/venues/{venue}/book")
def book(table: Table, db: Db, person: Guest, venue: There, token: Token):
    # Locks the venue: two calls at once neither book one table twice nor more seats than there are.
    db.exec(update(Venue).where(Venue.id == venue.id).values(seats=Venue.seats))
    booking = db.exec(select(Booking).where(Booking.venue_id == venue.id, Booking.request == token)).first()
    if booking is None:
        taken = select(func.sum(Booking.guests)).where(Booking.venue_id == venue.id, Booking.day == table.day, Booking.is_cancelled.is_(False))
        free = venue.seats - (db.exec(taken).one() or 0)
        if table.guests > free:
            raise HTTPException(409, f"{free} seats are free on {table.day}.")
        booking = Booking(venue_id=venue.id, person_id=person.id, request=token, **table.model_dump())
        db.add(booking)
    db.commit()
    if booking.person_id != person.id or (booking.day, booking.guests, booking.note) != (table.day, table.guests, table.note):
        raise HTTPException(422, "This Idempotency-Key was used for something else.")
    return shown(booking)


@app.post("/assistant/venues/{venue}/cancel")
def cancel(which: Which, db: Db, person: Guest, venue: There):
    own = Booking.venue_id == venue.id, Booking.person_id == person.id
    booking = db.exec(select(Booking).where(Booking.id == which.booking, *own)).first()
    if booking is None:
        raise HTTPException(404, "No such booking.")
    booking.is_cancelled = True
    db.add(booking)
    db.commit()
    return shown(booking)


@app.post("/assistant/venues/{venue}/list")
def list_bookings(db: Db, person: Guest, venue: There):
    own = Booking.venue_id == venue.id, Booking.person_id == person.id
    return {"items": [shown(b) for b in db.exec(select(Booking).where(*own).order_by(Booking.id))]}
