#!/usr/bin/env python3
"""How long a group's members wait for each other: many share a topic of many partitions, and one comes, goes, or dies.

    tests/clients/run.sh --version                                        once: makes the Python with gRPC
    build/clients-venv/bin/python tests/bench/group_members.py [--members 100] [--partitions 1000] [--rounds 5]

Three brokers; the members' streams go to all of them. A member answers an assignment as soon as it has read it, so that what
is measured is the brokers' time and this client's, which is one process of Python: both are on the same cores.

join      one more comes: from its stream's beginning until every partition has one owner again and each member as many
leave     it goes: until the same holds of the others
die       its stream breaks and it is silent: the same, from the end of its session's time (6 s)
broker    the broker that leads the group's shard is killed with SIGKILL while one more comes

Of each: seconds until all is settled, partitions that changed their owner, and how many members that keep all of theirs were
told of anything. Prints each round, and the minimum, median and maximum of all. It decides nothing.
"""
import argparse
import os
import pathlib
import queue
import shutil
import statistics
import subprocess
import sys
import threading
import time

import grpc

from processes import BUILD, ROOT, LocalCluster, default_binary, machine

sys.path.insert(0, str(ROOT / "proto"))
protos, services = grpc.protos_and_services("millrace/v1/group_service.proto")

TOPIC, GROUP = "shared", "sharing"
SESSION_MS = 6_000
PING_SECONDS = 1.5


class Members:
    """All of a group, and what each owns."""

    def __init__(self, cluster, partitions):
        self.cluster = cluster
        self.partitions = partitions
        self.changed = threading.Condition()
        self.all = {}
        self._pinging = True
        threading.Thread(target=self._ping, daemon=True).start()

    def add(self, name):
        member = Member(self, name)
        with self.changed:
            self.all[name] = member
        member.connect()
        return member

    def remove(self, name):
        with self.changed:
            return self.all.pop(name)

    def _ping(self):
        while self._pinging:
            with self.changed:
                members = list(self.all.values())
            for member in members:
                member.say(ping=protos.Ping())
            time.sleep(PING_SECONDS)

    def stop(self):
        self._pinging = False
        for member in list(self.all.values()):
            member.die()

    def is_settled(self):
        counts = [len(member.owned) for member in self.all.values()]
        owned = set().union(*(member.owned for member in self.all.values()))
        is_fair = max(counts) - min(counts) <= 1
        return is_fair and sum(counts) == len(owned) == self.partitions

    def settle(self, since, timeout=120):
        """Seconds since then, once all is settled."""
        with self.changed:
            if not self.changed.wait_for(self.is_settled, timeout):
                counts = sorted(len(member.owned) for member in self.all.values())
                raise RuntimeError(f"not settled after {timeout} s: members own {counts}")
            return time.monotonic() - since


class Member:
    def __init__(self, members, name):
        self.members = members
        self.name = name
        self.owned = frozenset()
        self.told = 0
        self.session = 0
        self.epoch = 0
        self.topic_id = 0
        self.is_gone = False

    def connect(self):
        self.session += 1
        brokers = list(self.members.cluster.brokers.values())
        address = brokers[(hash(self.name) + self.session) % len(brokers)].client_address
        self.channel = grpc.insecure_channel(address)
        self.requests = queue.Queue()
        init = protos.JoinInit(group=GROUP, member_id=self.name, session=self.session, member_epoch=self.epoch,
                               session_timeout_ms=SESSION_MS)
        init.subscription.topics.append(TOPIC)
        if self.epoch:
            init.owned.add(topic_id=self.topic_id, partitions=sorted(self.owned))
        self.say(init=init)
        self.stream = services.GroupServiceStub(self.channel).Join(iter(self.requests.get, None))
        threading.Thread(target=self._read, args=(self.stream,), daemon=True).start()

    def say(self, **message):
        self.requests.put(protos.JoinRequest(**message))

    def _read(self, stream):
        try:
            for response in stream:
                if response.HasField("assignment"):
                    self._take(response.assignment)
        except grpc.RpcError as error:
            if self.is_gone:
                return
            if error.code() == grpc.StatusCode.ABORTED:
                raise
            time.sleep(0.05)
            self.channel.close()
            self.connect()

    def _take(self, assignment):
        self.epoch = assignment.member_epoch
        owned = frozenset(one.partition for topic in assignment.topics for one in topic.partitions)
        for topic in assignment.topics:
            self.topic_id = topic.topic_id
        if assignment.revoked:
            done = protos.AssignmentDone(version=assignment.version)
            if owned:
                done.owned.add(topic_id=self.topic_id, partitions=sorted(owned))
            self.say(done=done)
        with self.members.changed:
            self.told += owned != self.owned
            self.owned = owned
            self.members.changed.notify_all()

    def leave(self):
        self.is_gone = True
        self.say(leave=protos.Leave())

    def die(self):
        self.is_gone = True
        self.stream.cancel()


def owners(members):
    return {partition: name for name, member in members.all.items() for partition in member.owned}


def measure(members, what, change, found):
    """Calls `change`, which says since when, and waits until all is settled."""
    before = owners(members)
    kept = {name: (member.owned, member.told) for name, member in members.all.items()}
    took = members.settle(change())
    after = owners(members)
    moved = sum(after[partition] != name for partition, name in before.items())
    disturbed = sum(name in members.all and members.all[name].owned == owned and members.all[name].told != told
                    for name, (owned, told) in kept.items())
    found.setdefault(what, []).append((took, moved, disturbed))
    print(f"  {what}: {took:.3f} s, {moved} partitions moved, {disturbed} members that keep theirs were told", flush=True)


def leader_of_group(cluster):
    return cluster.json("group", "describe", GROUP)["coordinator_id"]


def run(options):
    found = {}
    with LocalCluster(default_binary(), options.folder / "members") as cluster:
        cluster.start_all()
        cluster.run("topic", "create", TOPIC, "--partitions", options.partitions, "--replicas", 3)
        members = Members(cluster, options.partitions)

        def come(name):
            since = time.monotonic()
            members.add(name)
            return since

        def go(name):
            since = time.monotonic()
            members.remove(name).leave()
            return since

        def die(name):
            members.remove(name).die()
            return time.monotonic() + SESSION_MS / 1000

        since = time.monotonic()
        for number in range(options.members - 1):
            members.add(f"m{number}")
        print(f"  first: {members.settle(since):.3f} s until {options.members - 1} members have all", flush=True)
        for number in range(options.rounds):
            measure(members, "join", lambda number=number: come(f"late{number}"), found)
            measure(members, "leave", lambda number=number: go(f"late{number}"), found)
            come(f"dies{number}")
            members.settle(0)
            measure(members, "die", lambda number=number: die(f"dies{number}"), found)
        for number in range(options.rounds):
            leader = leader_of_group(cluster)

            def kill(number=number, leader=leader):
                since = time.monotonic()
                cluster.kill(leader)
                members.add(f"broker{number}")
                return since

            measure(members, "broker", kill, found)
            cluster.start(leader)
            cluster.wait_alive(cluster.brokers)
            go(f"broker{number}")
            members.settle(0)
        members.stop()
    for what, rounds in found.items():
        columns = [[one[column] for one in rounds] for column in range(3)]
        told = ["/".join(f"{of(column):.3g}" for of in (min, statistics.median, max)) for column in columns]
        print(f"members: {what}: {told[0]} s, {told[1]} partitions moved, {told[2]} members that keep theirs were told", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--partitions", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=pathlib.Path, default=BUILD / "bench" / "group-members", help="wiped; its disk is used")
    options = parser.parse_args()
    if "MILLRACE_BINARY" not in os.environ:
        subprocess.run(["cmake", "--build", "--preset", "release", "--target", "millrace"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    facts = machine(options.folder)
    print(f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, Linux {facts['linux']}, commit {facts['commit']}")
    run(options)
    shutil.rmtree(options.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
