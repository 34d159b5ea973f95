"""Takes the place of the root conftest.py of py-consul's tests: the agent that they run against is
LICTOR_BIN, one for each test. Their own starts containers of Consul."""

import collections
import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.request

import pytest

ConsulInstance = collections.namedtuple("ConsulInstance", ["container", "port", "version"])

# The version whose behaviour is asked for; the tests choose by it what to expect.
VERSION = "1.21.0"


def free_ports(count):
    held = []
    for _ in range(count):
        s = socket.socket()
        s.bind(("127.0.0.1", 0))
        held.append(s)
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def start(more):
    http, dns, server, lan, wan, grpc, grpc_tls = free_ports(7)
    folder = tempfile.TemporaryDirectory()
    config = {
        "bind_addr": "127.0.0.1",
        "client_addr": "127.0.0.1",
        "enable_script_checks": True,
        "disable_update_check": True,
        "ports": {
            "http": http, "dns": dns, "server": server, "serf_lan": lan, "serf_wan": wan,
            "grpc": grpc, "grpc_tls": grpc_tls,
        },
        **more,
    }
    path = os.path.join(folder.name, "agent.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(config, f)
    log = open(os.path.join(folder.name, "log"), "w+", encoding="utf-8")
    agent = subprocess.Popen(
        [os.environ["LICTOR_BIN"], "agent", "-dev", "-config-file", path],
        stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
    )
    return agent, http, folder, log


def wait_until_ready(agent, port, log):
    end = time.time() + 20
    while time.time() < end:
        if agent.poll() is not None:
            log.seek(0)
            pytest.fail("the agent ended: " + log.read()[-2000:])
        try:
            url = f"http://127.0.0.1:{port}/v1/health/service/consul?passing"
            with urllib.request.urlopen(url, timeout=2) as answer:
                rows = json.load(answer)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/coordinate/nodes", timeout=2) as answer:
                coordinates = json.load(answer)
            if coordinates and rows and (rows[0]["Node"]["TaggedAddresses"] or {}).get("lan"):
                return
        except OSError:
            pass
        time.sleep(0.01)
    pytest.fail("the agent is not ready")


def running(more):
    agent, port, folder, log = start(more)
    try:
        wait_until_ready(agent, port, log)
        yield ConsulInstance(None, port, VERSION)
    finally:
        agent.kill()
        agent.wait()
        log.close()
        folder.cleanup()


@pytest.fixture(scope="session", autouse=True)
def _unset_consul_token():
    os.environ.pop("CONSUL_HTTP_TOKEN", None)


@pytest.fixture
def consul_instance():
    yield from running({})


@pytest.fixture
def acl_consul_instance():
    token = "0c4a5ab9-0000-4000-8000-000000000001"
    acl = {"enabled": True, "tokens": {"initial_management": token}}
    for instance in running({"primary_datacenter": "dc1", "acl": acl}):
        yield instance, token


@pytest.fixture
def consul_port(consul_instance):
    return consul_instance.port, consul_instance.version
