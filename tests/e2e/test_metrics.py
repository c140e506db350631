"""What operators see: metrics are what their page says, queries name what is there, and a trace
explains a join."""

import re
import shutil
import subprocess

import pytest
import websockets
import yaml
from harness import figures
from harness.collector import Collector, Span
from harness.fleet import Fleet
from harness.peer import pair
from harness.ports import free_port
from harness.program import Program
from harness.raw import exchange, request, upgrade
from harness.signalling import v1_target
from harness.stage import Stage
from harness.tokens import token
from harness.wait import until

# Their values come with events; all other labels are known from the start.
LATE_LABELS = {"status", "code"}
ROLES = {"gateway": "Gateway", "shard": "Shard", "node": "Node"}


async def read_all(socket: websockets.ClientConnection) -> None:
    """Reads until the connection is closed, which is raised."""
    while True:
        await socket.recv()


def everything() -> dict[str, figures.Described]:
    """All metrics of the page."""
    return {name: one for section in figures.page().values() for name, one in section.items()}


async def scrape(program: Program) -> dict[str, figures.Shown]:
    """All metrics of a program."""
    answer = await program.get("/metrics")
    assert answer.status_code == 200
    return figures.scraped(answer.text)


async def test_a_program_that_has_just_started_shows_all_its_metrics(stage: Stage) -> None:
    up = await stage.up()
    described, shown = everything(), await scrape(up.admin)
    late = {name for name, one in described.items() if LATE_LABELS & set(one.labels)}
    assert set(shown) >= set(described) - late
    assert set(shown) <= set(described), "on no page"

    # What comes with an event comes.
    assert (await exchange(up.bind, request("/a/b/c"))).status == 404
    nobody = token("standup", "nobody", room_admin=True)
    refused = await exchange(up.bind, upgrade(v1_target(nobody + "x")))
    assert refused.status == 401
    watcher = token("standup", "ada")
    async with websockets.connect(f"{up.ws}{v1_target(watcher)}") as socket:
        await socket.recv()
        await socket.send(b"\xff\xff")
        with pytest.raises(websockets.ConnectionClosed):
            await read_all(socket)
    refused = await exchange(up.bind, upgrade(f"/rtc/v1?join_request=!&access_token={watcher}"))
    assert refused.status == 400
    for kind in ("whip", "whep"):
        refused = await exchange(up.bind, request(f"/r/standup/{kind}/0", method="DELETE"))
        assert refused.status == 401

    shown = await scrape(up.admin)
    assert set(shown) == set(described)
    for name, one in described.items():
        assert shown[name].kind == one.kind, name
        assert shown[name].help, name
        for labels in shown[name].series:
            assert set(labels) == set(one.labels), name
            for label, value in labels.items():
                assert one.labels[label] is None or value in one.labels[label], f"{name} {labels}"


async def test_each_role_shows_its_own_metrics_and_no_others(stage: Stage) -> None:
    cluster = await stage.cluster({"s1": 1}, nodes=True)
    page = figures.page()
    programs = {
        "gateway": cluster.gateway,
        "shard": cluster.shards["s1"],
        "node": next(iter(cluster.nodes.values())),
    }
    for role, program in programs.items():
        own = {**page["Every program"], **page[ROLES[role]]}
        late = {name for name, one in own.items() if LATE_LABELS & set(one.labels)}
        shown = set(await scrape(program))
        assert set(own) - late <= shown <= set(own), role


async def test_the_figures_of_a_call_are_right(stage: Stage) -> None:
    up = await stage.up()
    await pair(stage, up.ws, "standup")

    async def figure(name: str) -> float:
        return await up.admin.metric(name)

    async def counted() -> bool:
        people = await figure("anteroom_shard_participants")
        connected = await figure(r"anteroom_node_transports\{[^}]*connected[^}]*\}")
        return people == 2 and connected == 2

    await until("the gauges have caught up", counted)
    assert await figure("anteroom_shard_rooms") == 1
    assert await figure("anteroom_gateway_websockets") == 2
    tracks = await figure("anteroom_shard_tracks")
    assert tracks >= 2
    assert await figure("anteroom_node_tracks") == tracks
    assert await figure("anteroom_shard_subscriptions") == tracks
    assert await figure(r'anteroom_gateway_joins_total\{result="opened"\}') == 2
    for phase in ("admitted", "welcome", "answer", "connected"):
        count = rf'anteroom_shard_join_seconds_count\{{[^}}]*until="{phase}"\}}'
        assert await figure(count) == 2, phase
    assert await figure("anteroom_node_packets_out_total") > 10
    assert await figure("anteroom_shard_lease_remaining_seconds") > 1
    assert await figure(r'anteroom_gateway_shards\{state="serving"\}') == 2
    assert 0 < await figure("anteroom_node_media_cpu_ratio") < 2
    assert await figure("process_cpu_seconds_total") > 0
    assert await figure("process_resident_memory_bytes") > 1e6
    assert await figure("anteroom_rooms_live_on_two_shards") == 0


async def test_every_query_names_metrics_and_labels_that_are_there(stage: Stage) -> None:
    cluster = await stage.cluster({"s1": 1}, nodes=True)
    programs = [cluster.gateway, *cluster.shards.values(), *cluster.nodes.values()]
    names: set[str] = set()
    for program in programs:
        names |= figures.series_names((await program.get("/metrics")).text)
    described = everything()
    names |= {name for name, one in described.items() if LATE_LABELS & set(one.labels)}
    names |= {rule["record"] for rule in figures.rules() if "record" in rule}
    # Prometheus' own: whether a target answered.
    names.add("up")

    queries = figures.queries()
    assert len(queries) > 60
    for place, query in queries:
        used = figures.names_in(query)
        assert used, f"{place}: {query}"
        assert used <= names, f"{place}: no such metric {used - names}"
        for name, label, values in figures.selectors_in(query):
            one = described.get(re.sub(r"_(bucket|sum|count)$", "", name))
            known = one.labels.get(label) if one else None
            assert known is None or set(values) <= set(known), f"{place}: {label}={values}"


def test_the_parser_of_queries_finds_names_and_nothing_else() -> None:
    query = (
        'histogram_quantile(0.95, sum by (le, kind) (rate(a_bucket{x=~"b|c"}[5m]))) '
        '> 1e3 and on (instance) b:c:d{y="z"} or (1 - e / 100)'
    )
    assert figures.names_in(query) == {"a_bucket", "b:c:d", "e"}
    assert figures.selectors_in(query) == [("a_bucket", "x", ["b", "c"]), ("b:c:d", "y", ["z"])]


def test_the_thresholds_of_the_alerts_are_those_that_were_agreed_on() -> None:
    wanted = {
        "CpuHigh": "> 0.7",
        "MemoryHigh": "> 0.8",
        "ApiSlow": "> 0.5",
        "PageSlow": "> 2",
        "DiskGrows": "predict_linear",
        "RoomOnTwoShards": "> 0",
        "DirectoryDisagrees": "> 0",
        "ShardWithoutLease": "== 0",
    }
    alerts = {rule["alert"]: rule["expr"] for rule in figures.rules() if "alert" in rule}
    for name, threshold in wanted.items():
        assert threshold in alerts[name], name


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's prometheus is not installed")
def test_prometheus_takes_configuration_and_rules() -> None:
    file = figures.folder_of_rules() / "prometheus.yml"
    result = subprocess.run(["promtool", "check", "config", file], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def telemetry(collector: Collector | str, **options: object) -> dict:
    address = collector if isinstance(collector, str) else collector.address
    return {"telemetry": {"otlp": {"endpoint": address, **options}}}


async def test_one_trace_explains_a_join(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTEROOM_LOG", "info,gateway=debug,shard=debug")
    collector = await stage.enter(Collector())
    fleet: Fleet = await stage.fleet(gateways=1, shards=2, extra=telemetry(collector))
    rooms = await fleet.placed({"s1": 0, "s2": 1})
    room = rooms["s2"][0]
    await stage.peer(fleet.ws, room, "ada")

    def joins() -> list[list[Span]]:
        traces = collector.traces().values()
        return [spans for spans in traces if any(s.name == "answer the offer" for s in spans)]

    await until("the trace is there", lambda: joins() and root_of(joins()[0]))
    assert len(joins()) == 1
    spans = joins()[0]
    root = root_of(spans)
    assert root.service == "anteroom-gateway"
    assert root.attributes["anteroom.room"] == room
    assert root.attributes["anteroom.shard"] == "s2"
    assert root.attributes["anteroom.candidate"] == "s2"
    assert root.attributes["anteroom.why"] == "room from access token, placed by the ring"
    assert root.attributes["http.response.status_code"] == 101

    by_id = {span.id: span for span in spans}
    inner = next(span for span in spans if span.service == "anteroom-shard" and span.name == "join")
    asked = by_id[inner.parent]
    assert asked.name == "ask the shard"
    assert asked.parent == root.id
    assert asked.attributes["http.response.status_code"] == 101
    assert inner.attributes["anteroom.node"].startswith("s2")
    owned = next(span for span in spans if span.name == "own the room")
    assert owned.parent == inner.id
    assert owned.attributes["anteroom.claim"] == "claimed"
    epoch = (await fleet.admin.rooms())[room]["epoch"]
    assert owned.attributes["anteroom.epoch"] == str(epoch)
    assert inner.end >= root.end, "the join is over with the first answer"
    assert not any(span.failed for span in spans)

    # The same number stands in the logs of both.
    number = root.trace
    gateway = [line for line in fleet.gateways["g1"].text().splitlines() if number in line]
    assert any("placed by the ring" in line and room in line for line in gateway), gateway
    shard = [line for line in fleet.shards["s2"].text().splitlines() if number in line]
    assert any(f"epoch={epoch}" in line for line in shard), shard


async def test_who_comes_second_is_sent_where_the_room_is_and_the_trace_says_so(
    stage: Stage,
) -> None:
    collector = await stage.enter(Collector())
    fleet: Fleet = await stage.fleet(gateways=1, shards=2, extra=telemetry(collector))
    # A client cannot put itself into our traces.
    foreign = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{foreign}-00f067aa0ba902b7-01", "tracestate": "a=b"}
    for identity in ("ada", "bob"):
        target = v1_target(token("standup", identity))
        url = f"{fleet.ws}{target}"
        async with websockets.connect(url, additional_headers=headers) as socket:
            await socket.recv()
    refused = await exchange(
        fleet.front.address,
        upgrade("/rtc/v1?join_request=!&access_token=" + token("standup", "eve")),
    )
    assert refused.status == 400

    def roots() -> list[Span]:
        found = [root_of(spans) for spans in collector.traces().values()]
        return sorted((root for root in found if root), key=lambda span: span.start)

    await until("three traces are there", lambda: len(roots()) == 3)
    first, second, third = roots()
    assert foreign not in collector.traces()
    assert not first.attributes["anteroom.hinted"]
    assert second.attributes["anteroom.hinted"]
    assert second.attributes["anteroom.why"].startswith("room from access token, placed by the")
    assert "last seen on" in second.attributes["anteroom.why"]
    await until("the second one's part is there", lambda: own_of(collector, second))
    own = own_of(collector, second)
    assert own[0].attributes["anteroom.claim"] == "held"
    assert third.attributes["http.response.status_code"] == 400
    shard = [span for span in collector.traces()[third.trace] if span.name == "join"]
    assert any(span.failed for span in shard)


def own_of(collector: Collector, root: Span) -> list[Span]:
    spans = collector.traces()[root.trace]
    return [span for span in spans if span.name == "own the room"]


async def test_without_a_collector_calls_go_on_and_one_line_says_so(stage: Stage) -> None:
    port = free_port()
    extra = telemetry(f"http://127.0.0.1:{port}")
    fleet: Fleet = await stage.fleet(gateways=1, shards=1, extra=extra)
    gateway = fleet.gateways["g1"]

    async def join(identity: str) -> None:
        url = f"{fleet.ws}{v1_target(token('standup', identity))}"
        async with websockets.connect(url) as socket:
            await socket.recv()

    def warnings() -> int:
        return gateway.text().count("traces are not taken")

    await join("ada")
    await until("it is said", lambda: warnings() == 1)
    for number in range(3):
        await join(f"bob{number}")
    collector = await stage.enter(Collector(port))

    async def delivered() -> bool:
        await join("eve")
        return bool(collector.spans)

    await until("traces are taken again", delivered)
    await until("that is said, too", lambda: "traces are taken again" in gateway.text())
    assert warnings() == 1


async def test_what_is_not_sampled_is_not_sent_and_has_a_number_in_the_logs(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTEROOM_LOG", "info,gateway=debug")
    collector = await stage.enter(Collector())
    extra = telemetry(collector, sample=0.0)
    fleet: Fleet = await stage.fleet(gateways=1, shards=1, extra=extra)
    async with websockets.connect(f"{fleet.ws}{v1_target(token('standup', 'ada'))}") as socket:
        await socket.recv()
    gateway = fleet.gateways["g1"]
    await until("the join is logged", lambda: re.search(r"trace=\"?[0-9a-f]{32}", gateway.text()))
    # What is left is sent at the end.
    for program in (gateway, *fleet.shards.values()):
        await program.stop()
    assert collector.spans == []


async def test_an_endpoint_that_cannot_be_is_refused_at_the_start(stage: Stage) -> None:
    for endpoint, sample in (("https://collector:4318", 1), ("collector", 1), ("http://c", 1.5)):
        config = {
            "version": 1,
            "keys": {"devkey": "secret"},
            "cluster": {"secret": "x"},
            "telemetry": {"otlp": {"endpoint": endpoint, "sample": sample}},
            "node": {"id": "n", "shard": "http://127.0.0.1:1"},
        }
        path = stage.folder / "node.yaml"
        path.write_text(yaml.safe_dump(config))
        program = stage.program("node", ["node", "--config", str(path)], admin=None).start()
        assert await program.exit_code() == 1
        assert "telemetry.otlp" in program.text()


def root_of(spans: list[Span]) -> Span | None:
    """The span that has no parent."""
    return next((span for span in spans if not span.parent), None)
