"""Both sides of an HTTP/2 connection in memory, by hyper-h2."""

from __future__ import annotations

from typing import Any

import h2.config
import h2.connection
import h2.settings

REQUEST = [(":method", "POST"), (":scheme", "https"), (":authority", "a"), (":path", "/")]


class H2Pair:
    """A client and a server.

    Args:
        window: the client's initial window for each answer, in bytes.
    """

    def __init__(self, window: int = 65_535) -> None:
        self.client = h2.connection.H2Connection(h2.config.H2Configuration())
        self.server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.client.initiate_connection()
        self.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.server.initiate_connection()
        self.pass_on()

    def pass_on(self) -> list[Any]:
        """Pass on the bytes that wait on both sides; return the client's events."""
        seen: list[Any] = []
        while True:
            asked, answered = self.client.data_to_send(), self.server.data_to_send()
            if not asked and not answered:
                return seen
            self.server.receive_data(asked)
            seen += self.client.receive_data(answered)

    def request(self, key: int) -> None:
        """Send the head of a request whose body follows."""
        self.client.send_headers(key, REQUEST)
        self.pass_on()
