"""Turns a run into tables: minimum/median/maximum of the rounds, Millrace's ratio, and what issue 4 expects."""
import collections
import statistics

import perf_profile
import workloads as table

BEGIN = "<!-- figures of tests/bench/run_bench.py: begin -->"
END = "<!-- figures: end -->"
PAIR_BEGIN = "<!-- figures of tests/bench/run_bench.py --before: begin -->"
PAIR_END = "<!-- figures of --before: end -->"
US = "millrace"
SHARD_ALONE = "the busiest shard"  # of three: that of the leader, where there is one partition


def line(sample):
    """A sample as it comes, on one line."""
    skipped = ("round", "contestant", "workload", "threads", "profile")
    numbers = " ".join(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
                       for key, value in sample.items() if key not in skipped)
    return f"{sample['round']} {sample['contestant']:16} {sample['workload']:16} {numbers}"


class Figures:
    """The samples of a run, by contestant, workload and field."""

    def __init__(self, run):
        self.samples = run["samples"]

    def values(self, contestant, workload, field):
        return sorted(sample[field] for sample in self.samples if sample["contestant"] == contestant
                      and sample["workload"] == workload and field in sample)

    def median(self, contestant, workload, field):
        values = self.values(contestant, workload, field)
        return statistics.median(values) if values else None

    def spread(self, contestant, workload, field, digits=None, scale=1.0):
        """minimum/median/maximum, - if there is nothing."""
        values = self.values(contestant, workload, field)
        if not values:
            return "-"
        return "/".join(number(value * scale, digits)
                        for value in (values[0], statistics.median(values), values[-1]))

    def ratio(self, contestant, workload, field):
        """Millrace's median over the contestant's."""
        ours, theirs = self.median(US, workload, field), self.median(contestant, workload, field)
        return f"{ours / theirs:.2f}" if ours and theirs else "-"

    def contestants(self, workload):
        """Those that have samples of the workload, in the table's order."""
        having = {sample["contestant"] for sample in self.samples
                  if sample["workload"] == workload and "error" not in sample}
        return [one for one in table.CONTESTANTS if one.name in having]


def number(value, digits=None):
    if digits is not None:
        return f"{value:,.{digits}f}"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table_of(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def targets(figures):
    rows = []
    for target in table.TARGETS:
        value = figures.median(US, target.workload, target.field)
        if value is not None and target.over:
            other = figures.median(target.over, target.workload, target.field)
            value = value / other if other else None
        sign = "≤" if target.is_at_most else "≥"
        expected = f"{sign} {target.limit:g}{'×' if target.over else target.unit}"
        if value is None:
            rows.append((target.title, expected, "-", "not measured"))
            continue
        is_met = value <= target.limit if target.is_at_most else value >= target.limit
        shown = f"{value:.2f}×" if target.over else f"{number(value)}{target.unit}"
        rows.append((target.title, expected, shown, "pass" if is_met else "**fail**"))
    return table_of(("expected of Millrace, fsync on", "limit", "median", ""), rows)


def throughput(figures, prefix, kinds):
    """Rates and CPU of the workloads of these kinds."""
    rows = []
    for workload in table.WORKLOADS:
        if workload.kind not in kinds:
            continue
        name = prefix + workload.name
        for one in figures.contestants(name):
            rows.append((workload.title, one.title, figures.spread(one.name, name, "megabytes_per_second", 0),
                         figures.spread(one.name, name, "records_per_second", 0, 1e-3),
                         figures.ratio(one.name, name, "megabytes_per_second"),
                         figures.spread(one.name, name, "broker_cpu_per_gb"),
                         figures.spread(one.name, name, "client_cpu_per_gb"),
                         number(figures.median(one.name, name, "broker_cpu_per_million")),
                         number(figures.median(one.name, name, "client_cpu_per_million"))))
    return table_of(("records", "system", "MB/s", "thousand/s", "Millrace ÷ it", "CPU s/GB, brokers",
                     "CPU s/GB, clients", "CPU s/million, brokers", "clients"), rows)


def on_disk(figures):
    """What a byte of a record costs on each replica's disk."""
    rows = []
    for workload in table.WORKLOADS:
        for one in figures.contestants(workload.name) if workload.kind == "produce" else ():
            rows.append((workload.title, one.title, figures.spread(one.name, workload.name, "device_bytes_per_byte", 2),
                         figures.spread(one.name, workload.name, "process_bytes_per_byte", 2)))
    return table_of(("records", "system", "bytes to the device", "bytes that the brokers wrote"), rows)


def by_thread(figures):
    """CPU of Millrace's threads, all brokers together; and what the busiest shard thread could carry if all else were free."""
    costs = {workload: thread_costs(figures, workload) for workload in table.WORKLOADS if workload.kind == "produce"}
    costs = {workload: cost for workload, cost in costs.items() if cost}
    names = sorted({name for cost in costs.values() for name in cost if name != SHARD_ALONE},
                   key=lambda name: -max(cost.get(name, 0) for cost in costs.values()))
    rows, ceilings = [], []
    for workload, cost in costs.items():
        unit = "GB" if is_by_gigabyte(workload) else "million records"
        rows.append((workload.title, unit, *(number(cost[name]) if name in cost else "-" for name in names)))
        if cost.get(SHARD_ALONE):
            ceilings.append((workload.title, number(cost[SHARD_ALONE]), unit, ceiling(workload, cost[SHARD_ALONE])))
    return "\n\n".join([table_of(("records", "CPU s for a", *names), rows),
                        table_of(("records", "CPU s of the busiest shard thread", "for a", "ceiling of one shard"), ceilings)])


def is_by_gigabyte(workload):
    return workload.record_size >= 1024


def thread_costs(figures, workload):
    """Seconds of each thread for a GB or a million records: medians of the rounds; and of the busiest shard alone."""
    rounds = []
    for sample in figures.samples:
        if sample["contestant"] == US and sample["workload"] == workload.name and sample.get("threads"):
            amount = sample["records"] * (workload.record_size / 1e9 if is_by_gigabyte(workload) else 1e-6)
            spent = collections.Counter()
            for threads in sample["threads"]:
                spent.update(threads)
            spent[SHARD_ALONE] = max(threads.get("shard", 0) for threads in sample["threads"])
            rounds.append({name: seconds / amount for name, seconds in spent.items()})
    return {name: statistics.median(one.get(name, 0) for one in rounds) for name in set().union(*rounds)}


def ceiling(workload, cost):
    return f"{1 / cost:.2f} GB/s" if is_by_gigabyte(workload) else f"{1000 / cost:,.0f} thousand records/s"


def by_kind(run):
    """What the leader's CPU was spent for; nothing where no profile was asked for."""
    if run.get("no_profile"):
        return [f"No profile: {run['no_profile']}."]
    shares = {}
    for workload in table.WORKLOADS:
        profiles = [sample["profile"] for sample in run["samples"] if sample["contestant"] == US
                    and sample["workload"] == workload.name and "profile" in sample]
        if profiles:
            shares[workload] = {kind: statistics.median(one.get(kind, 0) for one in profiles) for kind in set().union(*profiles)}
    if not shares:
        return []
    kinds = [kind for kind, _ in perf_profile.KINDS] + [perf_profile.OTHER]
    return ["Of the leader's CPU, percent by kind of function, of samples that also slow it a little:",
            table_of(("records", *kinds), [(workload.title, *(f"{share.get(kind, 0):.1f}" for kind in kinds))
                                           for workload, share in shares.items()])]


def latency(figures, kind="rate"):
    rows = []
    for workload in table.WORKLOADS:
        if workload.kind == kind:
            for one in figures.contestants(workload.name):
                rows.append((workload.title, one.title) + tuple(
                    figures.spread(one.name, workload.name, field) for field in ("p50_ms", "p99_ms", "p999_ms"))
                    + (number(figures.median(one.name, workload.name, "broker_cpu_per_million")),))
    return table_of(("load", "system", "p50 ms", "p99 ms", "p99.9 ms", "CPU s/million, brokers"), rows)


def life(figures):
    rows = []
    for one in figures.contestants("start"):
        rows.append((one.title, figures.spread(one.name, "start", "start_seconds"),
                     figures.spread(one.name, "gap", "gap_ms", 0),
                     figures.spread(one.name, "memory-fresh", "resident_mb", 0),
                     figures.spread(one.name, "memory-loaded", "resident_mb", 0),
                     figures.spread(one.name, "memory-loaded", "peak_mb", 0)))
    return table_of(("system", "start to first acknowledged record, s", "longest gap after kill -9 of the leader, ms",
                     "resident MB, fresh", "resident MB, after the load", "peak MB"), rows)


def failures(run):
    failed = [f"- round {sample['round']}, {sample['contestant']}, {sample['workload']}: "
              f"{sample['error'].splitlines()[0]}" for sample in run["samples"] if "error" in sample]
    return ["### Failed runs", "\n".join(failed)] if failed else []


def disk(facts_of):
    """In one sentence; runs of before have none."""
    if not facts_of:
        return ""
    direct = f", {number(facts_of['direct_mb_per_second'])} MB/s by O_DIRECT" if "direct_mb_per_second" in facts_of else ""
    return (f" Disk: fdatasync of 4 KiB {facts_of['sync_4k_ms']:.2f} ms, of 1 MiB {facts_of['sync_1m_ms']:.2f} ms, "
            f"{number(facts_of['page_cache_mb_per_second'])} MB/s through the page cache{direct}.")


def disk_limit(told):
    """Whether the disk was as slow as it was asked to be; nothing if it was not asked."""
    if not told:
        return ""
    limit = f"{number(told['mb_per_second'])} MB/s"
    refused = "; ".join(f"{way}: {why}" for way, why in told["refused"].items())
    if not told["way"]:
        return f" **The disk could not be limited to {limit}** ({refused})."
    measured = ", ".join(f"{kind} {number(rate)}" for kind, rate in told["measured_mb_per_second"].items())
    return (f" The disk is limited to {limit} each for reads and writes by a {told['way']}, with a CPU use of its own"
            f" where a process does it; by its counter, MB/s: {measured}." + (f" Not by {refused}." if refused else ""))


def facts(run):
    it = run["machine"]
    quick = " **A quick run: it shows that everything runs, not how fast.**" if run["is_quick"] else ""
    return (f"Machine: {it['cpu']}, {it['cores']} cores, {it['memory_gib']} GiB, {it['file_system']}, "
            f"Linux {it['linux']}; load average at the start {it['load_average']:.1f}. {run['date']}, commit "
            f"{it['commit']}, {run['rounds']} rounds in {run['minutes']:.0f} minutes. "
            f"{'; '.join(run['versions'].values())}.{disk(it.get('disk'))}{disk_limit(run.get('disk_limit'))}{quick}")


def plot(name):
    """As docs/benchmarks.md shows it."""
    return f"![{name}](images/{name}.svg)"


def render(run, plot=plot):
    figures = Figures(run)
    parts = [
        facts(run), "### What was expected", targets(figures),
        "### Produce", plot("throughput"), throughput(figures, "", ("produce",)),
        plot("cpu"), "### CPU by thread of the three brokers, and the ceiling of one shard", by_thread(figures),
        *by_kind(run), "### On the disk, for a byte of a record and replica", on_disk(figures),
        "### Catch-up read", throughput(figures, "read-", ("produce",)),
        "### The same, not in the page cache", throughput(figures, "cold-", ("produce",)),
        f"### Tail, one producer to {run['settings']['fan_out']} consumers: all deliveries together",
        throughput(figures, "", ("fanout",)),
        "### Latency at fixed rates, from when a record was due to its acknowledgement", plot("latency"),
        latency(figures), "### The same, from when a record was due until a consumer at the tail has it",
        latency(figures, "end-to-end"),
        "### Start, failure, memory of the largest broker", plot("life"), life(figures), *failures(run)]
    return "\n\n".join(part for part in parts if part) + "\n"


def title(run):
    """Of a run beside another one."""
    told = run.get("disk_limit")
    return f"## Figures with a disk of {number(told['mb_per_second'])} MB/s" if told and told["way"] else "## Figures again"


def render_all(runs):
    """Of one machine and of others, or of one disk and others; the plots are the first one's."""
    rest = [f"{title(run)}\n\n{render(run, plot=lambda name: '')}" for run in runs[1:]]
    return "\n".join([render(runs[0]), *rest])


def is_pair(run):
    """Whether another build of Millrace ran beside this one."""
    return any(sample["contestant"] == table.BEFORE for sample in run["samples"])


def render_pair(run):
    figures = Figures(run)
    return "\n\n".join([facts(run), throughput(figures, "", ("produce", "fanout")),
                        "CPU by thread:", by_thread(figures), *by_kind(run),
                        "On the disk, for a byte of a record and replica:", on_disk(figures), "Catch-up reads:",
                        throughput(figures, "read-", ("produce",)), latency(figures), life(figures),
                        *failures(run)]) + "\n"


def write(document, *runs):
    """Puts the tables between the document's markers for such runs."""
    begin, end, rendered = (PAIR_BEGIN, PAIR_END, render_pair(runs[0])) if is_pair(runs[0]) else \
        (BEGIN, END, render_all(runs))
    text = document.read_text(encoding="utf-8")
    before, mark, rest = text.partition(begin)
    _, end_mark, after = rest.partition(end)
    if not mark or not end_mark:
        raise ValueError(f"{document} has no markers")
    document.write_text(f"{before}{begin}\n\n{rendered}\n{end}{after}", encoding="utf-8")
