"""Transactions as a small client does them, by generated code: what is read is all of one or nothing, whatever dies."""
import queue
import random
import threading
import time

import grpc
import pytest

from local_cluster import LocalCluster, wait_until

TOPIC = "t"
PARTITIONS = 3
PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED,
           grpc.StatusCode.RESOURCE_EXHAUSTED)
CALL_SECONDS_MAX = 15


@pytest.fixture()
def cluster(binary, tmp_path):
    with LocalCluster(binary, tmp_path) as cluster:
        cluster.start_all()
        cluster.run("topic", "create", TOPIC, "--partitions", str(PARTITIONS), "--replicas", "3")
        yield cluster


class Lost(Exception):
    """What became of it is not known, or it is refused: the producer begins its next epoch."""


class Producer:
    """One transactional id. A Produce stream at one broker, and another one where that breaks."""

    def __init__(self, api, transactional_id, addresses, topic=TOPIC):
        self.api = api
        self.transactional_id = transactional_id
        self.topic = topic
        self.addresses = list(addresses)
        self.number = 0
        self.sequences = {}
        self.id = self.epoch = None
        self.channel = self.requests = self.results = None
        self.connect()

    def connect(self):
        self.close()
        self.addresses.append(self.addresses.pop(0))
        self.channel = grpc.insecure_channel(self.addresses[0], options=[("grpc.enable_retries", 0)])
        self.requests = queue.Queue()
        self.requests.put(self.api.ProduceRequest(init={}))
        self.results = self.api.ProducerServiceStub(self.channel).Produce(iter(self.requests.get, None))

    def close(self):
        if self.channel is not None:
            self.requests.put(None)
            self.results.cancel()
            self.channel.close()

    def call(self, stub, method, request):
        """A unary call, again at the next broker where one does not answer."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return getattr(stub(self.channel), method)(request, timeout=CALL_SECONDS_MAX)
            except grpc.RpcError as error:
                if error.code() not in PASSING or time.monotonic() > deadline:
                    raise
                self.connect()
                time.sleep(0.05)

    def init(self):
        request = self.api.InitProducerRequest(transactional_id=self.transactional_id,
                                               request_id=random.getrandbits(63) | 1, transaction_timeout_ms=10_000)
        given = self.call(self.api.ProducerServiceStub, "InitProducer", request)
        assert self.epoch is None or given.producer_id != self.id or given.producer_epoch > self.epoch
        self.id, self.epoch, self.number, self.sequences = given.producer_id, given.producer_epoch, 0, {}

    def send(self, partition, value, number=None):
        """Stores one record, or raises Lost with the error, None where there was no answer."""
        sequence = self.sequences.get(partition, 0)
        batch = self.api.RecordBatch(producer_id=self.id, producer_epoch=self.epoch, first_sequence=sequence,
                                     transaction_number=self.number if number is None else number,
                                     records=[self.api.Record(value=value.encode())])
        self.requests.put(self.api.ProduceRequest(batches=[{"topic": self.topic, "partition": partition, "batch": batch}]))
        try:
            results = next(answer.results for answer in self.results if answer.results)
        except (grpc.RpcError, StopIteration) as error:
            self.connect()
            raise Lost(None) from error
        if results[0].HasField("error"):
            raise Lost(results[0].error)
        self.sequences[partition] = sequence + 1
        return results[0].base_offset

    def end(self, is_committed, number=None):
        result = self.api.TRANSACTION_RESULT_COMMIT if is_committed else self.api.TRANSACTION_RESULT_ABORT
        self.call(self.api.TransactionServiceStub, "EndTransaction", self.api.EndTransactionRequest(
            transactional_id=self.transactional_id, producer_id=self.id, producer_epoch=self.epoch,
            transaction_number=self.number if number is None else number, result=result))


def read_all(api, address, isolation):
    """Values of all partitions, in their order, up to the end that this isolation has now."""
    with grpc.insecure_channel(address) as channel:
        request = api.SubscribeRequest(topic=TOPIC, position={"earliest": True}, stop_at_end=True, isolation=isolation)
        values = {partition: [] for partition in range(PARTITIONS)}
        for answer in api.ConsumerServiceStub(channel).Subscribe(request, timeout=60):
            for record in answer.records:
                values[record.partition].append(record.record.value.decode())
        return values


def ends(api, address, isolation):
    with grpc.insecure_channel(address) as channel:
        listed = api.ConsumerServiceStub(channel).ListOffsets(
            api.ListOffsetsRequest(topic=TOPIC, isolation=isolation), timeout=30)
        return [partition.end_offset for partition in listed.partitions]


def refusal(what, *arguments, **options):
    with pytest.raises(grpc.RpcError) as refused:
        what(*arguments, **options)
    return refused.value.code(), refused.value.details()


def test_what_is_committed_is_read_and_what_is_aborted_never(api, cluster):
    addresses = [broker.client_address for broker in cluster.brokers.values()]
    committed, uncommitted = api.ISOLATION_COMMITTED, api.ISOLATION_UNCOMMITTED
    one = Producer(api, "one", addresses)
    one.init()
    one.number = 1
    for partition in range(PARTITIONS):
        one.send(partition, "first")
    assert read_all(api, addresses[0], committed) == {partition: [] for partition in range(PARTITIONS)}
    assert read_all(api, addresses[0], uncommitted) == {partition: ["first"] for partition in range(PARTITIONS)}
    assert ends(api, addresses[0], committed) == [0] * PARTITIONS
    assert ends(api, addresses[0], uncommitted) == [1] * PARTITIONS
    one.end(True)
    one.end(True)  # an answer that was lost
    wait_until(lambda: ends(api, addresses[1], committed) == [1] * PARTITIONS, "the markers", 30)
    # The next one need not wait until partitions know of the one before.
    one.number = 2
    one.send(0, "second")
    one.end(False)
    one.number = 3
    one.send(0, "third")
    one.end(True)
    one.number = 4
    one.end(True)  # of nothing
    wait_until(lambda: ends(api, addresses[2], committed)[0] == 3, "the markers", 30)
    assert read_all(api, addresses[1], committed) == {0: ["first", "third"], 1: ["first"], 2: ["first"]}
    assert read_all(api, addresses[1], uncommitted)[0] == ["first", "second", "third"]

    # What has ended stays so, and a batch that comes late is told.
    assert refusal(one.end, False, number=3)[0] == grpc.StatusCode.ABORTED
    with pytest.raises(Lost) as late:
        one.send(0, "late", number=3)
    assert late.value.args[0].info.reason == "TRANSACTION_ENDED", late.value

    # Another producer takes the id: what the first one had open is aborted, and it gets no further.
    one.number = 5
    one.send(1, "zombie")
    two = Producer(api, "one", addresses)
    two.init()
    assert (two.id, two.epoch) == (one.id, one.epoch + 1)
    wait_until(lambda: ends(api, addresses[0], committed)[1] == 2, "the marker of what was fenced", 30)
    assert refusal(one.end, True)[0] == grpc.StatusCode.ABORTED
    one.number = 6
    with pytest.raises(Lost) as fenced:
        one.send(2, "zombie")
    assert fenced.value.args[0].info.reason == "TRANSACTION_FENCED", fenced.value
    two.number = 1
    two.send(1, "successor")
    two.end(True)
    wait_until(lambda: ends(api, addresses[0], committed)[1] == 3, "the marker", 30)
    assert read_all(api, addresses[0], committed)[1] == ["first", "successor"]

    # What takes too long is aborted, and its producer told, who goes on with the next number.
    two.number = 2
    two.send(2, "slow")
    wait_until(lambda: ends(api, addresses[0], committed)[2] == 2, "the time limit", 60)
    code, words = refusal(two.end, True)
    assert code == grpc.StatusCode.ABORTED, words
    two.number = 3
    two.send(2, "afterwards")
    two.end(True)
    wait_until(lambda: ends(api, addresses[0], committed)[2] == 3, "the marker", 30)
    assert read_all(api, addresses[0], committed)[2] == ["first", "afterwards"]
    for producer in (one, two):
        producer.close()


class Reader:
    """Offsets of a group, in transactions of a producer."""

    def __init__(self, api, producer, group):
        self.api, self.producer, self.group = api, producer, group

    def transaction(self):
        return self.api.TransactionName(producer_id=self.producer.id, producer_epoch=self.producer.epoch,
                                        number=self.producer.number)

    def stage(self, partition, offset):
        request = self.api.CommitOffsetsRequest(group=self.group, transaction=self.transaction())
        request.topics.add(topic=TOPIC).partitions.add(partition=partition, offset=offset)
        answer = self.producer.call(self.api.GroupServiceStub, "CommitOffsets", request)
        assert not answer.refused, answer

    def fetch(self, partition):
        request = self.api.FetchOffsetsRequest(group=self.group)
        request.topics.add(topic=TOPIC, partitions=[partition])
        one = self.producer.call(self.api.GroupServiceStub, "FetchOffsets", request).topics[0].partitions[0]
        return one.offset if one.HasField("offset") else None, one.is_in_transaction


def test_offsets_of_a_group_count_with_their_transaction(api, cluster):
    addresses = [broker.client_address for broker in cluster.brokers.values()]
    one = Producer(api, "one", addresses)
    one.init()
    reader = Reader(api, one, "readers")
    for number, is_committed, expected in ((1, False, None), (2, True, 2)):
        one.number = number
        one.send(0, "x")
        reader.stage(0, number)
        assert reader.fetch(0) == (None, True)
        described = one.call(api.TransactionServiceStub, "DescribeTransaction",
                             api.DescribeTransactionRequest(transactional_id="one"))
        assert described.has_group_offsets and [partition.partition for partition in described.partitions] == [0]
        code, said = refusal(api.GroupServiceStub(one.channel).DeleteGroup, api.DeleteGroupRequest(group="readers"), timeout=30)
        assert code == grpc.StatusCode.FAILED_PRECONDITION and "transaction" in said
        one.end(is_committed)
        wait_until(lambda expected=expected: reader.fetch(0) == (expected, False), "the end is known to the group", 30)
    code, said = refusal(reader.stage, 0, 3)
    assert code == grpc.StatusCode.ABORTED and "transaction 2" in said
    one.number, one.epoch = 3, one.epoch + 1
    assert refusal(reader.stage, 0, 3)[0] == grpc.StatusCode.NOT_FOUND, "an epoch that nobody gave"
    one.epoch -= 1
    one.number = 0
    assert refusal(reader.stage, 0, 3)[0] == grpc.StatusCode.INVALID_ARGUMENT
    assert reader.fetch(0) == (2, False)
    one.close()


def test_a_member_that_is_taken_out_has_its_transaction_aborted_at_once(api, cluster):
    addresses = [broker.client_address for broker in cluster.brokers.values()]
    one, other = (Producer(api, name, addresses) for name in ("one", "other"))
    one.init()
    other.init()
    other.number = 1
    other.send(0, "read")
    other.end(True)
    said = queue.Queue()
    said.put(api.ConsumeRequest(init={
        "group": "readers", "member_id": "m", "subscription": {"topics": [TOPIC]}, "session_timeout_ms": 2000,
        "producer": {"transactional_id": "one", "producer_id": one.id, "producer_epoch": one.epoch}}))
    stream = api.GroupServiceStub(other.channel).Consume(iter(said.get, None), timeout=60)
    one.number = 1
    for answer in stream:
        if not answer.records:
            if answer.number:
                said.put(api.ConsumeRequest(done={"up_to": answer.number}))
            continue
        one.send(1, "written")
        said.put(api.ConsumeRequest(commit={"commit_id": 1, "up_to": answer.number,
                                            "transaction": Reader(api, one, "readers").transaction()}))
        break
    answer = next(answer for answer in stream if answer.HasField("commit"))
    assert not answer.commit.HasField("error") and not answer.commit.refused, answer
    assert Reader(api, one, "readers").fetch(0) == (None, True)
    stream.cancel()
    said.put(None)
    # Nobody hears of it any more.
    wait_until(lambda: ends(api, addresses[0], api.ISOLATION_COMMITTED)[1] == 1, "it was aborted", 30)
    wait_until(lambda: Reader(api, other, "readers").fetch(0) == (None, False), "its offset is forgotten", 30)
    code, text = refusal(one.end, True)
    assert code == grpc.StatusCode.ABORTED and "was initialized anew" in text, text
    assert read_all(api, addresses[0], api.ISOLATION_COMMITTED)[1] == []
    # Who had it and lost it takes it from nobody.
    init = api.InitProducerRequest(transactional_id="one", request_id=7, producer_id=one.id, producer_epoch=one.epoch)
    assert refusal(api.ProducerServiceStub(other.channel).InitProducer, init, timeout=30)[0] == grpc.StatusCode.ABORTED
    for producer in (one, other):
        producer.close()


def test_bad_requests_are_refused_by_name(api, cluster):
    address = list(cluster.brokers.values())[0].client_address
    with grpc.insecure_channel(address) as channel:
        producers = api.ProducerServiceStub(channel)
        transactions = api.TransactionServiceStub(channel)

        def init(**fields):
            return refusal(producers.InitProducer, api.InitProducerRequest(**fields), timeout=20)
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        assert init(transactional_id="t") == (invalid, "request_id is 0")
        assert init(request_id=7)[0] == invalid
        assert init(transactional_id="t", request_id=1, producer_id=5)[0] == invalid
        for bad in ("x" * 250, "line\nbreak"):
            code, words = init(transactional_id=bad, request_id=1)
            assert code == invalid and "transactional_id" in words
        for limit in (999, 900_001):
            code, words = init(transactional_id="t", request_id=1, transaction_timeout_ms=limit)
            assert code == invalid and str(limit) in words

        def end(**fields):
            request = {"transactional_id": "t", "producer_id": 9, "producer_epoch": 1, "transaction_number": 1,
                       "result": api.TRANSACTION_RESULT_COMMIT, **fields}
            return refusal(transactions.EndTransaction, api.EndTransactionRequest(**request), timeout=20)
        assert end()[0] == grpc.StatusCode.NOT_FOUND
        assert end(result=0)[0] == invalid
        assert end(result=7)[0] == invalid
        assert end(transaction_number=0)[0] == invalid
        assert end(transactional_id="")[0] == invalid

        described = refusal(transactions.DescribeTransaction,
                            api.DescribeTransactionRequest(transactional_id="t"), timeout=20)
        assert described[0] == grpc.StatusCode.NOT_FOUND
        assert refusal(transactions.ListTransactions, api.ListTransactionsRequest(page_token="no"),
                       timeout=20)[0] == invalid


def test_an_administrator_sees_what_is_open_and_aborts_it(api, cluster):
    addresses = [broker.client_address for broker in cluster.brokers.values()]
    producer = Producer(api, "orders-1", addresses)
    producer.init()
    producer.number = 1
    producer.send(0, "one")
    producer.send(2, "two")
    with grpc.insecure_channel(addresses[1]) as channel:
        stub = api.TransactionServiceStub(channel)

        def listed(**fields):
            found, token = [], ""
            while True:
                page = stub.ListTransactions(api.ListTransactionsRequest(page_token=token, **fields), timeout=30)
                found += page.transactions
                token = page.next_page_token
                if not token:
                    return found
        assert [one.transactional_id for one in listed()] == ["orders-1"]
        assert listed(prefix="other") == []
        assert listed(states=[api.TRANSACTION_STATE_IDLE]) == []
        one, = listed(prefix="orders", states=[api.TRANSACTION_STATE_ONGOING])
        assert (one.producer_id, one.producer_epoch, one.transaction_number) == (producer.id, producer.epoch, 1)
        described = stub.DescribeTransaction(api.DescribeTransactionRequest(transactional_id="orders-1"), timeout=30)
        assert described.state == api.TRANSACTION_STATE_ONGOING
        assert described.ongoing_number == 1 and described.transaction_timeout_ms == 10_000
        assert [(part.topic, part.partition) for part in described.partitions] == [(TOPIC, 0), (TOPIC, 2)]
        name = {"transactional_id": "orders-1", "producer_id": producer.id, "producer_epoch": producer.epoch}
        code, _ = refusal(stub.AbortTransaction, api.AbortTransactionRequest(transaction_number=2, **name), timeout=30)
        assert code == grpc.StatusCode.FAILED_PRECONDITION
        for _ in range(2):
            stub.AbortTransaction(api.AbortTransactionRequest(transaction_number=1, **name), timeout=30)
        wait_until(lambda: ends(api, addresses[0], api.ISOLATION_COMMITTED) == [1, 0, 1], "the markers", 30)
        described = stub.DescribeTransaction(api.DescribeTransactionRequest(transactional_id="orders-1"), timeout=30)
        assert (described.last_number, described.last_reason) == (1, "administrator")
        assert described.last_result == api.TRANSACTION_RESULT_ABORT
    assert refusal(producer.end, True)[0] == grpc.StatusCode.ABORTED
    producer.close()


class Load(threading.Thread):
    """Transactions of one record in each partition, committed or aborted in turn, as long as it is told to."""

    def __init__(self, api, name, addresses):
        super().__init__(daemon=True)
        self.producer = Producer(api, name, addresses)
        self.name = name
        self.outcomes = {}  # of each value: True, False, or None where nobody told
        self.is_over = False
        self.fault = None
        self.start()

    def run(self):
        try:
            self.produce()
        except Exception as error:  # pylint: disable=broad-exception-caught
            self.fault = error

    def produce(self):
        self.producer.init()
        count = 0
        while not self.is_over:
            count += 1
            value = f"{self.name}:{count}"
            is_committed = count % 3 != 0
            self.producer.number += 1
            self.outcomes[value] = False
            try:
                for partition in range(PARTITIONS):
                    self.producer.send(partition, value)
                self.outcomes[value] = None if is_committed else False
                self.producer.end(is_committed)
                self.outcomes[value] = is_committed
            except Lost:
                self.producer.init()
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.ABORTED:
                    raise
                self.outcomes[value] = False  # it took too long
                self.producer.init()
        self.producer.close()


def test_all_of_a_transaction_is_read_or_nothing_while_brokers_die(api, cluster):
    addresses = [broker.client_address for broker in cluster.brokers.values()]
    loads = [Load(api, name, addresses[first:] + addresses[:first]) for first, name in enumerate("abc")]

    def committed():
        return sum(outcome is True for load in loads for outcome in list(load.outcomes.values()))

    def wait_for_more(what):
        before = committed()
        wait_until(lambda: committed() >= before + 30, what, 90)
    for broker_id in cluster.brokers:
        wait_for_more("transactions")
        cluster.kill(broker_id)
        wait_for_more("transactions with a broker less")
        cluster.start(broker_id)
        cluster.wait_alive(cluster.brokers)
    for broker_id in cluster.brokers:
        cluster.kill(broker_id)
    cluster.start_all()
    wait_for_more("transactions after all were killed")
    for load in loads:
        load.is_over = True
    for load in loads:
        load.join(timeout=90)
        assert not load.is_alive() and load.fault is None, load.fault
    # Those that nobody ended are by their time limit.
    wait_until(lambda: ends(api, addresses[0], api.ISOLATION_COMMITTED) == ends(api, addresses[0], api.ISOLATION_UNCOMMITTED),
               "nothing is open any more", 60)
    values = read_all(api, addresses[0], api.ISOLATION_COMMITTED)
    for load in loads:
        for value, outcome in load.outcomes.items():
            counts = [values[partition].count(value) for partition in range(PARTITIONS)]
            expected = {True: [[1] * PARTITIONS], False: [[0] * PARTITIONS]}.get(outcome, [[1] * PARTITIONS, [0] * PARTITIONS])
            assert counts in expected, f"{value}: {outcome}, {counts}"
        mine = [int(value.split(":")[1]) for value in values[0] if value.startswith(load.name + ":")]
        assert mine == sorted(mine), "in their order"
