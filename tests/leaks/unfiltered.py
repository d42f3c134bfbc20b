"""Between a server and its Postgres: every statement loses what the application filters by tenant, so that row-level security is left alone.

What filters inside the schema's own functions is taken out in the database: `open_functions`.
"""
import os, re, socket, struct, tempfile, threading, urllib.parse

from harness import reaper

# In a statement, the tenant of the scope is always its first parameter; in a function it has a name.
IN_STATEMENT = re.compile(rb"\b(?:\w+\.)?tenant = \$1(?!\d)")
IN_FUNCTION = re.compile(r"\b(?:\w+\.)?tenant = (p_tenant|sid\.tenant\(\))")


def unfiltered(statement):
    """The statement without its tenant, which stays a parameter: parameters are counted."""
    return IN_STATEMENT.sub(b"$1::uuid IS NOT NULL", statement)


def open_functions(database):
    """Takes the filter out of all functions that run as the server's own role; gives how many had one."""
    names = database.sql("SELECT p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'sid' AND NOT p.prosecdef AND p.prokind = 'f'")
    count = 0
    for oid in names.split():
        text = database.sql(f"SELECT pg_get_functiondef({oid})")
        opened, n = IN_FUNCTION.subn(lambda found: f"{found[1]} IS NOT NULL", text)
        if n:
            database.sql(opened)
            count += 1
    return count


class Unfiltered:
    """A database as it looks through the proxy: `url` goes through it, `statements` counts those that lost a filter."""

    def __init__(self, database):
        self.database, self.admin_url, self.name = database, database.admin_url, database.name
        url = urllib.parse.urlsplit(database.url)
        role, _, folder = url.netloc.partition("@")
        self.target = urllib.parse.unquote(folder) + "/.s.PGSQL.5432"
        self.folder = tempfile.mkdtemp(prefix="sid-unf-")
        reaper.remove_later(self.folder)
        self.url = f"postgres://{role}@{urllib.parse.quote(self.folder, safe='')}{url.path}"
        self.statements, self.lock = 0, threading.Lock()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.path.join(self.folder, ".s.PGSQL.5432"))
        self.listener.listen(128)
        threading.Thread(target=self.accept, daemon=True).start()

    def sql(self, statement):
        return self.database.sql(statement)

    def drop(self):
        self.listener.close()
        self.database.drop()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self.target)
            threading.Thread(target=self.forward, args=(client, server), daemon=True).start()
            threading.Thread(target=pipe, args=(server, client), daemon=True).start()

    def forward(self, client, server):
        """Messages of the client's: the first has no type, `P` (parse) and `Q` (query) carry a statement."""
        reading = client.makefile("rb")
        try:
            while True:
                size = struct.unpack("!I", exactly(reading, 4))[0]
                head, rest = struct.pack("!I", size), exactly(reading, size - 4)
                server.sendall(head + rest)
                if struct.unpack("!I", rest[:4])[0] == 196608:
                    break
            while True:
                kind, size = struct.unpack("!cI", exactly(reading, 5))
                body = exactly(reading, size - 4)
                if kind == b"P":
                    name, statement, rest = body.split(b"\0", 2)
                    body = b"\0".join([name, self.changed(statement), rest])
                elif kind == b"Q":
                    body = self.changed(body[:-1]) + b"\0"
                server.sendall(kind + struct.pack("!I", len(body) + 4) + body)
        except (OSError, EOFError):
            close(server), close(client)

    def changed(self, statement):
        without = unfiltered(statement)
        if without != statement:
            with self.lock:
                self.statements += 1
        return without


def exactly(reading, size):
    data = reading.read(size)
    if len(data) < size:
        raise EOFError
    return data


def pipe(source, target):
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:
        pass
    close(target), close(source)


def close(end):
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    end.close()
