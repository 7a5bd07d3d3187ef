"""Certificates with which the gateway answers in the name of app hosts, towards isolated Chromiums only.

One P-256 key per gateway. Chromium is started with the hash of that key (``--ignore-certificate-errors-spki-list``) and accepts a
certificate of that key, and of no other, for any host. No authority is installed anywhere and nobody else trusts the key.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import os
import ssl
from collections import OrderedDict
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from isolation.clock import Clock
from isolation.errors import ConfigurationError

# limits
MAX_CONTEXTS = 512
"""Certificates kept: more app hosts than one gateway serves at a time. Each costs about 60 KB, minting one about 1 ms."""
LIFE_SECONDS = 7 * 86_400
"""Life of a certificate. It lies in memory only, so its length matters little; Chromium checks dates even for listed keys."""
SKEW_SECONDS = 3_600
"""A renderer node's clock may be this far behind ours."""


def new_key() -> bytes:
    """Return a fresh P-256 private key as PEM (PKCS 8, not encrypted)."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Certificates:
    """Mints and keeps one server-side TLS context per host.

    ``key``: PEM of a P-256 key to go on with (several gateways behind one address share one); by default a fresh one.
    Raises :class:`ConfigurationError` when ``key`` is not such a key.
    """

    def __init__(self, clock: Clock, key: bytes | None = None) -> None:
        self._clock = clock
        self._pem = key if key is not None else new_key()
        try:
            loaded = serialization.load_pem_private_key(self._pem, password=None)
        except (ValueError, TypeError) as error:
            raise ConfigurationError("the egress gateway's key is not an unencrypted PEM private key") from error
        if not isinstance(loaded, ec.EllipticCurvePrivateKey) or not isinstance(loaded.curve, ec.SECP256R1):
            raise ConfigurationError("the egress gateway's key must be a P-256 key; remove it to have one made")
        self._key = loaded
        self._contexts: OrderedDict[str, tuple[float, ssl.SSLContext]] = OrderedDict()
        public = loaded.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self._spki = base64.b64encode(hashlib.sha256(public).digest()).decode()

    @property
    def spki(self) -> str:
        """Return the base64 SHA-256 of the public key: the value of ``--ignore-certificate-errors-spki-list``."""
        return self._spki

    def context(self, host: str) -> ssl.SSLContext:
        """Return the context that answers for ``host`` (normalised). HTTP/1.1 only: the data plane speaks nothing else.

        A handshake that names another host (SNI) than its tunnel did fails with ``unrecognized_name``.
        """
        now = self._clock.now()
        kept = self._contexts.get(host)
        if kept is not None and kept[0] > now:
            self._contexts.move_to_end(host)
            return kept[1]
        context = self._mint(host, now)
        self._contexts[host] = (now + LIFE_SECONDS / 2, context)
        self._contexts.move_to_end(host)
        while len(self._contexts) > MAX_CONTEXTS:
            self._contexts.popitem(last=False)
        return context

    def _mint(self, host: str, now: float) -> ssl.SSLContext:
        begin = datetime.datetime.fromtimestamp(now - SKEW_SECONDS, datetime.UTC)
        end = datetime.datetime.fromtimestamp(now + LIFE_SECONDS, datetime.UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "isolation egress gateway")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.SubjectAlternativeName([_alternative(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        _load(context, certificate.public_bytes(serialization.Encoding.PEM) + self._pem)

        def named(_: ssl.SSLObject | ssl.SSLSocket, server: str | None, __: ssl.SSLContext) -> int | None:
            return None if server is None or server.lower() == host else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

        context.sni_callback = named
        return context


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """Load certificate and key. The ssl module reads files only; an anonymous one in memory keeps the key off every disk."""
    handle = os.memfd_create("egress-certificate", os.MFD_CLOEXEC)
    try:
        os.write(handle, pem)
        context.load_cert_chain(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)
