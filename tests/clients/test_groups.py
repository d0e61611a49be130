"""Members of a group at three brokers, as a small client is one: their streams by generated code, whatever dies.

At no moment two of them own a partition, and who keeps one is not told to give it up.
"""
import queue
import signal
import threading

import grpc
import pytest

from local_cluster import LocalCluster, wait_until

PARTITIONS = 6
TOPIC = "t"
GROUP = "g"
SESSION_MS = 10000
PING_SECONDS = 0.5
CODES_AFTER_WHICH_IT_GOES_ON = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


@pytest.fixture()
def cluster(binary, tmp_path):
    with LocalCluster(binary, tmp_path) as cluster:
        cluster.start_all()
        cluster.run("topic", "create", TOPIC, "--partitions", str(PARTITIONS), "--replicas", "3")
        yield cluster


class Owners:
    """Who owns which partition, as its owners believe."""

    def __init__(self):
        self.lock = threading.Lock()
        self.owner_of = {}
        self.faults = []

    def take(self, member_id, partitions):
        for partition in partitions:
            owner = self.owner_of.setdefault(partition, member_id)
            if owner != member_id:
                self.faults.append(f"{member_id} got {partition}, which {owner} owns")

    def release(self, member_id, partitions):
        for partition in partitions:
            if self.owner_of.get(partition) == member_id:
                del self.owner_of[partition]

    def of(self, member_id):
        with self.lock:
            return {partition for partition, owner in self.owner_of.items() if owner == member_id}


class Member(threading.Thread):
    """One member: joins at a broker, answers what it is told, and goes on at the next broker where a stream breaks."""

    def __init__(self, api, owners, member_id, addresses):
        super().__init__(daemon=True)
        self.api = api
        self.owners = owners
        self.member_id = member_id
        self.addresses = addresses
        self.session = 0
        self.epoch = 0
        self.given_up = set()
        self.committed = []
        self.ended = None
        self.is_dead = False
        self.requests = None
        self.call = None
        self.start()

    def run(self):
        while self.ended is None and not self.is_dead:
            address = self.addresses[self.session % len(self.addresses)]
            self.session += 1
            with grpc.insecure_channel(address) as channel:
                self.requests = queue.Queue()
                self.requests.put(self.api.JoinRequest(init=self.init()))
                self.call = self.api.GroupServiceStub(channel).Join(self.said(self.requests))
                try:
                    for answer in self.call:
                        self.take(answer)
                    self.ended = grpc.StatusCode.OK
                except grpc.RpcError as error:
                    if error.code() not in CODES_AFTER_WHICH_IT_GOES_ON:
                        self.ended = error.code()
                self.requests.put(None)
        with self.owners.lock:
            self.owners.release(self.member_id, list(self.owners.owner_of))

    def init(self):
        owned = [{"topic_id": topic, "partitions": [partition]} for topic, partition in self.owned()]
        return self.api.JoinInit(group=GROUP, member_id=self.member_id, session=self.session, member_epoch=self.epoch,
                                 owned=owned if self.epoch else [], subscription={"topics": [TOPIC]},
                                 session_timeout_ms=SESSION_MS)

    def said(self, requests):
        """What waits to be said; a ping whenever there is nothing."""
        while True:
            try:
                request = requests.get(timeout=PING_SECONDS)
            except queue.Empty:
                request = self.api.JoinRequest(ping={})
            if request is None or self.is_dead:
                return
            yield request

    def take(self, answer):
        if answer.HasField("commit"):
            self.committed.append(answer.commit)
        if not answer.HasField("assignment"):
            return
        assignment = answer.assignment
        self.epoch = assignment.member_epoch
        owned = {(topic.topic_id, row.partition) for topic in assignment.topics for row in topic.partitions}
        revoked = {(topic.topic_id, partition) for topic in assignment.revoked for partition in topic.partitions}
        with self.owners.lock:
            if self.is_dead:
                return
            self.given_up |= revoked
            self.owners.release(self.member_id, revoked)
            self.owners.take(self.member_id, owned)
        rows = [{"topic_id": topic, "partitions": [partition]} for topic, partition in owned]
        self.requests.put(self.api.JoinRequest(done={"version": assignment.version, "owned": rows}))

    def owned(self):
        return self.owners.of(self.member_id)

    def commit(self, number, offset):
        topic_id, partition = sorted(self.owned())[0]
        rows = [{"topic_id": topic_id, "partitions": [{"partition": partition, "offset": offset}]}]
        self.requests.put(self.api.JoinRequest(commit={"commit_id": number, "topics": rows}))

    def leave(self):
        self.requests.put(self.api.JoinRequest(leave={}))
        self.join(timeout=30)

    def die(self):
        """As a process that is killed: it works on nothing any more, and its connection is gone."""
        with self.owners.lock:
            self.is_dead = True
        self.call.cancel()
        self.join(timeout=30)


def wait_shared(members, count):
    """Each member owns `count` partitions, and all are owned."""
    wait_until(lambda: all(len(member.owned()) == count for member in members), f"{count} partitions each", 60)
    owners = members[0].owners
    with owners.lock:
        assert len(owners.owner_of) == PARTITIONS
        assert not owners.faults


def test_members_at_three_brokers_share_a_topic_whoever_leaves_or_dies(api, cluster):
    owners = Owners()
    addresses = [broker.client_address for broker in cluster.brokers.values()]

    def join(name, first):
        return Member(api, owners, name, addresses[first:] + addresses[:first])
    one, two, three = join("one", 0), join("two", 1), join("three", 2)
    wait_shared([one, two, three], 2)

    def keeps(member, had):
        return had <= member.owned() and not member.given_up & had
    had = {member: member.owned() for member in (one, two)}
    for member in had:
        member.given_up = set()
    three.leave()
    assert three.ended == grpc.StatusCode.OK
    wait_shared([one, two], 3)
    assert all(keeps(member, partitions) for member, partitions in had.items())

    four = join("four", 2)
    wait_shared([one, two, four], 2)
    had = {member: member.owned() for member in (one, four)}
    for member in had:
        member.given_up = set()
    two.die()
    wait_shared([one, four], 3)
    assert all(keeps(member, partitions) for member, partitions in had.items())

    had = {member: member.owned() for member in (one, four)}
    sessions = [one.session, four.session]
    list(cluster.brokers.values())[0].end(signal.SIGKILL)
    wait_until(lambda: one.session > sessions[0], "a new stream of the member whose broker died", 30)
    for member in had:
        member.commit(7, 0)
    wait_until(lambda: one.committed and four.committed, "commits through the survivors", 30)
    assert [list(member.committed[-1].refused) for member in had] == [[], []]
    assert all(member.owned() == partitions and not member.given_up for member, partitions in had.items())
    assert four.session == sessions[1]

    # And once more somebody dies: those who live share again.
    four.die()
    wait_shared([one], PARTITIONS)
    assert keeps(one, had[one])
    one.leave()
    assert one.ended == grpc.StatusCode.OK
    assert not owners.faults


def test_a_group_keeps_up_then_is_stuck_then_dead(api, cluster):
    owners = Owners()
    addresses = [broker.client_address for broker in cluster.brokers.values()]
    one = Member(api, owners, "one", addresses)
    wait_shared([one], PARTITIONS)
    rows = [{"partition": partition, "offset": 0} for partition in range(PARTITIONS)]
    one.requests.put(api.JoinRequest(commit={"commit_id": 1, "topics": [{"topic": TOPIC, "partitions": rows}]}))
    wait_until(lambda: one.committed, "a commit", 30)
    assert not one.committed[0].refused and not one.committed[0].HasField("error")

    def described():
        return cluster.json("group", "describe", GROUP)

    def wait_verdict(verdict, seconds):
        wait_until(lambda: described()["verdict"] == verdict, f"{verdict}, not {described()}", seconds)
        return described()
    group = wait_verdict("keeping up", 30)
    assert group["lag"] == 0 and group["partition_count"] == PARTITIONS
    assert {row["member_id"] for row in group["partitions"]} == {"one"}

    cluster.run("produce", TOPIC, "--partition", "3", input="a\nb\n", stdin=None)
    group = wait_verdict("stuck", 90)
    assert group["lag"] == 2 and group["lag_ms_min"] >= 30_000
    assert group["grounds"].startswith(f"partition 3 of {TOPIC}: 2 records behind, oldest ")
    assert "member one lives, and for " in group["grounds"]
    assert {row["partition"]: row["verdict"] for row in group["partitions"]} == {
        partition: "stuck" if partition == 3 else "keeping up" for partition in range(PARTITIONS)}
    offsets = cluster.json("group", "offsets", GROUP)["partitions"]
    assert offsets[3]["lag_ms_max"] >= 30_000 and offsets[3]["member_id"] == "one"
    assert offsets[2]["lag_ms_max"] == 0

    one.die()
    group = wait_verdict("dead", 60)
    assert "the group has no members" in group["grounds"]
    assert f"partition 3 of {TOPIC}" in cluster.run("group", "describe", GROUP).stdout
