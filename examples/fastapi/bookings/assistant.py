"""All that this application knows of Sid.

An organisation is a tenant, a venue is a team with an agent, a person is a user. They are made when they are first needed; each step may be
repeated, so a crash in the middle does no harm. Every request for a person is sent with the key of the organisation *and* `X-Sid-User`: Sid then
gives out what this person may see, whatever this application gets wrong.
"""
import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
from sqlmodel import Session, update

from . import settings
from .models import Membership, Org, Person, Venue, new_id

# What the key of an organisation is for. It makes no keys, and reads no audit log and no secrets.
SCOPES = ["chat", "memory-read", "memory-write", "context-write", "directory-read", "directory-write", "erase"]
INSTRUCTIONS = """You are the assistant of {venue}. You help its guests with tables.
Keep what matters of a guest with core_memory_append. Say what you booked, with its number."""
MEMORY_TOOLS = ["core_memory_append", "core_memory_replace", "conversation_search", "archival_memory_search"]
# What an agent may do here. `idempotent`: bookings are made once for each `Idempotency-Key`, so Sid may repeat a call after a crash.
FUNCTIONS = {
    "book": {
        "description": "Books a table for the guest.",
        "effect": "idempotent",
        "parameters": {
            "type": "object",
            "properties": {
                "day": {"type": "string", "format": "date", "description": "Like 2026-12-24."},
                "guests": {"type": "integer", "minimum": 1, "description": "How many people come."},
                "note": {"type": "string", "maxLength": 500, "description": "What the venue should know."},
            },
            "required": ["day", "guests"],
        },
    },
    "cancel": {
        "description": "Cancels a booking of the guest.",
        "effect": "idempotent",
        "parameters": {"type": "object", "properties": {"booking": {"type": "integer", "description": "Its number."}}, "required": ["booking"]},
    },
    "list": {"description": "Lists the guest's bookings.", "effect": "read", "parameters": {"type": "object", "properties": {}}},
}
# Seconds without a sign of life from Sid, after which a browser is told to come again.
PATIENCE = 60

client = httpx.Client(base_url=f"{settings.SID_URL}/api/v1", timeout=30)
streaming = httpx.AsyncClient(base_url=f"{settings.SID_URL}/api/v1", timeout=httpx.Timeout(30, read=PATIENCE))


class Unavailable(Exception):
    """Sid cannot be reached now."""


def call(headers: dict, method: str, path: str, body=None, *, fine: tuple[int, ...] = ()) -> httpx.Response:
    """One request. Errors: `Unavailable` for what may work later; what Sid refuses is our own fault, but for the statuses in `fine`."""
    try:
        response = client.request(method, path, json=body, headers=headers)
    except httpx.TransportError as error:
        raise Unavailable from error
    if response.status_code in (429, 502, 503, 504):
        raise Unavailable
    if response.status_code not in fine:
        response.raise_for_status()
    return response


def made(headers: dict, path: str, name: str, body: dict) -> dict:
    """What is called `name`: made now, or before."""
    response = call(headers, "POST", path, body, fine=(409,))
    return (call(headers, "GET", f"{path}/@{name}") if response.status_code == 409 else response).json()


# --- who is who -----------------------------------------------------------------------------------------------------------------------------

OPERATOR = {"Authorization": f"Bearer {settings.SID_KEY}"}


def organisation(db: Session, org: Org) -> dict:
    """The headers of the organisation's key; its tenant and the key are made when they are not there."""
    if org.sid_key is None:
        name = f"org-{org.id}"
        call(OPERATOR, "POST", "/tenants", {"name": name}, fine=(409,))
        role = {"type": "tenant", "tenant": f"@{name}"}
        key = call(OPERATOR, "POST", "/keys", {"name": "bookings", "role": role, "scopes": SCOPES}).json()
        # Two requests may be here at once: the first key is kept, the other is not left lying about.
        kept = db.exec(update(Org).where(Org.id == org.id, Org.sid_key.is_(None)).values(sid_key=key["key"]))
        db.commit()
        db.refresh(org)
        if kept.rowcount == 0:
            call(OPERATOR, "DELETE", f"/keys/{key['id']}")
    return {"Authorization": f"Bearer {org.sid_key}"}


def place(db: Session, tenant: dict, venue: Venue) -> None:
    """The venue's team, functions and agent."""
    if venue.sid_agent is not None:
        return
    name = f"venue-{venue.id}"
    team = made(tenant, "/teams", name, {"name": name})
    # A function of each venue, so that an agent cannot book elsewhere. The secret is the guest's own: it tells who is calling.
    header = {"Authorization": {"secret": "bookings", "prefix": "Bearer "}}
    functions = []
    for function, about in FUNCTIONS.items():
        url = f"{settings.APP_URL}/assistant/venues/{venue.id}/{function}"
        functions.append(f"{function}-{venue.id[:12]}")
        # What the application answers is its own word: nobody has to approve a booking because the agent has read the list.
        source = {"kind": "http", "url": url, "secret_headers": header, "trusted": True, **about}
        # A conflict: another request was faster, and has put the same.
        call(tenant, "PUT", f"/tools/{functions[-1]}", {"source": source, "default": False}, fine=(409,))
    block = {"label": "guest", "description": "What is known of the guest.", "value": "", "limit_chars": 2000}
    agent = {"name": name, "instructions": INSTRUCTIONS.format(venue=venue.name), "blocks": [block], "tools": MEMORY_TOOLS + functions,
             "teams": [team["id"]]}
    venue.sid_team, venue.sid_agent = team["id"], made(tenant, "/agents", name, agent)["id"]
    db.add(venue)
    db.commit()


@dataclass(frozen=True)
class Caller:
    """A person at a venue, as Sid is asked for them."""

    headers: dict
    user: str
    agent: str
    team: str


def caller(db: Session, person: Person, venue: Venue) -> Caller:
    """Makes sure that Sid knows the person, the venue, and that the one belongs to the other."""
    tenant = organisation(db, db.get_one(Org, person.org_id))
    place(db, tenant, venue)
    if person.sid_user is None:
        person.sid_user = made(tenant, "/users", person.sid_handle, {"handle": person.sid_handle, "display_name": person.name})["id"]
        db.add(person)
    headers = {**tenant, "X-Sid-User": person.sid_user}
    member = db.get_one(Membership, (person.id, venue.id))
    if member.sid_handle != person.sid_handle:
        role = "lead" if person.is_manager else "member"
        call(tenant, "PUT", f"/teams/{venue.sid_team}/members/{person.sid_user}", {"role": role})
        secret = {"value": tool_token(person), "description": "books in the guest's name"}
        call(headers, "PUT", "/context/secrets/bookings", secret, fine=(409,))
        member.sid_handle = person.sid_handle
        db.add(member)
    db.commit()
    return Caller(headers, person.sid_user, venue.sid_agent, venue.sid_team)


# --- calls of agents into this application --------------------------------------------------------------------------------------------------


def tool_token(person: Person) -> str:
    """With it Sid calls back in this person's name. It is made from the handle, so it ends when the person is forgotten."""
    return f"{person.sid_handle}.{hmac.digest(settings.SECRET, b'tool:' + person.sid_handle.encode(), 'sha256').hex()}"


def handle_of(token: str) -> str | None:
    """Whose token it is."""
    handle, _, mac = token.partition(".")
    good = hmac.digest(settings.SECRET, b"tool:" + handle.encode(), "sha256").hex()
    return handle if hmac.compare_digest(mac.encode(), good.encode()) else None


# --- talking --------------------------------------------------------------------------------------------------------------------------------


def send(who: Caller, conversation: str, text: str, request: str) -> str:
    """Hands a message to Sid; gives the run that answers it. The same `request` again is the same run."""
    talk = call(who.headers, "POST", "/conversations", {"agent": who.agent, "user": who.user, "key": conversation}).json()
    key = hashlib.sha256(f"{who.user} {request}".encode()).hexdigest()
    path = f"/conversations/{talk['id']}/messages"
    sent = call({**who.headers, "Idempotency-Key": key}, "POST", path, {"text": text, "wait": False}, fine=(400, 422))
    if sent.status_code in (400, 422):
        raise ValueError(sent.json().get("detail", "Sid does not take it"))
    return sent.json()["run"]["id"]


async def events(who: Caller, run: str, after: int) -> AsyncIterator[tuple[int, str, dict]]:
    """The events of a run after that number, until it has ended. A restart of Sid is waited for, and nothing comes twice."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            headers = {**who.headers, "Accept": "text/event-stream", "Last-Event-ID": str(after)}
            async with streaming.stream("GET", f"/runs/{run}/events", headers=headers) as response:
                response.raise_for_status()
                name, data = "", ""
                async for line in response.aiter_lines():
                    field, _, value = line.partition(": ")
                    if field == "id":
                        number = int(value)
                    elif field == "event":
                        name = value
                    elif field == "data":
                        data = value
                    elif not line and data:
                        after, until = number, time.monotonic() + PATIENCE
                        yield number, name, json.loads(data)
                        if name == "done":
                            return
                        name, data = "", ""
        except httpx.HTTPStatusError as error:
            if error.response.status_code < 500:
                raise
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.3)


async def relay(who: Caller, run: str, after: int) -> AsyncIterator[str]:
    """What the browser gets of a run: text as it comes, and no more of Sid than that."""
    async for number, name, data in events(who, run, after):
        match name:
            case "text_delta":
                out = "text", {"text": data["text"]}
            case "message" if data["message"]["role"] == "assistant" and data["message"]["text"]:
                # What counts: it takes the place of the pieces.
                out = "said", {"text": data["message"]["text"]}
            case "tool_call":
                out = "action", {"name": data["call"]["name"].partition("-")[0]}
            case "started":
                # After a crash the model is asked anew: pieces that came since the last `said` are void.
                out = "again", {}
            case "done":
                out = "done", {"status": data["status"]}
            case _:
                continue
        yield f"id: {number}\nevent: {out[0]}\ndata: {json.dumps(out[1])}\n\n"


# --- what is remembered ---------------------------------------------------------------------------------------------------------------------


def note(who: Caller, text: str) -> None:
    """Something that all assistants of the venue should know."""
    call(who.headers, "POST", "/passages", {"owner": {"type": "team", "team": who.team}, "text": text})


def remembered(who: Caller, about: str | None) -> dict:
    """What the venue's assistant knows of the person; with `about`, what it would recall of that."""
    pair = f"owner_type=pair&agent={who.agent}&user={who.user}"
    blocks = call(who.headers, "GET", f"/blocks?{pair}").json()["items"]
    out = {"notes": [{"label": b["label"], "text": b["value"]} for b in blocks if b["value"]], "found": []}
    if about:
        query = {"query": about, "k": 10, "agent": who.agent, "user": who.user, "wait_for_index_ms": 2000}
        out["found"] = [{"text": hit["text"], "at": hit["at"]} for hit in call(who.headers, "POST", "/search", query).json()["hits"]]
    return out


def forget(db: Session, person: Person) -> None:
    """Erases the person in Sid, with all that derives from them. Bookings stay: they are the venue's."""
    if person.sid_user is not None:
        call(organisation(db, db.get_one(Org, person.org_id)), "DELETE", f"/users/{person.sid_user}", fine=(404,))
    person.sid_user, person.sid_handle = None, new_id()
    db.add(person)
    db.commit()
