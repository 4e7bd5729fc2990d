"""An OpenID Connect identity provider where every user is already logged in."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from .certificates import Authority

CLIENT = "mlflow"
USER = "alice"


class IdentityProvider:
    """Serves discovery, the login page, tokens and its key over TLS, as a provider must.

    Args:
        authority: signs its certificate.
    """

    def __init__(self, authority: Authority) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._codes: dict[str, str] = {}
        """The nonce for each code."""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                if parts.path == "/authorize":
                    code = provider._code(asked["nonce"])
                    back = urlencode({"code": code, "state": asked["state"]})
                    self.send_response(302)
                    self.send_header("Location", f"{asked['redirect_uri']}?{back}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                else:
                    self._json(provider._documents()[parts.path])

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                [code] = parse_qs(body.decode())["code"]
                token = provider.token(nonce=provider._codes.pop(code))
                kind = {"token_type": "Bearer", "expires_in": 300}
                self._json({"access_token": token, "id_token": token, **kind})

            def _json(self, content: Any) -> None:
                body = json.dumps(content).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(*authority.sign("identity-provider"))
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def token(self, *, lifetime: int = 300, **claims: str) -> str:
        """Return a signed token for the user.

        Args:
            lifetime: seconds until it expires; below 0 it has expired.
            claims: further claims.
        """
        now = int(time.time())
        subject = {"iss": self.url, "aud": CLIENT, "sub": USER, "iat": now, "exp": now + lifetime}
        parts = ({"alg": "RS256", "typ": "JWT", "kid": "1"}, subject | claims)
        signed = ".".join(_coded(json.dumps(part).encode()) for part in parts)
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_coded(signature)}"

    def _code(self, nonce: str) -> str:
        code = f"code{len(self._codes)}-{time.monotonic_ns()}"
        self._codes[code] = nonce
        return code

    def _documents(self) -> dict[str, Any]:
        numbers = self._key.public_key().public_numbers()
        n, e = (
            _coded(i.to_bytes((i.bit_length() + 7) // 8, "big")) for i in (numbers.n, numbers.e)
        )
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "n": n, "e": e}
        return {
            "/.well-known/openid-configuration": {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            },
            "/jwks": {"keys": [key]},
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
