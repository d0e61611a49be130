#!/usr/bin/env python3
"""A model of storage that writes large entries once (docs/adr/0010-write-once.md): a journal and segments under crashes.

    tests/storage/model/write_once.py --seeds 100000           with all rules nothing is found
    tests/storage/model/write_once.py --leave-out RULE         how often its absence is found, with examples

Groups append, truncate, commit; some entries go into the journal, some straight into the segment, which the journal is told
of later; the power fails, or the process alone dies, between any two steps. What was not synced survives a power cut word by
word, or not. After each the state is recovered as docs/formats.md says, and must be one that the group had at or after the
last that was acknowledged. A sketch of rules, in no time and without bytes: the product's own tests are in this folder's
parent.
"""
import argparse
import collections
import random

# What happens without it.
RULES = {
    "sync_before_ack": "an extent counts before its segment is synced",
    "one_way_at_a_time": "an extent begins while something of its group is on its way into the journal: a write, or the "
                         "word that the segment before is sealed",
    "move_when_durable": "what others committed goes into the segment before its write is durable in the journal here",
    "gap_is_named": "entries behind an extent are journalled, and the journal does not know of the extent",
    "scan_above": "recovery discards what the journal does not name",
    "sync_after_scan": "what recovery finds above the written end counts without a sync",
    "cut_is_told": "frames above the written end count though the journal does not say that the dead are off the segment",
    "cut_is_synced": "the journal says that before the segment, cut, is synced",
    "extent_waits_for_cut": "an extent begins before the journal says, durably, that the dead are off the segment",
    "truncation_cuts_written": "a truncation leaves the written end where it was",
    "truncation_first": "bytes over dead ones, a footer's too, are written before the truncation is durable",
    "end_is_committed": "the log record's end is the written end, committed or not",
    "begin_at_end": "an extent begins inside the last frame before it",
    "roll_when_committed": "a segment is sealed at a written end that is not committed",
}
LOST = object()

Frame = collections.namedtuple("Frame", "index term value chain size")
FOOTER = Frame(0, 0, 0, 0, 1)


class Damage(Exception):
    """What recovery calls damage, or what is no state that was to be."""


class File:
    """Words, each written or lost by itself when the power fails."""

    def __init__(self):
        self.words, self.durable, self.unsynced = {}, {}, []

    def write(self, at, frame):
        for part in range(frame.size):
            self.words[at + part] = (frame, part)
            self.unsynced.append((at + part, (frame, part)))

    def sync(self):
        self.durable = dict(self.words)
        self.unsynced = []

    def cut(self, end):
        self.words = {at: word for at, word in self.words.items() if at < end}

    def lose_power(self, rng):
        for at, word in self.unsynced:
            if rng.random() < 0.5:
                self.durable[at] = word if rng.random() < 0.8 else LOST
        self.words, self.unsynced = dict(self.durable), []

    def read(self, at):
        """The frame there; None if there is none that is whole."""
        first = self.words.get(at, LOST)
        if first is LOST or first[1] != 0:
            return None
        frame = first[0]
        whole = all(self.words.get(at + part) == (frame, part) for part in range(frame.size))
        return frame if whole else None


def follows(frame, before):
    index, chain = (before.index, before.chain) if before else (0, 0)
    return frame.index == index + 1 and frame.chain == hash((chain, frame.index, frame.term, frame.value))


class Group:
    def __init__(self):
        self.term, self.epoch, self.commit = 1, 0, 0
        self.promised = 0       # committed at some time; another leader takes the place of no such entry
        self.log = {}           # by index
        self.end = 0            # as the journal was told
        self.named = 0          # the written end that the journal was told
        self.journalled = 0     # the journal knows of what is up to here, as entries or as a written end
        self.files = [File()]
        self.first = [1]        # index of each file
        self.written = 0        # index up to which the segments have the log
        self.at = 0             # where the next frame goes in the last file
        self.synced = 0
        self.extent = None      # under way: the place in history that its sync acknowledges
        self.pending = []       # blocks on their way: the place in history that each acknowledges
        self.cut_block = 0      # the block that tells of the last truncation
        self.dead_block = 0     # ... of the last one that left dead entries in the segment
        self.cut_epoch = 0      # the dead of truncations up to here are off the segment, as the journal was told
        self.told_block = 0     # the block that told it
        self.history = [self.state()]
        self.acked = 0

    def last(self):
        return max(self.log, default=0)

    def state(self):
        return self.term, tuple((index, frame.term, frame.value) for index, frame in sorted(self.log.items()))

    def durable_last(self):
        """Up to here the log is durable, and is what it is now."""
        return min(len(log) for _, log in self.history[self.acked:])

    def mark(self):
        self.history.append(self.state())
        return len(self.history) - 1


class Broker:
    def __init__(self, rng, left_out):
        self.rng, self.left_out = rng, left_out
        self.groups = {name: Group() for name in "ab"}
        self.blocks = []      # (number, records)
        self.durable = self.number = 0

    def keeps(self, rule):
        return rule not in self.left_out

    # What brokers do

    def block(self, group, records):
        self.number += 1
        self.blocks.append((self.number, records))
        group.pending.append(group.mark())

    def sync_journal(self):
        self.durable = self.number
        for group in self.groups.values():
            group.acked = max([group.acked] + group.pending)
            group.pending = []

    def new_frames(self, group):
        before = group.log.get(group.last())
        index, chain = (before.index, before.chain) if before else (0, 0)
        frames = []
        for _ in range(self.rng.randint(1, 3)):
            index, value = index + 1, self.rng.randrange(1000)
            chain = hash((chain, index, group.term, value))
            frames.append(Frame(index, group.term, value, chain, self.rng.randint(1, 3)))
        return frames

    def naming(self, name, group, index):
        """What the journal is told before an entry behind `index`."""
        if group.journalled >= index or not self.keeps("gap_is_named"):
            return []
        group.named = group.journalled = index
        return [("written", name, index)]

    def append_small(self, name, group):
        if group.extent is not None:
            return
        records = self.naming(name, group, group.last())
        frames = self.new_frames(group)
        group.log.update((frame.index, frame) for frame in frames)
        group.journalled = group.last()
        self.block(group, records + [("entry", name, frame, group.epoch) for frame in frames])

    def may_write_segment(self, group):
        return not self.keeps("truncation_first") or group.dead_block <= self.durable

    def write_frames(self, group, frames):
        for frame in frames:
            group.files[-1].write(group.at, frame)
            group.at += frame.size
            group.written = frame.index

    def begin_extent(self, _name, group):
        if group.extent is not None or not self.may_write_segment(group):
            return
        if self.keeps("one_way_at_a_time") and group.pending:
            return
        is_cut = group.cut_epoch == group.epoch and group.told_block <= self.durable
        if self.keeps("extent_waits_for_cut") and not is_cut:
            return
        for frame in self.new_frames(group):
            group.log[frame.index] = frame
            group.extent = group.mark()
        if not self.keeps("begin_at_end") and group.at > 0:
            group.at -= 1
        # It takes along what is in the journal alone.
        self.write_frames(group, [group.log[index] for index in range(group.written + 1, group.last() + 1)])
        if not self.keeps("sync_before_ack"):
            group.acked, group.synced, group.extent = group.extent, group.written, None

    def sync_extent(self, _name, group):
        if group.extent is not None:
            group.files[-1].sync()
            group.acked, group.synced, group.extent = group.extent, group.written, None

    def name_extent(self, name, group):
        if group.extent is None and group.synced > max(group.named, group.end):
            group.named = group.synced
            group.journalled = max(group.journalled, group.named)
            self.block(group, [("written", name, group.named)])

    def truncate(self, name, group):
        """Another leader's entries take the place of some."""
        committed = max(group.commit, group.promised)
        if group.extent is not None or group.last() <= committed:
            return
        cut = self.rng.randint(committed + 1, group.last())
        records = self.naming(name, group, cut - 1)
        group.term, group.epoch = group.term + 1, group.epoch + 1
        group.log = {index: frame for index, frame in group.log.items() if index < cut}
        group.named, group.journalled = min(group.named, cut - 1), min(group.journalled, cut - 1)
        leaves_dead = group.written >= cut
        if leaves_dead:
            group.synced = min(group.synced, cut - 1)
            self.set_written(group, cut - 1)
        self.block(group, records + [("term", name, group.term), ("truncate", name, group.epoch, cut)])
        # The next block of the same commit, or the same block.
        self.append_small(name, group)
        if self.rng.random() < 0.5:
            _, entries = self.blocks.pop()
            number, cuts = self.blocks.pop()
            self.blocks.append((number + 1, cuts + entries))
        group.cut_block = self.number
        if leaves_dead:
            group.dead_block = self.number

    def tell_cut(self, name, group):
        """The truncation is durable: what it cut is taken off the segment, and then the journal is told."""
        if group.cut_epoch == group.epoch or group.cut_block > self.durable or group.extent is not None:
            return
        group.files[-1].cut(group.at)
        if self.keeps("cut_is_synced"):
            group.files[-1].sync()
        group.cut_epoch = group.epoch
        self.block(group, [("cut", name, group.epoch)])
        group.told_block = self.number

    def set_written(self, group, index):
        """The logical end of the last file is after this one, or at its begin."""
        group.written = max(index, group.first[-1] - 1)
        group.at = 0
        for frame in (group.log[i] for i in range(group.first[-1], group.written + 1)):
            group.at += frame.size

    def advance_commit(self, _name, group):
        group.commit = self.rng.randint(group.commit, max(group.commit, group.last()))
        # What others have alone may be lost here.
        group.promised = max(group.promised, min(group.commit, group.durable_last()))

    def move(self, _name, group):
        """Committed entries that are in the journal alone go into the segment, not synced."""
        if group.extent is None and self.may_write_segment(group):
            last = min(group.commit, group.durable_last() if self.keeps("move_when_durable") else group.last())
            self.write_frames(group, [group.log[index] for index in range(group.written + 1, last + 1)])

    def tell_end(self, name, group):
        if group.extent is not None:
            return
        group.files[-1].sync()
        end = min(group.commit, group.written) if self.keeps("end_is_committed") else group.written
        group.synced = max(group.synced, end)
        if end > group.end:
            group.end, group.journalled = end, max(group.journalled, end)
            self.block(group, [("end", name, end)])

    def roll(self, name, group):
        ready = group.written <= group.commit or not self.keeps("roll_when_committed")
        if group.extent is not None or not ready or group.written < group.first[-1] or not self.may_write_segment(group):
            return
        group.files[-1].write(group.at, FOOTER)
        self.tell_end(name, group)
        group.files.append(File())
        group.first.append(group.written + 1)
        group.at = 0

    def recycle(self, *_):
        """All that counts is told again, and what was before is gone."""
        self.sync_journal()
        before = len(self.blocks)
        for name, group in self.groups.items():
            records = [("term", name, group.term), ("end", name, group.end), ("epoch", name, group.epoch),
                       ("written", name, group.named), ("cut", name, group.cut_epoch)]
            records += [("entry", name, group.log[index], group.epoch)
                        for index in range(max(group.named, group.end) + 1, group.journalled + 1)]
            self.number += 1
            self.blocks.append((self.number, records))
        self.sync_journal()
        self.blocks = self.blocks[before:]

    def step(self):
        name = self.rng.choice("ab")
        actions = [(self.append_small, 4), (self.begin_extent, 4), (self.sync_extent, 4), (self.name_extent, 2),
                   (self.truncate, 2), (self.tell_cut, 3), (self.advance_commit, 3), (self.move, 3), (self.tell_end, 1), (self.roll, 0.6),
                   (self.recycle, 0.1), (lambda *_: self.sync_journal(), 5)]
        action = self.rng.choices([one for one, _ in actions], [weight for _, weight in actions])[0]
        action(name, self.groups[name])

    # The power fails, or the process dies

    def recover(self):
        is_power = self.rng.random() < 0.7
        kept = self.rng.randint(self.durable, self.number) if is_power else self.number
        self.blocks = [(number, records) for number, records in self.blocks if number <= kept]
        for group in self.groups.values() if is_power else ():
            for file in group.files:
                file.lose_power(self.rng)
        recovered = {name: self.recover_group(name, group) for name, group in self.groups.items()}
        for name, group in recovered.items():
            before = self.groups[name]
            if group.state() not in before.history[before.acked:]:
                raise Damage(f"group {name}: {group.state()}, after {before.history[before.acked]}")
        self.groups, self.number, self.durable = recovered, kept, kept

    def replay(self, name):
        """The group as the journal tells of it, and its entries."""
        group, entries = Group(), {}
        for _, records in self.blocks:
            for kind, owner, *what in records:
                if owner != name:
                    continue
                if kind == "term":
                    group.term = what[0]
                elif kind == "epoch":
                    group.epoch = what[0]
                elif kind == "end":
                    group.end = max(group.end, what[0])
                elif kind == "written":
                    group.named = max(group.named, what[0])
                elif kind == "cut":
                    group.cut_epoch = max(group.cut_epoch, what[0])
                elif kind == "truncate":
                    group.epoch, cut_at = what
                    entries = {index: frame for index, frame in entries.items() if index < cut_at}
                    if self.keeps("truncation_cuts_written"):
                        group.named = min(group.named, cut_at - 1)
                elif kind == "entry":
                    entries[what[0].index] = what[0]
        segments_end = max(group.end, group.named)
        entries = {index: frame for index, frame in entries.items() if index > segments_end}
        if entries and sorted(entries) != list(range(segments_end + 1, max(entries) + 1)):
            raise Damage(f"group {name}: a gap above {segments_end}: {sorted(entries)}")
        group.journalled = max(entries, default=segments_end)
        return group, entries

    def recover_group(self, name, before):
        group, entries = self.replay(name)
        segments_end = max(group.end, group.named)
        # The file that the log is in, at the end; or the next one, if it is sealed there.
        place = max([i for i, first in enumerate(before.first) if first <= segments_end], default=-1)
        last, at = None, 0
        for number in range(place + 1):
            at = 0
            stop = before.first[number + 1] - 1 if number < place else segments_end
            while (last.index if last else 0) < stop:
                frame = before.files[number].read(at)
                if frame is None or not follows(frame, last):
                    raise Damage(f"group {name}: the segment has no entry {last.index + 1 if last else 1} of {segments_end}")
                group.log[frame.index] = last = frame
                at += frame.size
        is_sealed = place < 0 or before.files[place].read(at) == FOOTER
        if is_sealed and place + 1 < len(before.first) and before.first[place + 1] == segments_end + 1:
            place, at = place + 1, 0
        place = max(place, 0)
        goes_on = group.cut_epoch == group.epoch or not self.keeps("cut_is_told")
        while self.keeps("scan_above") and goes_on:
            frame = before.files[place].read(at)
            index = (last.index if last else 0) + 1
            if frame is None or not follows(frame, last):
                break
            if index in entries and entries[index] != frame:
                raise Damage(f"group {name}: the segment has another entry {index} than the journal")
            group.log[index] = last = frame
            at += frame.size
        group.written = group.synced = group.last()
        for index in sorted(entries):
            if index > group.last():
                if not follows(entries[index], group.log.get(index - 1)):
                    raise Damage(f"group {name}: entry {index} does not follow")
                group.log[index] = entries[index]
        if group.last() < before.promised:
            raise Damage(f"group {name}: entry {before.promised} was committed, the log ends at {group.last()}")
        group.commit, group.promised = group.end, before.promised
        group.files, group.first = before.files[:place + 1], before.first[:place + 1]
        group.at = at
        group.files[-1].cut(at)
        if self.keeps("sync_after_scan"):
            group.files[-1].sync()
        group.history = [group.state()]
        return group


def run(seed, left_out):
    """Nothing, or what was found."""
    rng = random.Random(seed)
    broker = Broker(rng, left_out)
    try:
        for _ in range(rng.randint(1, 6)):
            for _ in range(rng.randint(1, 60)):
                broker.step()
            broker.recover()
    except Damage as damage:
        return str(damage)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--leave-out", action="append", default=[], choices=list(RULES), metavar="RULE",
                        help="\n".join(f"{rule}: {what}" for rule, what in RULES.items()))
    parser.add_argument("--seeds", type=int, default=3000)
    parser.add_argument("--first-seed", type=int, default=1)
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    found = [(seed, what) for seed in seeds if (what := run(seed, set(options.leave_out)))]
    for seed, what in found[:3]:
        print(f"seed {seed}: {what[:300]}")
    print(f"{len(found)} of {options.seeds} seeds find something")


if __name__ == "__main__":
    main()
