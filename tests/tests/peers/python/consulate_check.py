"""What consulate 0.6.0 does with an agent: its published package brings no tests, so these are ours.

    python consulate_check.py PORT

Prints one line for each part that works, and ends with an error at the first that does not."""

import json
import sys

_loads = json.loads


def loads(text, encoding=None, **more):
    """consulate was written before Python 3.9 and still says how text is encoded."""
    return _loads(text, **more)


json.loads = loads

import consulate  # noqa: E402

consul = consulate.Consul("127.0.0.1", int(sys.argv[1]))


def same(found, wanted):
    assert found == wanted, f"{found!r} is not {wanted!r}"


def kv():
    consul.kv["c/a"] = "hello"
    consul.kv["c/b"] = "world"
    same(consul.kv["c/a"], "hello")
    assert "c/a" in consul.kv and "c/none" not in consul.kv
    same(consul.kv.get("c/none"), None)
    same(consul.kv.find("c/"), {"c/a": "hello", "c/b": "world"})
    same(sorted(consul.kv.keys()), ["c/a", "c/b"])
    same(len(consul.kv), 2)
    consul.kv.set_record("c/f", 12, "flagged")
    same(consul.kv.get_record("c/f")["Flags"], 12)
    same([r[:2] for r in consul.kv.records()], [("c/a", 0), ("c/b", 0), ("c/f", 12)])
    del consul.kv["c/a"]
    assert "c/a" not in consul.kv
    consul.kv.delete("c/", recurse=True)
    same(list(consul.kv), [])


def locks():
    session = consul.session.create("lock", delay="0s")
    same(consul.kv.acquire_lock("lock", session), True)
    other = consul.session.create("other", delay="0s")
    same(consul.kv.acquire_lock("lock", other), False)
    same(consul.kv.release_lock("lock", session), True)
    same(consul.kv.acquire_lock("lock", other), True)
    same(len(consul.session.list()), 2)
    same(consul.session.info(session)["Name"], "lock")
    for one in (session, other):
        same(consul.session.destroy(one), True)


def services():
    # Its calls that take away and that report a status are GETs, which Consul refuses since 1.0.
    same(consul.agent.service.register("web", port=80, tags=["x"], ttl="60s"), True)
    names = [s["Service"] for row in consul.agent.services() for s in row.values()]
    same(names, ["web"])
    same(consul.agent.service.deregister("web"), False)
    same(consul.agent.check.register("lone", ttl="60s"), True)
    same(sorted(consul.agent.checks()[0]), ["lone", "service:web"])
    same([m["Status"] for m in consul.agent.members()], [1])


def one(rows):
    """The only row of an answer, which consulate gives without its list."""
    return rows[0] if isinstance(rows, list) else rows


def catalog():
    # Its calls that write to the catalog fail before they send anything.
    same(one(consul.catalog.service("web"))["ServicePort"], 80)
    assert "web" in str(consul.catalog.services())
    same(consul.catalog.datacenters(), "dc1")
    node = one(consul.catalog.nodes())["Node"]
    same(consul.catalog.node(node)["Node"]["Node"], node)


def health():
    node = consul.agent.members()[0]["Name"]
    same(sorted(c["CheckID"] for c in consul.health.node(node)), ["lone", "serfHealth", "service:web"])
    same(sorted(c["CheckID"] for c in consul.health.state("critical")), ["lone", "service:web"])
    same(one(consul.health.service("web"))["Service"]["Port"], 80)
    same(consul.health.service("web", passing=True), [])


def events():
    assert consul.event.fire("deploy", "payload")
    same(one(consul.event.list("deploy"))["Name"], "deploy")


def status():
    same(consul.status.leader(), one(consul.status.peers()))


for part in (kv, locks, services, catalog, health, events, status):
    part()
    print(part.__name__, "works")
