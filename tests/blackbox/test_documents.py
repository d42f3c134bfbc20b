"""Documents over REST: brought, read in the background, searched, cited by an agent, seen by their people alone, and gone with them."""
import json, urllib.parse

import test_tools
from harness.api import user_key
from harness.case import Case
from harness.waiting import until

HANDBOOK = "# Handbook\n\nBe kind.\n\n## Holidays\n\nEverybody has 31 days of holidays, but for the gherkin season.\n\n## Keys\n\nThe spare key hangs behind the mailbox.\n"


def pdf(*pages):
    """A PDF written by hand, a line a page."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} /MediaBox [0 0 612 792] >>",
               "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"]
    for n, text in enumerate(pages):
        content = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET"
        objects += [f"<< /Type /Page /Parent 2 0 R /Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * n} 0 R >>",
                    f"<< /Length {len(content)} >>\nstream\n{content}\nendstream"]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode() + b"".join(f"{o:010} 00000 n \n".encode() for o in offsets)
    return out + f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n".encode()


def add(api, content, title, **query):
    """-> the document as it was kept."""
    content = content.encode() if isinstance(content, str) else content
    return api.call("POST", "/documents?" + urllib.parse.urlencode({"title": title, **query}), content, headers={"content-type": "application/octet-stream"})


class Documents(Case):
    ask = test_tools.Tools.ask
    config = {"documents": {"max_bytes": 200_000, "read_ms": 5_000}}

    def setUp(self):
        super().setUp()
        self.inside = self.tenant(users=("ann", "bob"))
        self.ann, self.bob = (self.api.acting(key=user_key(self.api, self.inside.tenant, name)) for name in ("ann", "bob"))

    def read(self, api, document):
        return until("it is read", lambda: (known := api.get(f"/documents/{document['id']}"))["status"] != "reading" and known)

    def found(self, api, query, **more):
        return [(h["citation"]["cite"], h["excerpt"]) for h in api.post("/documents/search", {"query": query, **more})["hits"]]

    def test_what_a_document_says_is_found_and_cited(self):
        kept = add(self.ann, HANDBOOK, "handbook.md")
        self.assertEqual((kept["format"], kept["owner"]["type"], kept["version"]), ("markdown", "user", 1))
        ready = self.read(self.ann, kept)
        self.assertEqual((ready["status"], ready["parts"], ready["problem"]), ("ready", 3, None))
        cite, excerpt = self.found(self.ann, "how many days of holidays")[0]
        self.assertEqual(cite, "[handbook.md, Handbook > Holidays]")
        self.assertIn("31 days", excerpt)
        text = self.ann.get(f"/documents/{kept['id']}/text?part=3")
        self.assertIn("behind the mailbox", text["items"][0]["text"])
        self.assertEqual((text["next"], text["items"][0]["citation"]["heading"]), (None, ["Handbook", "Keys"]))
        status, headers, content = self.ann.raw("GET", f"/documents/{kept['id']}/content")
        self.assertEqual((status, content.decode(), headers["content-disposition"], headers["x-content-type-options"]), (200, HANDBOOK, "attachment", "nosniff"))
        # An agent of hers: by its functions, and by recall without any.
        self.inside.patch("/agents/@helper", {"tools": ["list_documents", "search_documents", "open_document"]})
        said = self.ask("search_documents", {"query": "holidays in gherkin season"})
        self.assertIn("[handbook.md, Handbook > Holidays]", said)
        self.assertIn("31 days", self.ask("open_document", {"document": "handbook.md", "part": 2}))
        self.assertIn(kept["id"], self.ask("list_documents", {}))
        self.model.answer = lambda request: "Noted."
        self.ann.post("/conversations", {"agent": "@helper", "key": "fresh"})
        self.inside.post(f"/conversations/{self.talk(self.inside, key='fresh')}/messages", {"text": "How many days of holidays does everybody have?"})
        self.assertIn("[handbook.md, Handbook > Holidays]", json.dumps(self.model.requests[-1], ensure_ascii=False))
        # What it has read is from outside, and the run knows.
        notes = [m for m in self.inside.all(f"/conversations/{self.talk(self.inside)}/messages") if m["role"] == "tool"]
        self.assertTrue(all(any(s["channel"] == "import" for s in m["untrusted"]) for m in notes), notes)

    def test_a_pdf_is_cited_by_page(self):
        ready = self.read(self.ann, add(self.ann, pdf("Be kind to each other.", "The gherkin season begins in July.", "Goodbye."), "rules.pdf"))
        self.assertEqual((ready["status"], ready["pages"], ready["parts"]), ("ready", 3, 3))
        self.assertEqual(self.found(self.ann, "when does the gherkin season begin", document=ready["id"])[0][0], "[rules.pdf, page 2]")
        self.assertIn("Goodbye", self.ann.get(f"/documents/{ready['id']}/text?page=3")["items"][0]["text"])

    def test_the_same_bytes_are_one_document_and_new_ones_take_their_place(self):
        first = self.read(self.ann, add(self.ann, "The gherkin is green.", "a.txt"))
        self.assertEqual(add(self.ann, "The gherkin is green.", "b.txt")["id"], first["id"])
        self.assertEqual(len(self.ann.get("/documents")["items"]), 1)
        next_one = self.ann.call("PUT", f"/documents/{first['id']}", b"The gherkin is yellow.", headers={"content-type": "application/octet-stream"})
        self.assertEqual((next_one["id"], next_one["version"], next_one["title"]), (first["id"], 2, "a.txt"))
        self.read(self.ann, next_one)
        self.assertEqual([e for _, e in self.found(self.ann, "gherkin")], ["The gherkin is yellow."])
        self.ann.delete(f"/documents/{first['id']}")
        self.assertEqual(self.found(self.ann, "gherkin"), [])
        self.refused(404, self.ann.get, f"/documents/{first['id']}")

    def test_nobody_else_sees_it(self):
        kept = self.read(self.ann, add(self.ann, HANDBOOK, "handbook.md"))
        other = self.api.acting(tenant=self.inside.tenant)
        self.assertEqual((self.bob.get("/documents")["items"], self.found(self.bob, "holidays")), ([], []))
        for path in ("", "/text", "/content"):
            self.refused(404, self.bob.get, f"/documents/{kept['id']}{path}")
        self.refused(404, self.bob.delete, f"/documents/{kept['id']}")
        self.refused(404, self.bob.post, "/documents/search", {"query": "holidays", "document": kept["id"]})
        self.assertEqual(self.refused(404, self.bob.get, f"/documents/{kept['id']}").problem["detail"], self.refused(404, self.bob.get, "/documents/doc_" + "0" * 26).problem["detail"])
        shared = self.read(other, add(other, "The spare key is for all.", "all.txt", owner_type="tenant"))
        self.assertEqual([d["id"] for d in self.bob.get("/documents")["items"]], [shared["id"]])
        self.refused((403, 404), self.bob.delete, f"/documents/{shared['id']}")
        part = self.ann.get("/passages?owner_type=user&user=@ann")["items"][0]
        self.assertEqual(part["provenance"]["citation"]["document"], kept["id"])
        self.refused((400, 422), self.ann.delete, f"/passages/{part['id']}")
        self.inside.delete("/users/@ann")
        self.refused(404, other.get, f"/documents/{kept['id']}")

    def test_what_cannot_be_read_says_why(self):
        for content, title, why in ((b"%PDF-1.4\nnothing", "a.pdf", "cannot be read as PDF"), (b"\xff\xfe\x00", "a.txt", "UTF-8"), (b" \n ", "b.txt", "no text")):
            failed = self.read(self.ann, add(self.ann, content, title))
            self.assertEqual(failed["status"], "failed", failed)
            self.assertIn(why, failed["problem"])
        # Brought once more, it is tried once more.
        again = self.read(self.ann, add(self.ann, content, title))
        self.assertEqual((again["id"], again["status"], again["version"]), (failed["id"], "failed", 2))
        many = self.read(self.ann, add(self.ann, "# A\nx\n" * 10_001, "headings.md"))
        self.assertIn("10000 are the most", many["problem"])
        self.refused(413, add, self.ann, b"x" * 200_001, "c.txt")
        self.refused(400, add, self.ann, b"x", "what.bin")
        self.refused(400, add, self.ann, b"", "d.txt")
        self.refused(400, add, self.ann, b"x", " ")

    def test_a_document_that_loops_ends_its_reader_and_nothing_else(self):
        loop = pdf("x").replace(b"/Kids [4 0 R] /Count 1 /MediaBox [0 0 612 792]", b"/Kids [4 0 R] /Count 1 /Parent  2 0 R  /Xyz  [0 0]")
        self.assertEqual(self.read(self.ann, add(self.ann, loop, "loop.pdf"))["status"], "failed")
        self.assertEqual(self.read(self.ann, add(self.ann, "Still here.", "a.txt"))["status"], "ready")

    def test_a_kill_while_documents_are_read_loses_none_and_shows_none_in_half(self):
        kept = [add(self.ann, f"# Note {n}\n\n" + "\n\n".join(f"## Part {p}\n\nGherkin {n} and {p}." for p in range(40)), f"{n}.md") for n in range(12)]
        self.server.kill()
        self.server.start()
        for document in kept:
            known = self.ann.get(f"/documents/{document['id']}")
            self.assertIn(known["parts"], (0, 40))
        # One that was held by the reader that was killed waits until nobody can be at it.
        self.assertTrue(all(self.read(self.ann, d)["parts"] == 40 for d in kept))
        self.assertEqual(len(list(self.ann.all("/passages", owner_type="user", user="@ann"))), 12 * 40)
