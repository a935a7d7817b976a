"""redcar tls: certificates for the listeners, made on this machine."""

import argparse
import ipaddress
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

_CA_DAYS, _DAYS = "3650", "825"  # browsers and phones refuse server certificates that last longer


def register(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "tls",
        help="make certificates for the listeners",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  redcar tls init                          in tls/: a CA and a certificate for this machine's names\n"
        "  redcar tls init --name gateway.lan --name 192.168.1.7\n"
        "  redcar tls client kitchen                a certificate that is the user kitchen",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    init = actions.add_parser("init", help="a CA and a server certificate; existing files stay")
    init.add_argument("--name", action="append", default=[], help="name or address by which clients reach this machine")
    init.set_defaults(run=_init)
    client = actions.add_parser("client", help="a client certificate of the same CA")
    client.add_argument("user", help="the user that the client will be")
    client.set_defaults(run=_client)
    for one in (init, client):
        one.add_argument("--folder", type=Path, default=Path("tls"), help="where the files are; ./tls if left out")


def _init(args: argparse.Namespace) -> int:
    folder: Path = args.folder
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    host = socket.gethostname()
    names = list(dict.fromkeys([host, f"{host}.local", "localhost", "127.0.0.1", "::1", *args.name]))
    if not (folder / "ca.crt").exists():
        made = _openssl(
            *("req", "-x509", *_new_key(folder / "ca.key"), "-out", str(folder / "ca.crt"), "-days", _CA_DAYS),
            *("-subj", f"/CN=Redcar CA of {host[:40]}"),
            *("-addext", "basicConstraints=critical,CA:TRUE,pathlen:0"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )
        if made:
            return made
    kind = "extendedKeyUsage=serverAuth\nsubjectAltName=" + ",".join(map(_alternative, names))
    made = _signed(folder, "server", host, kind)
    if made:
        return made
    print(f"{folder}/ca.crt      give this to clients")
    print(f"{folder}/server.crt  valid for {', '.join(names)}")
    print("\nIn redcar.toml:\n\n[[listener]]\nport = 8883")
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
        print(f'\nIn redcar.toml, with the listener\'s certificate and key:\n\nclient_ca = "{folder}/ca.crt"')
    return made


def _new_key(file: Path) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(file))


def _signed(folder: Path, name: str, subject: str, kind: str) -> int:
    """A key and a certificate of the CA; 0 if that worked, or the files are there already."""
    key, request, certificate = (folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
    if certificate.exists():
        print(f"{certificate} is there already: delete it to get a new one", file=sys.stderr)
        return 1
    extensions = folder / f"{name}.ext"
    extensions.write_text(f"basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n{kind}\n")
    try:
        return _openssl("req", "-new", *_new_key(key), "-out", str(request), "-subj", f"/CN={subject}") or _openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(folder / "ca.crt"), "-CAkey", str(folder / "ca.key")),
            *("-set_serial", f"0x{os.urandom(16).hex()}", "-days", _DAYS, "-sha256"),
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
