"""What is made once for all tests of the hub: certificates, and MQTT.js."""

import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.cli import main
from tests.parts import need


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ours in tls, a stranger's in other."""
    need("openssl", "openssl")
    folder = tmp_path_factory.mktemp("made")
    for one in ("tls", "other"):
        assert main(["tls", "init", "--folder", str(folder / one), "--name", "gateway.lan"]) == 0
        for name in ("kitchen", "attic"):
            assert main(["tls", "client", name, "--folder", str(folder / one)]) == 0
    _age(folder / "tls")
    return folder


def _age(folder: Path) -> None:
    """client-old and client-young: certificates of ours for yesterday and for tomorrow."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    authority = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    now, day = datetime.now(UTC), timedelta(days=1)
    for name, begin, end in (("old", now - 2 * day, now - day), ("young", now + day, now + 2 * day)):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        made = x509.CertificateBuilder(authority.subject, subject, key.public_key(), x509.random_serial_number())
        signed = made.not_valid_before(begin).not_valid_after(end).sign(signer, hashes.SHA256())
        form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (folder / f"client-{name}.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        (folder / f"client-{name}.key").write_bytes(key.private_bytes(*form))


@pytest.fixture(scope="session")
def mqttjs() -> Path:
    """A folder with MQTT.js in it, installed once per machine."""
    need("node", "nodejs")
    npm = need("npm", "npm")
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "redcar-tests" / "mqttjs-5"
    if not (folder / "node_modules" / "mqtt" / "package.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), "mqtt@5"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            text = f"MQTT.js can't be installed: {' '.join(command)}\n{done.stderr}"
            if os.environ.get("CI"):
                pytest.fail(text)
            pytest.skip(text)
    return folder
