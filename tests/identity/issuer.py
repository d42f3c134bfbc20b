"""A real OpenID Connect issuer on this machine: discovery, keys, the authorization code flow. `cargo xtask setup identity` brings it."""
import base64, http.client, json, logging, os, urllib.parse, warnings

# The flow is tried on this machine alone, without TLS. Read when authlib is imported.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
with warnings.catch_warnings():
    # Of authlib, about its own future.
    warnings.simplefilter("ignore")
    import oidc_provider_mock

# Each request of the flow would stand between the names of the tests.
logging.getLogger("werkzeug").setLevel(logging.ERROR)

CALLBACK = "https://app.example/callback"


class Issuer:
    """
    with Issuer() as issuer:
        token = issuer.token("ann", {"name": "Ann"}, audience="sid")
    """

    def __enter__(self):
        self.context = oidc_provider_mock.run_server_in_thread()
        self.port = self.context.__enter__().server_port
        self.url = f"http://localhost:{self.port}"
        return self

    def __exit__(self, *error):
        self.context.__exit__(*error)

    def call(self, method, url, body=None, headers=None):
        """-> (status, headers, text)"""
        u = urllib.parse.urlsplit(url)
        c = http.client.HTTPConnection(u.hostname, u.port, timeout=30)
        try:
            c.request(method, u.path + ("?" + u.query if u.query else ""), body, headers or {})
            r = c.getresponse()
            return r.status, r.headers, r.read().decode()
        finally:
            c.close()

    def discovered(self):
        return json.loads(self.call("GET", f"{self.url}/.well-known/openid-configuration")[2])

    def set_claims(self, subject, claims):
        path = f"{self.url}/users/{urllib.parse.quote(subject, safe='')}"
        status, _, text = self.call("PUT", path, json.dumps(claims), {"content-type": "application/json"})
        assert status == 204, text

    def token(self, subject, claims=None, audience="sid"):
        """Signs a person in, as a browser and an application would; gives the ID token, whose audience is the application."""
        if claims is not None:
            self.set_claims(subject, claims)
        places = self.discovered()
        query = urllib.parse.urlencode({"client_id": audience, "redirect_uri": CALLBACK, "response_type": "code", "scope": "openid profile email",
                                        "state": "s", "nonce": "n"})
        form = {"content-type": "application/x-www-form-urlencoded"}
        status, headers, text = self.call("POST", f"{places['authorization_endpoint']}?{query}", urllib.parse.urlencode({"sub": subject}), form)
        assert status == 302, text
        code = urllib.parse.parse_qs(urllib.parse.urlsplit(headers["location"]).query)["code"][0]
        body = urllib.parse.urlencode({"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK})
        basic = base64.b64encode(f"{audience}:secret".encode()).decode()
        status, _, text = self.call("POST", places["token_endpoint"], body, {**form, "authorization": f"Basic {basic}"})
        assert status == 200, text
        return json.loads(text)["id_token"]


def part(token, index):
    """The header (0) or the claims (1) of a token."""
    text = token.split(".")[index]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
