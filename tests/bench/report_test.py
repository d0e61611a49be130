"""What the report makes of samples."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import report  # noqa: E402
import workloads as table  # noqa: E402


def sample(contestant, workload, **fields):
    return {"round": 1, "contestant": contestant, "workload": workload, **fields}


def run_of(*samples):
    machine = {"cpu": "c", "cores": 2, "memory_gib": 4, "file_system": "ext4", "linux": "6", "load_average": 0.1,
               "commit": "abc"}
    return {"date": "2026-01-01", "rounds": 3, "is_quick": False, "machine": machine, "versions": {"kafka": "K 1"},
            "settings": {"fan_out": 5}, "minutes": 1.0, "samples": list(samples)}


def throughput(contestant, workload, rate):
    return sample(contestant, workload, megabytes_per_second=rate, records_per_second=rate * 1000.0,
                  broker_cpu_per_gb=1.0, client_cpu_per_gb=1.0, broker_cpu_per_million=1.0,
                  client_cpu_per_million=1.0)


def test_a_ratio_is_median_over_median_whatever_the_order():
    figures = report.Figures(run_of(*[throughput("millrace", "1k-p1", rate) for rate in (300.0, 100.0, 200.0)],
                                    *[throughput("kafka", "1k-p1", rate) for rate in (50.0, 900.0, 100.0)]))
    assert figures.ratio("kafka", "1k-p1", "megabytes_per_second") == "2.00"
    assert figures.spread("kafka", "1k-p1", "megabytes_per_second", 0) == "50/100/900"


def test_a_target_that_is_missed_says_fail_and_one_without_samples_is_not_called_met():
    rendered = report.targets(report.Figures(run_of(
        throughput("millrace", "1k-p1", 90.0), throughput("kafka", "1k-p1", 100.0),
        throughput("millrace", "100b-p1", 60.0), throughput("kafka", "100b-p1", 100.0),
        sample("millrace", "gap", gap_ms=1001.0))))
    verdicts = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[-1] for line in rendered.splitlines()[2:]}
    assert "fail" in verdicts["1 KiB into one partition, over Kafka without fsync"]
    assert "pass" in verdicts["100 B into one partition, over Kafka without fsync"]
    assert "fail" in verdicts["gap after kill -9 of the leader"]
    assert "not measured" in verdicts["p50 at 1,000 records/s"]


def test_a_failed_run_is_named_and_is_no_figure():
    rendered = report.render(run_of(sample("nats", "fanout", error="stalled\nlog")))
    assert "- round 1, nats, fanout: stalled" in rendered
    assert "| NATS JetStream |" not in rendered


def test_the_document_keeps_what_is_around_the_figures(tmp_path):
    document = tmp_path / "page.md"
    document.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write(document, run_of(throughput("millrace", "1k-p1", 1.0)))
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n")
    assert "old" not in text and "Machine: c, 2 cores" in text


def test_a_run_beside_an_earlier_build_goes_to_its_own_place(tmp_path):
    document = tmp_path / "page.md"
    document.write_text(f"{report.BEGIN}\nthe peers\n{report.END}\n{report.PAIR_BEGIN}\nold\n{report.PAIR_END}\n")
    report.write(document, run_of(throughput("millrace", "1k-p1", 200.0),
                                  throughput(table.BEFORE, "1k-p1", 100.0)))
    text = document.read_text()
    assert "the peers" in text and "old" not in text
    assert "| 1 KiB, 1 partition | Millrace before | 100/100/100 | 100/100/100 | 2.00 |" in text


def test_a_second_run_follows_under_its_own_title_without_plots(tmp_path):
    slow = run_of(throughput("millrace", "1k-p1", 20.0))
    slow["disk_limit"] = {"mb_per_second": 400.0, "way": "loop", "refused": {}, "measured_mb_per_second": {}}
    document = tmp_path / "page.md"
    document.write_text(f"{report.BEGIN}\nold\n{report.END}\n")
    report.write(document, run_of(throughput("millrace", "1k-p1", 200.0)), slow)
    first, second = document.read_text().split("## Figures with a disk of 400 MB/s")
    assert "![throughput]" in first and "| 200/200/200 |" in first
    assert "![" not in second and "| 20/20/20 |" in second


def test_reads_out_of_the_disk_are_told_apart_from_those_out_of_the_page_cache():
    rendered = report.render(run_of(throughput("millrace", "read-1k-p1", 800.0), throughput("millrace", "cold-1k-p1", 90.0)))
    warm, cold = rendered.split("### The same, not in the page cache")
    assert "| 800/800/800 |" in warm and "| 90/90/90 |" in cold and "| 800/800/800 |" not in cold


def test_bytes_on_the_disk_are_told_of_producing_alone():
    wrote = {"device_bytes_per_byte": 2.25, "process_bytes_per_byte": 2.0}
    rows = report.on_disk(report.Figures(run_of(
        {**throughput("millrace", "1k-p1", 1.0), **wrote}, throughput("nats", "1k-p1", 1.0),
        throughput("millrace", "fanout", 1.0)))).splitlines()[2:]
    assert rows == ["| 1 KiB, 1 partition | Millrace | 2.25/2.25/2.25 | 2.00/2.00/2.00 |",
                    "| 1 KiB, 1 partition | NATS JetStream | - | - |"]


def test_the_disk_is_told_of_where_it_was_looked_at():
    run = run_of(throughput("millrace", "1k-p1", 1.0))
    assert "Disk:" not in report.facts(run)
    run["machine"]["disk"] = {"page_cache_mb_per_second": 900.0, "sync_4k_ms": 0.1, "sync_1m_ms": 2.5}
    assert "Disk: fdatasync of 4 KiB 0.10 ms, of 1 MiB 2.50 ms, 900 MB/s through the page cache." in report.facts(run)


def test_every_workload_that_a_contestant_or_target_names_exists():
    known = {workload.name for workload in table.WORKLOADS}
    assert all(set(contestant.workloads) <= known for contestant in table.CONTESTANTS)
    assert all(target.workload.removeprefix("read-") in known for target in table.TARGETS)


def test_a_limited_disk_is_told_with_what_was_measured_and_one_that_could_not_be_with_why():
    run = run_of(throughput("millrace", "1k-p1", 1.0))
    assert "limited" not in report.facts(run)
    run["disk_limit"] = {"mb_per_second": 400.0, "way": "loop", "refused": {"cgroup 2": "has no io controller"},
                         "measured_mb_per_second": {"fdatasync": 398.0}}
    assert "limited to 400 MB/s" in report.facts(run) and "fdatasync 398" in report.facts(run)
    run["disk_limit"]["way"] = None
    assert "**The disk could not be limited to 400 MB/s** (cgroup 2: has no io controller)." in report.facts(run)


def test_cpu_by_thread_is_of_all_brokers_and_the_ceiling_of_the_busiest_shard():
    one = throughput("millrace", "1k-p1", 1.0) | {"records": 1_000_000, "threads": [
        {"shard": 0.512, "journal": 2.048}, {"shard": 0.256}, {"shard": 0.256}]}
    small = throughput("millrace", "100b-p1", 1.0) | {"records": 2_000_000, "threads": [{"shard": 0.5}, {"shard": 0.1}]}
    theirs = throughput("kafka", "1k-p1", 1.0) | {"records": 1_000_000, "threads": [{"gc": 9.0}]}
    lines = report.by_thread(report.Figures(run_of(one, small, theirs))).splitlines()
    assert "| records | CPU s for a | journal | shard |" in lines
    assert "| 1 KiB, 1 partition | GB | 2.00 | 1.00 |" in lines
    assert "| 100 B, 1 partition | million records | - | 0.30 |" in lines
    assert "| 1 KiB, 1 partition | 0.50 | GB | 2.00 GB/s |" in lines
    assert "| 100 B, 1 partition | 0.25 | million records | 4,000 thousand records/s |" in lines


def test_a_profile_is_the_median_of_the_rounds_and_its_absence_has_a_reason():
    run = run_of(*[throughput("millrace", "1k-p1", 1.0) | {"profile": {"memcpy": share, "never": 1.0}} for share in (9.0, 7.0, 8.0)])
    head, _, row = report.by_kind(run)[1].splitlines()
    assert dict(zip(head.split(" | "), row.split(" | ")))["memcpy"] == "8.0"
    assert not report.by_kind(run_of(throughput("millrace", "1k-p1", 1.0)))
    assert report.by_kind(run_of() | {"no_profile": "perf is not there"}) == ["No profile: perf is not there."]
