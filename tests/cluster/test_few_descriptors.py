"""Far fewer descriptors than partitions: files take turns, and nothing is lost, neither then nor after a restart."""
from load import read_back

FILES_MAX = 128
PARTITIONS = 150
RECORDS = 2000


def test_more_partitions_than_descriptors_lose_nothing(make_cluster, folder):
    cluster = make_cluster(count=1)
    broker = cluster.brokers[1]
    broker.prefix = ["sh", "-c", f'ulimit -n {FILES_MAX}; exec "$@"', "sh"]
    cluster.start_all()
    cluster.run("topic", "create", "events", "--partitions", PARTITIONS)
    (folder / "lines").write_text("".join(f"k{number}:v{number}\n" for number in range(RECORDS)))
    cluster.run("produce", "events", "--key-separator", ":", folder / "lines")
    expected = sorted(f"v{number}" for number in range(RECORDS))
    assert sorted(record["value"] for record in read_back(cluster, "events")) == expected
    cluster.stop_all()
    broker.prefix = []
    cluster.start_all()
    assert sorted(record["value"] for record in read_back(cluster, "events")) == expected
    assert "Too many open files" not in broker.log_text()
