"""Who is signed in here. A browser has a cookie of this application and never a key of Sid."""
import hashlib
import hmac
import secrets
from datetime import datetime, timezone
from typing import Annotated

from fastapi import Cookie, Depends, HTTPException, Response
from sqlmodel import Session, select

from .models import Membership, Org, Person, SignIn, Venue, session

Db = Annotated[Session, Depends(session)]


def hashed(password: str, salt: bytes | None = None) -> str:
    salt = salt or secrets.token_bytes(16)
    return salt.hex() + hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1).hex()


def fits(password: str, known: str) -> bool:
    return hmac.compare_digest(hashed(password, bytes.fromhex(known[:32])), known)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def sign_in(db: Db, response: Response, person: Person) -> None:
    token = secrets.token_urlsafe(32)
    db.add(SignIn(token=digest(token), person_id=person.id))
    db.commit()
    # Strict: no other site's page can make this browser send it. Behind HTTPS add `secure=True`.
    response.set_cookie("session", token, httponly=True, samesite="strict", max_age=14 * 86400)


def sign_out(db: Db, response: Response, token: str | None) -> None:
    found = db.get(SignIn, digest(token or ""))
    if found:
        db.delete(found)
        db.commit()
    response.delete_cookie("session")


def find(db: Session, org: str, name: str, password: str) -> Person:
    person = db.exec(select(Person).join(Org).where(Org.name == org, Person.name == name)).first()
    # The same work for names that do not exist, so that time does not tell which do.
    known = person.password if person else hashed("")
    if not fits(password, known) or person is None:
        raise HTTPException(401, "No such organisation, name and password.")
    return person


def me(db: Db, session: Annotated[str | None, Cookie()] = None) -> Person:
    found = db.get(SignIn, digest(session or ""))
    if found is None or found.ends_at.replace(tzinfo=timezone.utc) < datetime.now(timezone.utc):
        raise HTTPException(401, "Sign in first.")
    return db.get_one(Person, found.person_id)


Me = Annotated[Person, Depends(me)]


def manager(person: Me) -> Person:
    if not person.is_manager:
        raise HTTPException(403, "This is for managers.")
    return person


Manager = Annotated[Person, Depends(manager)]


def venue_of(db: Session, person: Person, venue: str) -> Venue:
    """The venue, if the person belongs to it. All others are alike: not there."""
    if db.get(Membership, (person.id, venue)) is None:
        raise HTTPException(404, "No such venue.")
    return db.get_one(Venue, venue)


def here(db: Db, person: Me, venue: str) -> Venue:
    return venue_of(db, person, venue)


Here = Annotated[Venue, Depends(here)]
