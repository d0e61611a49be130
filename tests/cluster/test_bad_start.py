"""Servers that must refuse to start, or to join: each says in one line what is wrong and where."""
import os
import re
import shutil
import signal
import subprocess
import tempfile

import pytest

from local_cluster import free_ports, wait_until

REFUSE_SECONDS_MAX = 10


def refusal(binary, folder, *flags, data_dir=None):
    """What a server that must end by itself says last."""
    command = [str(binary), "server", "--data-dir", str(data_dir or folder / "data"), *flags]
    for flag, port in zip(("--listen", "--internal-listen"), free_ports(2)):
        if flag not in flags:
            command += [flag, f"127.0.0.1:{port}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=REFUSE_SECONDS_MAX, check=False)
    assert done.returncode not in (0, None) and done.returncode > 0, done.stderr
    return done.stderr.strip().splitlines()[-1]


def says_within(broker, *texts):
    """Until the broker's log holds all the texts on one line, whether it ends or goes on."""
    def found():
        return any(all(text in line for text in texts) for line in broker.log_text().splitlines())

    wait_until(found, f"broker {broker.broker_id} says {texts}:\n{broker.log_tail()}", REFUSE_SECONDS_MAX)


@pytest.mark.parametrize("flag", ["--listen", "--internal-listen"])
def test_listener_outside_loopback_needs_insecure(binary, folder, flag):
    said = refusal(binary, folder, flag, f"0.0.0.0:{free_ports(1)[0]}")
    assert flag in said and "--insecure" in said
    assert not (folder / "data").exists()


def test_broker_that_is_no_controller_is_refused(binary, folder):
    said = refusal(binary, folder, "--broker-id", "4", "--controllers",
                   "1@127.0.0.1:1,2@127.0.0.1:2,3@127.0.0.1:3")
    assert "--broker-id: 4 is not among --controllers" in said


@pytest.mark.parametrize("controllers, says", [
    ("1@127.0.0.1:7,1@127.0.0.1:8", "twice"),
    ("1@127.0.0.1:7,2@127.0.0.1:7", "twice"),
    ("127.0.0.1:7", "ID@HOST:PORT"),
    ("1@127.0.0.1", "127.0.0.1"),
])
def test_malformed_controllers_are_refused(binary, folder, controllers, says):
    said = refusal(binary, folder, "--controllers", controllers)
    assert "--controllers" in said and says in said


@pytest.mark.parametrize("count", [2, 4])
def test_an_even_number_of_controllers_is_refused(binary, folder, count):
    controllers = ",".join(f"{i}@127.0.0.1:{i}" for i in range(1, count + 1))
    said = refusal(binary, folder, "--controllers", controllers)
    assert "--controllers" in said and f"{count} brokers" in said and "one, three or five" in said
    assert not (folder / "data").exists()


def test_a_single_broker_does_not_grow_by_another_list(single, binary, folder):
    single.run("topic", "create", "kept")
    single.stop_all()
    broker = single.brokers[1]
    controllers = f"1@{broker.internal_address},2@127.0.0.1:2,3@127.0.0.1:3"
    said = refusal(binary, folder, "--cluster", "millrace", "--internal-listen", broker.internal_address,
                   "--controllers", controllers, data_dir=broker.data_dir)
    assert "{1}" in said and "{1, 2, 3}" in said and "wipe" not in said
    single.start_all()
    assert [topic["name"] for topic in single.json("topic", "list")["topics"]] == ["kept"]


def test_fresh_brokers_of_which_one_has_another_list_form_no_cluster(make_cluster):
    cluster = make_cluster()
    for broker_id in (1, 2):
        cluster.start(broker_id)
    longer = cluster.controllers + "".join(f",{i}@127.0.0.1:{i}" for i in (4, 5))
    cluster.brokers[3].start("--broker-id", "3", "--cluster", cluster.name, "--controllers", longer)

    def is_told():
        return any("{1, 2, 3}" in broker.log_text() and "{1, 2, 3, 4, 5}" in broker.log_text()
                   for broker in cluster.brokers.values())

    wait_until(is_told, f"a broker names both lists:\n{cluster.log_tails()}", REFUSE_SECONDS_MAX)
    assert not any("joining the cluster" in broker.log_text() for broker in cluster.brokers.values())


def test_unknown_flag_is_refused(binary, folder):
    assert "--no-such-flag" in refusal(binary, folder, "--no-such-flag", "1")


def test_port_in_use_is_named(single, binary, folder):
    in_use = single.brokers[1].client_address
    said = refusal(binary, folder, "--listen", in_use, data_dir=folder / "other")
    assert in_use in said and "in use" in said
    assert single.brokers[1].is_running()


def test_internal_port_in_use_is_named(single, binary, folder):
    in_use = single.brokers[1].internal_address
    said = refusal(binary, folder, "--internal-listen", in_use, data_dir=folder / "other")
    assert in_use in said
    assert single.brokers[1].is_running()


def test_data_directory_in_use_is_named(single, binary, folder):
    data_dir = single.brokers[1].data_dir
    said = refusal(binary, folder, data_dir=data_dir)
    assert str(data_dir) in said and "in use" in said
    single.run("topic", "create", "still-there")


def test_data_directory_of_another_cluster_is_refused(single, binary, folder):
    single.stop_all()
    said = refusal(binary, folder, "--cluster", "other", data_dir=single.brokers[1].data_dir)
    assert 'the data directory belongs to cluster "millrace", not "other"' in said
    single.start_all()


def test_data_directory_of_another_broker_is_refused(cluster, binary, folder):
    broker = cluster.brokers[2]
    broker.end(signal.SIGTERM)
    said = refusal(binary, folder, "--broker-id", "1", "--cluster", "demo", "--controllers",
                   cluster.controllers, "--internal-listen", broker.internal_address,
                   data_dir=broker.data_dir)
    assert "the data directory belongs to broker 2, not broker 1" in said


def test_data_directory_without_superblock_is_corrupt_not_fresh(single, binary, folder):
    single.run("topic", "create", "kept")
    single.stop_all()
    data_dir = single.brokers[1].data_dir
    saved = folder / "SUPERBLOCK"
    shutil.move(data_dir / "SUPERBLOCK", saved)
    said = refusal(binary, folder, data_dir=data_dir)
    assert "SUPERBLOCK" in said.upper()
    shutil.move(saved, data_dir / "SUPERBLOCK")
    single.start_all()
    assert [topic["name"] for topic in single.json("topic", "list")["topics"]] == ["kept"]


def test_damaged_superblock_is_named(single, binary, folder):
    single.stop_all()
    data_dir = single.brokers[1].data_dir
    path = data_dir / "SUPERBLOCK"
    path.write_bytes(bytes(byte ^ 0xFF for byte in path.read_bytes()))
    assert "SUPERBLOCK" in refusal(binary, folder, data_dir=data_dir).upper()


def test_data_directory_that_is_a_file_is_refused(binary, folder):
    path = folder / "a-file"
    path.write_text("not a folder")
    assert str(path) in refusal(binary, folder, data_dir=path)


def test_data_directory_that_cannot_be_made_is_refused(binary, folder):
    (folder / "a-file").write_text("")
    path = folder / "a-file" / "data"
    assert str(path) in refusal(binary, folder, data_dir=path)


def test_unreadable_data_directory_is_refused(binary, folder):
    path = folder / "closed"
    path.mkdir(mode=0o700 if os.geteuid() == 0 else 0)
    # Permissions count for all but root, so root becomes nobody, with a copy that nobody can reach.
    as_nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory() as reachable:
        os.chmod(reachable, 0o755)
        copy = shutil.copy(binary, reachable)
        done = subprocess.run([copy, "server", "--data-dir", str(path)], capture_output=True, text=True,
                              timeout=REFUSE_SECONDS_MAX, cwd="/", check=False, **as_nobody)
    path.chmod(0o700)
    assert done.returncode == 1, done.stderr
    assert str(path) in done.stderr and "denied" in done.stderr.lower()


def test_second_broker_with_the_same_id_is_refused_while_the_first_lives(make_cluster):
    cluster = make_cluster()
    cluster.start_all()
    cluster.run("topic", "create", "events", "--partitions", "3", "--replicas", "3")
    double = cluster.brokers[2]
    twin = type(double)(double.binary, 2, cluster.folder / "twin", *free_ports(2))
    twin.log_path.parent.mkdir(parents=True)
    try:
        twin.start(*cluster.member_flags(2))
        saying = wait_until(lambda: [line for broker in (twin, *cluster.brokers.values())
                                     for line in broker.log_text().splitlines()
                                     if re.search(r"broker id 2 is in use by incarnation|broker 2\b.* was wiped", line)],
                            "the double is refused", REFUSE_SECONDS_MAX)
        assert saying
        cluster.wait_alive(cluster.brokers)
        cluster.run("topic", "create", "more", "--partitions", "3", "--replicas", "3")
    finally:
        twin.end(signal.SIGKILL)


def test_wiped_controller_is_refused_by_name_and_the_others_go_on(cluster, folder):
    cluster.run("topic", "create", "events", "--partitions", "3", "--replicas", "3")
    wiped = cluster.brokers[3]
    wiped.end(signal.SIGTERM)
    shutil.rmtree(wiped.data_dir)
    cluster.start(3)
    wait_until(lambda: any(re.search(r"broker 3\b.* was wiped", b.log_text()) for b in cluster.brokers.values()),
               "a broker says that 3 was wiped", REFUSE_SECONDS_MAX)
    (folder / "lines").write_text("".join(f"row {i}\n" for i in range(100)))
    cluster.run("produce", "events", folder / "lines")
    assert cluster.stored_records("events") == 100


def test_broker_of_another_cluster_name_is_refused_by_the_others(cluster):
    cluster.run("topic", "create", "events", "--replicas", "3")
    cluster.kill(3)
    shutil.rmtree(cluster.brokers[3].data_dir)
    stranger = cluster.brokers[3]
    stranger.start("--broker-id", "3", "--cluster", "other", "--controllers", cluster.controllers)
    says_within(stranger, '"demo"', '"other"', "belong to different clusters")
    cluster.wait_alive([1, 2])


def test_broker_whose_data_directory_is_removed_ends(single):
    broker = single.brokers[1]
    single.run("topic", "create", "events")
    shutil.rmtree(broker.data_dir)
    says_within(broker, "data directory", str(broker.data_dir), "removed")
    assert broker.process.wait(timeout=REFUSE_SECONDS_MAX) == 1
