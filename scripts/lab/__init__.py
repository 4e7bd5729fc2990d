"""Real servers on free loopback ports, for tests, the demo and measurements.

A server is a process of its own: `with lab.nginx(folder, config) as server: server.wait()`. Nothing
that runs in production imports this package.
"""

import sys

from install.programs import DATA, ROOT, binary, mlflow, tool, wheel

# The lab uses the addon's own configuration of HAProxy, also for a script that is run by its path.
sys.path.append(str(ROOT))

from lab.haproxy import balancer, haproxy
from lab.nginx import STREAMING, nginx
from lab.prometheus import prometheus
from lab.proxy import MAIN, proxy, proxy_command, write_rules
from lab.registry import EXTERNAL, external, registry
from lab.server import Server, StartError, free_port
from lab.workers import workers_command, workers_environment

__all__ = [
    "DATA",
    "EXTERNAL",
    "MAIN",
    "ROOT",
    "STREAMING",
    "Server",
    "StartError",
    "balancer",
    "binary",
    "external",
    "free_port",
    "haproxy",
    "mlflow",
    "nginx",
    "prometheus",
    "proxy",
    "proxy_command",
    "registry",
    "tool",
    "wheel",
    "workers_command",
    "workers_environment",
    "write_rules",
]
