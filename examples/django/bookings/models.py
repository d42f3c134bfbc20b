"""Organisations, venues, people and bookings; and what each of them is in Sid."""
import uuid

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import UserManager
from django.db import models


def new_id() -> str:
    return uuid.uuid4().hex


class Org(models.Model):
    id = models.CharField(primary_key=True, max_length=32, default=new_id)
    name = models.CharField(max_length=80, unique=True)
    # A key of the organisation's tenant. Guard this table as you guard passwords.
    sid_key = models.CharField(max_length=200, null=True)


class Venue(models.Model):
    id = models.CharField(primary_key=True, max_length=32, default=new_id)
    org = models.ForeignKey(Org, models.CASCADE)
    name = models.CharField(max_length=80)
    seats = models.PositiveIntegerField(default=20)
    sid_team = models.CharField(max_length=60, null=True)
    sid_agent = models.CharField(max_length=60, null=True)


class Person(AbstractBaseUser):
    """The user of `django.contrib.auth`. Names are those of an organisation, so the id is what Django calls the username."""

    USERNAME_FIELD = "id"
    objects = UserManager()

    id = models.CharField(primary_key=True, max_length=32, default=new_id)
    org = models.ForeignKey(Org, models.CASCADE)
    name = models.CharField(max_length=80)
    is_manager = models.BooleanField(default=False)
    venues = models.ManyToManyField(Venue, through="Membership")
    # Who they are in Sid. A new handle when they were forgotten: nothing leads from the new one to the old.
    sid_handle = models.CharField(max_length=32, default=new_id, unique=True)
    sid_user = models.CharField(max_length=60, null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["org", "name"], name="one_name_in_an_organisation")]


class Membership(models.Model):
    person = models.ForeignKey(Person, models.CASCADE)
    venue = models.ForeignKey(Venue, models.CASCADE)
    # For which of the person's handles Sid was told.
    sid_handle = models.CharField(max_length=32, null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["person", "venue"], name="a_member_once")]


class Booking(models.Model):
    venue = models.ForeignKey(Venue, models.CASCADE)
    person = models.ForeignKey(Person, models.CASCADE)
    day = models.DateField()
    guests = models.PositiveIntegerField()
    note = models.CharField(max_length=500, blank=True)
    is_cancelled = models.BooleanField(default=False)
    request = models.CharField(max_length=200)

    class Meta:
        # A call of the assistant that is repeated has the same token, and books nothing more.
        constraints = [models.UniqueConstraint(fields=["venue", "request"], name="a_request_once")]

    def shown(self) -> dict:
        return {"id": self.id, "day": self.day.isoformat(), "guests": self.guests, "note": self.note, "cancelled": self.is_cancelled}
