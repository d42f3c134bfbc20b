"""What may come in, as forms over the body's JSON."""
import json

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator


class Name(forms.CharField):
    def __init__(self, **more):
        super().__init__(min_length=1, max_length=80, **more)


class Password(forms.CharField):
    def __init__(self, **more):
        super().__init__(min_length=8, max_length=200, strip=False, **more)


class Text(forms.CharField):
    """A text, and nothing that is made one."""

    def to_python(self, value):
        if value is not None and not isinstance(value, str):
            raise ValidationError("This is not a text.")
        return super().to_python(value)


class Account(forms.Form):
    org, name, password = Name(), Name(), Password()


class NewVenue(forms.Form):
    name = Name()


class NewPerson(forms.Form):
    name, password, venues = Name(), Password(), forms.JSONField(required=False)

    def clean_venues(self):
        venues = self.cleaned_data["venues"] or []
        if not isinstance(venues, list) or not all(isinstance(v, str) for v in venues):
            raise ValidationError("This is not a list of venues.")
        return venues


class Said(forms.Form):
    text = Text(max_length=20_000)
    conversation = forms.CharField(required=False, validators=[RegexValidator(r"^[A-Za-z0-9_-]{1,60}\Z")])


class Note(forms.Form):
    text = Text(max_length=2_000)


class Table(forms.Form):
    day = forms.DateField(input_formats=["%Y-%m-%d"])
    guests = forms.IntegerField(min_value=1)
    note = Text(required=False, max_length=500)


class Which(forms.Form):
    booking = forms.IntegerField()


def read(form: type[forms.Form], request) -> dict:
    """The body, checked. Errors: `ValidationError` that names each field."""
    try:
        body = json.loads(request.body)
    except ValueError:
        raise ValidationError("The body is not JSON.") from None
    if request.content_type != "application/json" or not isinstance(body, dict):
        raise ValidationError("The body is not a JSON object.")
    if unknown := body.keys() - form.base_fields.keys():
        raise ValidationError(f"There is no {', '.join(sorted(unknown))}.")
    form = form(body)
    if not form.is_valid():
        raise ValidationError(form.errors.as_data())
    return form.cleaned_data
