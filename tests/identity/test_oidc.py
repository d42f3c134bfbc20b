"""Tokens of a real issuer against a real server: who gets in, as whom, with what; and every kind of token that must not."""
import base64, hashlib, hmac, json, time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from harness.case import Case
from issuer import Issuer, part


def encoded(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Oidc(Case):
    settings = {}

    @classmethod
    def setUpClass(cls):
        cls.issuer = cls.enter(Issuer())
        usual = {"issuer": cls.issuer.url, "audience": ["sid", "https://sid.example.org"], "tenant": "default", "teams_claim": "groups", "sync_teams": True,
                 "role_claim": "realm.roles", "roles": ["boss=owner", "eyes=read-only"]}
        cls.config = {"auth": {"oidc": {"local": {**usual, **cls.settings}}}}
        super().setUpClass()
        cls.api.post("/agents", {"name": "helper"})

    def showing(self, token):
        return self.api.showing(token)

    def signed_in(self, subject, claims=None, **more):
        return self.showing(self.issuer.token(subject, claims if claims is not None else {"name": subject.title()}, **more))


class SignedIn(Oidc):
    def test_a_token_is_a_user(self):
        ann = self.signed_in("ann", {"name": "Ann Example"})
        self.assertEqual([(u["handle"], u["display_name"]) for u in ann.all("/users")], [("ann", "Ann Example")])
        talk = ann.post("/conversations", {"agent": "@helper"})["id"]
        self.assertEqual(ann.post(f"/conversations/{talk}/messages", {"text": "hello"})["reply"], "Understood.")
        bob = self.signed_in("bob")
        self.refused(404, bob.get, f"/conversations/{talk}")
        self.refused(403, ann.post, "/users", {"handle": "x"})
        self.refused(403, ann.get, "/tenants")
        # The same person with another token, and as one of its assistants.
        self.assertEqual(self.signed_in("ann").get(f"/conversations/{talk}")["id"], talk)
        self.assertEqual(ann.acting(agent="helper").get(f"/conversations/{talk}")["id"], talk)
        self.refused(403, ann.acting(user="bob").get, "/agents")
        # The OpenAI door takes it too, in either spelling.
        said = {"model": "helper", "messages": [{"role": "user", "content": "hi"}]}
        self.assertEqual(ann.call("POST", "/v1/chat/completions", said)["choices"][0]["message"]["content"], "Understood.")
        self.assertEqual(self.showing(None).raw("GET", "/v1/models", headers={"x-api-key": ann.key})[0], 200)
        entries = [e for e in ann.all("/audit") if e["operation"] == "send_message"]
        self.assertEqual(len(entries), 1)
        self.assertNotIn(ann.key.split(".")[2], self.server.text(), "no token in the log")

    def test_roles_and_scopes_come_from_claims(self):
        looking = self.signed_in("lena", {"realm": {"roles": ["other", "eyes"]}})
        self.assertEqual(looking.raw("GET", "/agents")[0], 200)
        self.refused(403, looking.post, "/conversations", {"agent": "@helper"})
        boss = self.signed_in("mia", {"realm": {"roles": ["boss"]}})
        made = boss.post("/keys", {"name": "own", "role": {"type": "user", "user": "@mia"}})
        self.assertEqual(self.showing(made["key"]).raw("GET", "/agents")[0], 200)
        self.refused(403, boss.post, "/keys", {"name": "x", "role": {"type": "tenant"}})
        plain = self.signed_in("nora", {"realm": {"roles": ["owner"]}})
        self.refused(403, plain.get, "/keys")
        cut = self.signed_in("olga", {"scope": "openid sid:directory-read"})
        self.assertEqual(cut.raw("GET", "/agents")[0], 200)
        error = self.refused(403, cut.post, "/conversations", {"agent": "@helper"})
        self.assertIn("sid:chat", error.headers["www-authenticate"])

    def test_teams_follow_the_claim(self):
        for team in ("red", "blue"):
            self.api.post("/teams", {"name": team})
        crew = lambda: {team: [m["handle"] for m in self.api.get(f"/teams/@{team}/members")["items"]] for team in ("red", "blue")}
        self.signed_in("pia", {"groups": ["red", "no-such-team"]}).get("/agents")
        self.assertEqual(crew(), {"red": ["pia"], "blue": []})
        self.signed_in("pia", {"groups": ["blue"]}).get("/agents")
        self.assertEqual(crew(), {"red": [], "blue": ["pia"]})
        self.signed_in("pia", {"name": "Pia"}).get("/agents")
        self.assertEqual(crew(), {"red": [], "blue": ["pia"]}, "no claim changes nothing")
        self.signed_in("pia", {"groups": []}).get("/agents")
        self.assertEqual(crew(), {"red": [], "blue": []})

    def test_erasing_a_user_is_noticed_at_once(self):
        quinn = self.signed_in("quinn")
        before = next(quinn.all("/users"))["id"]
        talk = quinn.post("/conversations", {"agent": "@helper"})["id"]
        self.api.delete("/users/@quinn")
        # The token is good still: it makes the person anew, with nothing.
        self.assertNotEqual(next(quinn.all("/users"))["id"], before)
        self.refused(404, quinn.get, f"/conversations/{talk}")

    def test_a_401_says_where_to_get_a_token(self):
        status, headers, _ = self.showing(None).raw("GET", "/agents")
        self.assertEqual(status, 401)
        place = f"{self.server.url}/.well-known/oauth-protected-resource"
        self.assertIn(f'resource_metadata="{place}"', headers["www-authenticate"])
        status, _, text = self.issuer.call("GET", place)
        document = json.loads(text)
        self.assertEqual((status, document["resource"], document["authorization_servers"]), (200, self.server.url, [self.issuer.url]))
        self.assertEqual(document["bearer_methods_supported"], ["header"])
        self.assertIn("sid:memory-read", document["scopes_supported"])
        self.assertNotIn("sid:operate", document["scopes_supported"])
        # The MCP door is a resource of its own.
        status, headers, _ = self.issuer.call("POST", f"{self.server.url}/mcp", "{}", {"content-type": "application/json"})
        self.assertEqual(status, 401)
        self.assertIn(f'resource_metadata="{place}/mcp"', headers["www-authenticate"])
        self.assertEqual(json.loads(self.issuer.call("GET", f"{place}/mcp")[2])["resource"], f"{self.server.url}/mcp")
        token = self.issuer.token("ann")
        self.assertEqual(self.showing(None).raw("GET", f"/api/v1/agents?access_token={token}")[0], 401)

    def test_keys_go_on_beside_tokens(self):
        self.assertEqual(self.api.raw("GET", "/agents")[0], 200)


class Forged(Oidc):
    """Tokens that look like the issuer's. `good` is one; each test changes one thing."""

    def setUp(self):
        super().setUp()
        self.good = self.issuer.token("eve", {"name": "Eve"})
        self.jwk = json.loads(self.issuer.call("GET", self.issuer.discovered()["jwks_uri"])[2])["keys"][0]
        self.header, self.claims = {**part(self.good, 0), "kid": self.jwk["kid"]}, part(self.good, 1)
        self.assertEqual(self.showing(self.good).raw("GET", "/agents")[0], 200, "it is good")
        self.pair = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def sign(self, header, claims, pair=None):
        message = f"{encoded(header)}.{encoded(claims)}"
        signature = (pair or self.pair).sign(message.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{message}.{encoded(signature)}"

    def assert_refused(self, token, *words):
        error = self.refused(401, self.showing(token).get, "/agents")
        for word in words:
            self.assertIn(word, error.problem["detail"])
        self.assertIn("Bearer", error.headers["www-authenticate"])

    def own_jwk(self):
        n = self.pair.public_key().public_numbers()
        number = lambda v: encoded(v.to_bytes((v.bit_length() + 7) // 8, "big"))
        return {"kty": "RSA", "n": number(n.n), "e": number(n.e), "kid": self.header["kid"], "alg": "RS256", "use": "sig"}

    def test_other_keys(self):
        self.assert_refused(self.sign(self.header, self.claims), "signature")
        self.assert_refused(self.sign({**self.header, "jwk": self.own_jwk()}, self.claims), "signature")
        self.assert_refused(self.sign({**self.header, "jku": "http://localhost:1/keys"}, self.claims), "signature")
        self.assert_refused(self.sign({**self.header, "x5u": "http://localhost:1/cert"}, self.claims), "signature")
        self.assert_refused(self.sign({**self.header, "kid": "another"}, self.claims), "publish")
        self.assert_refused(self.sign({k: v for k, v in self.header.items() if k != "kid"}, self.claims), "signature")

    def test_no_signature(self):
        for none in ("none", "None", "NONE"):
            self.assert_refused(f"{encoded({**self.header, 'alg': none})}.{encoded(self.claims)}.")
        header, claims, signature = self.good.split(".")
        self.assert_refused(f"{header}.{claims}.")
        self.assert_refused(f"{header}.{encoded({**self.claims, 'sub': 'ann'})}.{signature}", "signature")
        self.assert_refused(f"{header}.{claims}.{signature[:-2]}AA")

    def test_hmac_with_the_public_key(self):
        jwks = self.jwk
        number = lambda text: int.from_bytes(base64.urlsafe_b64decode(text + "=="), "big")
        public = rsa.RSAPublicNumbers(number(jwks["e"]), number(jwks["n"])).public_key()
        secrets = [public.public_bytes(e, f) for e in (serialization.Encoding.PEM, serialization.Encoding.DER)
                   for f in (serialization.PublicFormat.SubjectPublicKeyInfo, serialization.PublicFormat.PKCS1)]
        secrets += [jwks["n"].encode(), json.dumps(jwks).encode()]
        for alg, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
            for secret in secrets:
                message = f"{encoded({**self.header, 'alg': alg})}.{encoded(self.claims)}"
                self.assert_refused(f"{message}.{encoded(hmac.new(secret, message.encode(), digest).digest())}", "not taken")

    def test_another_audience(self):
        self.assert_refused(self.issuer.token("eve", audience="other"), "another service")

    def test_another_issuer(self):
        with Issuer() as other:
            self.assert_refused(other.token("eve"), "issuer")

    def test_what_is_no_token(self):
        for bad in ("a.b.c", "..", "eyJ.eyJ.x", self.good + ".x", self.good.replace(".", "~"), "null", self.good + "=", "A" * 20_000):
            self.assert_refused(bad)
        self.refused(401, self.showing(self.good).call, "GET", "/agents", None, {"x-api-key": self.api.key})


class NobodyIsMade(Oidc):
    settings = {"create_users": False, "user_prefix": "corp:", "require_scopes": True}

    def test_only_who_is_there_gets_in(self):
        self.refused(403, self.signed_in("zoe", {"scope": "sid:directory-read"}).get, "/agents")
        self.api.post("/users", {"handle": "corp:zoe"})
        self.assertEqual([u["handle"] for u in self.signed_in("zoe", {"scope": "sid:directory-read"}).all("/users")], ["corp:zoe"])
        self.refused(403, self.signed_in("zoe", {"scope": "openid"}).get, "/agents")


class IssuerIsGone(Case):
    config = {"auth": {"oidc": {"gone": {"issuer": "http://127.0.0.1:1", "audience": ["sid"], "tenant": "default"}}}}

    def test_tokens_wait_and_keys_go_on(self):
        claims = {"iss": "http://127.0.0.1:1", "aud": "sid", "sub": "ann", "exp": int(time.time()) + 60}
        token = f"{encoded({'alg': 'RS256', 'kid': 'x'})}.{encoded(claims)}.{encoded(b'x' * 256)}"
        error = self.refused(503, self.api.showing(token).get, "/agents")
        self.assertEqual((error.code, error.headers["retry-after"]), ("SID-API-ISSUER-UNAVAILABLE", "5"))
        self.assertEqual(self.api.raw("GET", "/agents")[0], 200)
