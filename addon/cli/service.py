"""The entry of the image and of the systemd unit: becomes mitmdump in front of one registry.

The environment variable UPSTREAM is the registry's URL, as `run --upstream` reads it; the arguments
are options of mitmdump.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys


def main() -> None:
    """Serve until a signal."""
    # Process 1 of a container gets no signal for which it has no handler, and mitmdump sets its own
    # after a second or two. Before that there is nothing to drain.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from mitmproxy.tools.main import mitmdump

    from . import addresses, run

    try:
        upstream = addresses.upstream(os.environ.get("UPSTREAM", ""))
    except argparse.ArgumentTypeError as error:
        sys.exit(f"UPSTREAM: {error}")
    # mitmdump also names itself by them.
    sys.argv[:] = ["mitmdump", *run.mitmproxy_arguments(upstream, sys.argv[1:])]
    mitmdump()


if __name__ == "__main__":
    main()
