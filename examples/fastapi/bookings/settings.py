"""What the environment says; there is nothing else to configure."""
import os

DATABASE = os.environ.get("APP_DATABASE", "bookings.db")
# Signs the tokens with which Sid calls back. Whoever has it can book for everybody.
SECRET = os.environ["APP_SECRET"].encode()
# Where Sid reaches this application.
APP_URL = os.environ.get("APP_URL", "http://127.0.0.1:8000").rstrip("/")
SID_URL = os.environ.get("SID_URL", "http://127.0.0.1:8700").rstrip("/")
# An operator's key: makes a tenant for each organisation, and nothing else.
SID_KEY = os.environ["SID_KEY"]
