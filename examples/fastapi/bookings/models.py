"""Organisations, venues, people and bookings; and what each of them is in Sid."""
import uuid
from datetime import date, datetime, timedelta, timezone

from sqlalchemy import event
from sqlmodel import Field, Session, SQLModel, UniqueConstraint, create_engine

from . import settings


def new_id() -> str:
    return uuid.uuid4().hex


class Org(SQLModel, table=True):
    id: str = Field(default_factory=new_id, primary_key=True)
    name: str = Field(unique=True)
    # A key of the organisation's tenant. Guard this table as you guard passwords.
    sid_key: str | None = None


class Venue(SQLModel, table=True):
    id: str = Field(default_factory=new_id, primary_key=True)
    org_id: str = Field(foreign_key="org.id", index=True)
    name: str
    seats: int = 20
    sid_team: str | None = None
    sid_agent: str | None = None


class Person(SQLModel, table=True):
    __table_args__ = (UniqueConstraint("org_id", "name"),)
    id: str = Field(default_factory=new_id, primary_key=True)
    org_id: str = Field(foreign_key="org.id")
    name: str
    password: str
    is_manager: bool = False
    # Who they are in Sid. A new handle when they were forgotten: nothing leads from the new one to the old.
    sid_handle: str = Field(default_factory=new_id, unique=True)
    sid_user: str | None = None


class Membership(SQLModel, table=True):
    person_id: str = Field(foreign_key="person.id", primary_key=True)
    venue_id: str = Field(foreign_key="venue.id", primary_key=True)
    # For which of the person's handles Sid was told.
    sid_handle: str | None = None


class SignIn(SQLModel, table=True):
    """A browser that somebody signed in with: the hash of its cookie."""

    token: str = Field(primary_key=True)
    person_id: str = Field(foreign_key="person.id")
    ends_at: datetime = Field(default_factory=lambda: datetime.now(timezone.utc) + timedelta(days=14))


class Booking(SQLModel, table=True):
    # A call of the assistant that is repeated has the same token, and books nothing more.
    __table_args__ = (UniqueConstraint("venue_id", "request"),)
    id: int | None = Field(default=None, primary_key=True)
    venue_id: str = Field(foreign_key="venue.id", index=True)
    person_id: str = Field(foreign_key="person.id")
    day: date
    guests: int
    note: str = ""
    is_cancelled: bool = False
    request: str


engine = create_engine(f"sqlite:///{settings.DATABASE}", connect_args={"timeout": 10})


@event.listens_for(engine, "connect")
def pragmas(connection, _):
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")


def session():
    with Session(engine, expire_on_commit=False) as s:
        yield s
