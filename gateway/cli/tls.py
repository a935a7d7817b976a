"""redcar tls: certificates for the listeners, made on this machine."""

import argparse
import ipaddress
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.cli.common import several

_CA_DAYS, _DAYS = 3650, 825  # browsers and phones refuse server certificates that last longer
_REVOKED = "revoked.crl"
_ISSUED = "issued"
"""What the CA has made, in the form of openssl's ca command: R or V, end, when it was revoked, serial, file, subject."""

_CA = """\
[ca]
default_ca = own
[own]
database = {issued}
unique_subject = no
default_md = sha256
default_crl_days = {days}
"""


def register(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "tls",
        help="make certificates for the listeners",
        epilog="examples:\n"
        "  redcar tls init                          in tls/: a CA and a certificate for this machine's names\n"
        "  redcar tls init --name gateway.lan --name 192.168.1.7\n"
        "  redcar tls client kitchen                a certificate that is the user kitchen\n"
        "  redcar tls revoke kitchen                it is stolen or not in use any more: it doesn't let in any longer",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    init = actions.add_parser("init", help="a CA and a server certificate; existing files stay")
    init.add_argument("--name", action="append", default=[], help="name or address by which clients reach this machine")
    init.set_defaults(run=_init)
    client = actions.add_parser("client", help="a client certificate of the same CA")
    client.add_argument("user", help="the user that the client will be")
    client.set_defaults(run=_client)
    revoke = actions.add_parser("revoke", help="shut out every certificate that a user was given so far")
    revoke.add_argument("user", help="the user whose certificates don't let in any more")
    revoke.set_defaults(run=_revoke)
    for one in (init, client, revoke):
        one.add_argument("--folder", type=Path, default=Path("tls"), help="where the files are; ./tls if left out")


def _init(args: argparse.Namespace) -> int:
    folder: Path = args.folder
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    host = socket.gethostname()
    names = list(dict.fromkeys([host, f"{host}.local", "localhost", "127.0.0.1", "::1", *args.name]))
    if not (folder / "ca.crt").exists():
        made = _openssl(
            *("req", "-x509", *_new_key(folder / "ca.key"), "-out", str(folder / "ca.crt"), "-days", str(_CA_DAYS)),
            *("-subj", f"/CN=Redcar CA of {host[:40]}"),
            *("-addext", "basicConstraints=critical,CA:TRUE,pathlen:0"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )
        if made:
            return made
    kind = "extendedKeyUsage=serverAuth\nsubjectAltName=" + ",".join(map(_alternative, names))
    made = _signed(folder, "server", host, kind) or _list_revoked(folder)
    if made:
        return made
    print(f"{folder}/ca.crt      give this to clients")
    print(f"{folder}/server.crt  valid for {', '.join(names)}")
    print('\nIn redcar.toml:\n\n[[listener]]\naddress = "0.0.0.0"\nport = 8883')
    print(f'certificate = "{folder}/server.crt"\nkey = "{folder}/server.key"')
    return 0


def _client(args: argparse.Namespace) -> int:
    from gateway.hub.users import is_name

    folder: Path = args.folder
    if not is_name(args.user):
        print(
            f"{args.user!r} can't be a user's name: use up to 64 characters other than + # / and blanks",
            file=sys.stderr,
        )
        return 2
    if not (folder / "ca.key").exists():
        print(f"{folder} holds no CA: run redcar tls init first", file=sys.stderr)
        return 3
    made = _signed(folder, f"client-{args.user}", args.user, "extendedKeyUsage=clientAuth")
    if not made:
        print(f"{folder}/client-{args.user}.crt and .key are for the client")
        print("\nIn redcar.toml, with the listener's certificate and key:\n")
        print(f'client_ca = "{folder}/ca.crt"\nclient_crl = "{folder}/{_REVOKED}"')
    return made


def _revoke(args: argparse.Namespace) -> int:
    """A running gateway sees the new list and asks everybody at listeners with client_ca to come in again."""
    folder: Path = args.folder
    issued, subject = folder / _ISSUED, f"/CN={args.user}"
    lines = issued.read_text().splitlines() if issued.exists() else []
    now, found = _time(datetime.now(UTC)), 0
    for index, line in enumerate(lines):
        state, end, _, serial, file, whose = line.split("\t")
        if state == "V" and whose == subject:
            lines[index] = "\t".join(("R", end, now, serial, file, whose))
            found += 1
    if not found:
        print(f"{folder} holds no certificate of {args.user} that isn't revoked already", file=sys.stderr)
        return 1
    issued.write_text("".join(f"{line}\n" for line in lines))
    for end in ("crt", "key"):
        (folder / f"client-{args.user}.{end}").unlink(missing_ok=True)
    made = _list_revoked(folder)
    if not made:
        print(f"{several(found, 'certificate')} of {args.user} revoked; redcar tls client {args.user} makes another")
        print(f'\nIn redcar.toml, with client_ca, if it isn\'t there yet:\n\nclient_crl = "{folder}/{_REVOKED}"')
    return made


def _list_revoked(folder: Path) -> int:
    """The list of revoked certificates, signed by the CA: all or nothing, a gateway may be reading it."""
    issued, setup, fresh = folder / _ISSUED, folder / "crl.cnf", folder / f"{_REVOKED}.new"
    issued.touch(mode=0o600)
    setup.write_text(_CA.format(issued=issued, days=_CA_DAYS))
    own = ("-cert", str(folder / "ca.crt"), "-keyfile", str(folder / "ca.key"))
    try:
        made = _openssl("ca", "-config", str(setup), "-gencrl", *own, "-out", str(fresh))
        if not made:
            fresh.replace(folder / _REVOKED)
        return made
    finally:
        setup.unlink()


def _time(moment: datetime) -> str:
    return f"{moment:%y%m%d%H%M%SZ}"


def _new_key(file: Path) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(file))


def _signed(folder: Path, name: str, subject: str, kind: str) -> int:
    """A key and a certificate of the CA; 0 if that worked, or the files are there already."""
    key, request, certificate = (folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
    if certificate.exists():
        cure = f"redcar tls revoke {subject}" if name != "server" else "delete it to get a new one"
        print(f"{certificate} is there already: {cure}", file=sys.stderr)
        return 1
    extensions, serial = folder / f"{name}.ext", os.urandom(16).hex().upper()
    extensions.write_text(f"basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n{kind}\n")
    end = _time(datetime.now(UTC) + timedelta(days=_DAYS))
    with (folder / _ISSUED).open("a") as issued:  # first: what isn't on the list can't be revoked
        issued.write(f"V\t{end}\t\t{serial}\tunknown\t/CN={subject}\n")
    named = ("-utf8", "-subj", "/CN=" + subject.replace("\\", "\\\\"))
    try:
        return _openssl("req", "-new", *_new_key(key), "-out", str(request), *named) or _openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(folder / "ca.crt"), "-CAkey", str(folder / "ca.key")),
            *("-set_serial", f"0x{serial}", "-days", str(_DAYS), "-sha256"),
            *("-extfile", str(extensions), "-out", str(certificate)),
        )
    finally:
        request.unlink(missing_ok=True)
        extensions.unlink(missing_ok=True)


def _alternative(name: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"


def _openssl(*arguments: str) -> int:
    """0 if it worked; 3, and said why, if not. Keys are made readable for nobody else."""
    before = os.umask(0o077)
    try:
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        print("openssl isn't installed: sudo apt-get install openssl", file=sys.stderr)
        return 3
    finally:
        os.umask(before)
    if done.returncode:
        print(f"openssl {arguments[0]} failed:\n{done.stderr}", file=sys.stderr)
        return 3
    return 0
