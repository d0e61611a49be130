#!/usr/bin/env python3
"""A model of storage that writes large entries once (docs/adr/0010-write-once.md): a journal and segments under power cuts.

    tests/storage/model/write_once.py --seeds 100000           with all rules nothing is found
    tests/storage/model/write_once.py --leave-out RULE         how often its absence is found, with examples

Groups append, truncate, commit; some entries go into the journal, some straight into the segment, whose written end the
journal then names; the power fails between any two steps. What was not synced survives word by word, or not. After each
failure the state is recovered as docs/formats.md says, and must be the state after some block that is not older than the
last one that was synced. A sketch of rules, in no time and without bytes: the product's own tests are in this folder's parent.
"""
import argparse
import collections
import random

# What happens without it.
RULES = {
    "sync_before_name": "the journal names a written end whose bytes are not synced",
    "truncation_cuts_written": "a truncation leaves the written end where it was: the dead come back",
    "epoch_of_written": "a written end that was composed before a truncation counts though it comes after it",
    "end_is_committed": "the log record's end is the written end, committed or not",
    "truncation_first": "bytes over dead ones, a footer's too, are written before the truncation is durable",
    "begin_at_end": "an extent begins inside the last frame before it",
    "cut_above_written": "recovery discards what lies above the log's end, named or not",
    "gap_waits": "entries behind an extent are journalled before the extent is named",
    "proof_by_frame": "all that a written end once named must be intact, dead or not",
    "roll_when_committed": "a segment is ended at a written end that is not committed",
}
LOST = object()

Frame = collections.namedtuple("Frame", "index term value chain size")


class Damage(Exception):
    """What recovery calls damage, or what is no state that ever was."""


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
        self.sync()

    def fail(self, rng):
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


class Group:
    def __init__(self):
        self.term, self.epoch, self.commit = 1, 0, 0
        self.promised = 0     # committed at some time; another leader takes the place of no such entry
        self.log = {}         # what the journal was told of, by index
        self.ahead = []       # appended behind an extent that is not named yet
        self.end = 0          # as the journal was told
        self.files = [File()]
        self.first = [1]      # index of each file
        self.written = 0      # index up to which the segments have the log
        self.at = 0           # where the next frame goes in the last file
        self.extent = None    # under way: its new frames, epoch, whether it is synced, and not truncated
        self.truncated_by = 0  # the block that says so

    def last(self):
        return max(self.log, default=0)

    def state(self):
        return self.term, tuple((index, frame.term, frame.value) for index, frame in sorted(self.log.items()))


class Broker:
    def __init__(self, rng, left_out):
        self.rng, self.left_out = rng, left_out
        self.groups = {name: Group() for name in "ab"}
        self.blocks = []      # (number, records)
        self.durable = self.number = 0
        self.history = {0: self.states()}

    def keeps(self, rule):
        return rule not in self.left_out

    def states(self):
        return {name: group.state() for name, group in self.groups.items()}

    # What brokers do

    def block(self, records):
        self.number += 1
        self.blocks.append((self.number, records))
        self.history[self.number] = self.states()

    def sync_journal(self):
        self.durable = self.number

    def new_frames(self, group, before):
        chain = before.chain if before else 0
        index = before.index if before else 0
        frames = []
        for _ in range(self.rng.randint(1, 3)):
            index, value = index + 1, self.rng.randrange(1000)
            chain = hash((chain, index, group.term, value))
            frames.append(Frame(index, group.term, value, chain, self.rng.randint(1, 3)))
        return frames

    def append_small(self, name, group):
        if group.extent and group.extent["valid"]:
            frames = self.new_frames(group, (group.ahead or group.extent["frames"])[-1])
            group.ahead += frames
            if not self.keeps("gap_waits"):
                self.block([("entry", name, frame, group.epoch) for frame in frames])
            return
        frames = self.new_frames(group, group.log.get(group.last()))
        group.log.update((frame.index, frame) for frame in frames)
        self.block([("entry", name, frame, group.epoch) for frame in frames])

    def may_write_segment(self, group):
        return not self.keeps("truncation_first") or group.truncated_by <= self.durable

    def write_frames(self, group, frames):
        for frame in frames:
            group.files[-1].write(group.at, frame)
            group.at += frame.size
            group.written = frame.index

    def begin_extent(self, _name, group):
        if group.extent or not self.may_write_segment(group):
            return
        new = self.new_frames(group, group.log.get(group.last()))
        # It takes along what is in the journal alone.
        frames = [group.log[index] for index in range(group.written + 1, group.last() + 1)] + new
        if not self.keeps("begin_at_end") and group.at > 0:
            group.at -= 1
        group.extent = {"frames": new, "epoch": group.epoch, "synced": False, "valid": True}
        self.write_frames(group, frames)

    def sync_extent(self, _name, group):
        if group.extent:
            group.files[-1].sync()
            group.extent["synced"] = True

    def name_extent(self, name, group):
        extent = group.extent
        if not extent or (self.keeps("sync_before_name") and not extent["synced"]):
            return
        group.extent = None
        last = extent["frames"][-1].index
        if extent["valid"]:
            group.log.update((frame.index, frame) for frame in extent["frames"])
        self.block([("written", name, last, extent["epoch"])])
        if group.ahead:
            group.log.update((frame.index, frame) for frame in group.ahead)
            self.block([("entry", name, frame, group.epoch) for frame in group.ahead])
            group.ahead = []

    def truncate(self, name, group):
        """Another leader's entries take the place of some; overtakes an extent that is under way."""
        is_writing = group.extent is not None and group.extent["valid"]
        last = group.extent["frames"][-1].index if is_writing else group.last()
        if last <= group.promised:
            return
        cut = self.rng.randint(group.promised + 1, last)
        group.term, group.epoch, group.ahead = group.term + 1, group.epoch + 1, []
        if group.extent:
            group.extent["valid"] = False
        group.log = {index: frame for index, frame in group.log.items() if index < cut}
        # The frames of an extent under way that were cut off its end would have to be told of in entries.
        cut = min(cut, group.last() + 1)
        if group.written >= cut:
            self.set_written(group, cut - 1)
        records = [("term", name, group.term), ("truncate", name, group.epoch, cut)]
        frames = self.new_frames(group, group.log.get(group.last()))
        group.log.update((frame.index, frame) for frame in frames)
        self.block(records + [("entry", name, frame, group.epoch) for frame in frames])
        group.truncated_by = self.number

    def set_written(self, group, index):
        """The logical end of the last file is after this one, or at its begin."""
        group.written = max(index, group.first[-1] - 1)
        group.at = 0
        for frame in (group.log[i] for i in range(group.first[-1], group.written + 1)):
            group.at += frame.size

    def advance_commit(self, _name, group):
        if self.durable == self.number and not group.extent:
            group.commit = self.rng.randint(group.commit, max(group.commit, group.last()))
            group.promised = max(group.promised, group.commit)

    def move(self, _name, group):
        """Committed entries that are in the journal alone go into the segment, not synced."""
        if group.extent or not self.may_write_segment(group):
            return
        last = min(group.commit, group.last())
        self.write_frames(group, [group.log[index] for index in range(group.written + 1, last + 1)])

    def tell_end(self, name, group):
        if group.extent:
            return
        group.files[-1].sync()
        end = min(group.commit, group.written) if self.keeps("end_is_committed") else group.written
        if end > group.end:
            group.end = end
            self.block([("end", name, end)])

    def roll(self, name, group):
        ready = group.written == group.commit or not self.keeps("roll_when_committed")
        if group.extent or not ready or group.written < group.first[-1] or not self.may_write_segment(group):
            return
        self.tell_end(name, group)
        group.files.append(File())
        group.first.append(group.written + 1)
        group.at = 0

    def recycle(self, *_):
        """All that counts is told again, and what was before is gone."""
        if any(group.extent for group in self.groups.values()):
            return
        self.sync_journal()
        records = []
        for name, group in self.groups.items():
            records += [("term", name, group.term), ("end", name, group.end), ("epoch", name, group.epoch),
                        ("written", name, max(group.written, group.end), group.epoch)]
            group.files[-1].sync()
            records += [("entry", name, group.log[index], group.epoch)
                        for index in range(max(group.written, group.end) + 1, group.last() + 1)]
        before = len(self.blocks)
        self.block(records)
        self.sync_journal()
        self.blocks = self.blocks[before:]

    def step(self):
        name = self.rng.choice("ab")
        actions = [(self.append_small, 4), (self.begin_extent, 3), (self.sync_extent, 4), (self.name_extent, 4),
                   (self.truncate, 2), (self.advance_commit, 3), (self.move, 3), (self.tell_end, 1), (self.roll, 0.4),
                   (self.recycle, 0.1), (lambda *_: self.sync_journal(), 5)]
        action = self.rng.choices([one for one, _ in actions], [weight for _, weight in actions])[0]
        action(name, self.groups[name])

    # The power fails

    def recover(self):
        kept = self.rng.randint(self.durable, self.number)
        self.blocks = [(number, records) for number, records in self.blocks if number <= kept]
        for group in self.groups.values():
            for file in group.files:
                file.fail(self.rng)
        recovered = {name: self.recover_group(name, group) for name, group in self.groups.items()}
        states = {name: group.state() for name, group in recovered.items()}
        for number in range(self.durable, self.number + 1):
            if self.history[number] == states:
                break
        else:
            raise Damage(f"no state since block {self.durable}: {states}, then {self.history[self.durable]}")
        self.groups, self.number = recovered, kept
        self.durable, self.history = self.number, {self.number: self.states()}

    def recover_group(self, name, before):
        group = Group()
        entries, cuts = {}, []   # index to (frame, epoch); (epoch, from)
        written, named = (0, 0), 0  # (index, epoch); the most that was ever named since
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
                elif kind == "truncate":
                    epoch, cut = what
                    group.epoch = epoch
                    cuts.append((epoch, cut))
                    entries = {i: e for i, e in entries.items() if i < cut or e[1] >= epoch}
                    if self.keeps("truncation_cuts_written") and written[1] < epoch:
                        written = min(written[0], cut - 1), written[1]
                elif kind == "written":
                    index, epoch = what
                    named = max(named, index)
                    if self.keeps("epoch_of_written"):
                        index = min([index] + [cut - 1 for later, cut in cuts if later > epoch])
                    if index >= written[0] or epoch > written[1]:
                        written = index, epoch
                elif kind == "entry":
                    entries[what[0].index] = what[0], what[1]
        group.log, walked = self.read_segments(group, before, max(written[0], group.end))
        if not self.keeps("proof_by_frame") and named > group.last():
            self.read_segments(group, before, named)
        # A written end that an entry of a higher epoch lies below was cut; what it has more is the journal's.
        for index in sorted(entries):
            if index > group.last():
                if index != group.last() + 1:
                    raise Damage(f"group {name}: a gap before entry {index}")
                group.log[index] = entries[index][0]
        self.check_chain(name, group)
        group.commit, group.promised = group.end, before.promised
        if group.last() < group.promised:
            raise Damage(f"group {name}: entry {group.promised} was committed, the log ends at {group.last()}")
        group.written = walked
        self.take_files(group, before)
        return group

    def read_segments(self, group, before, end):
        """Frames up to `end`, proven one by one."""
        log, chain, index = {}, 0, 0
        for number, file in enumerate(before.files):
            at = 0
            while index < end and (number + 1 == len(before.files) or index + 1 < before.first[number + 1]):
                frame = file.read(at)
                if frame is None or frame.index != index + 1 or \
                        frame.chain != hash((chain, frame.index, frame.term, frame.value)):
                    raise Damage(f"the segment has no entry {index + 1} of {end}")
                log[frame.index] = frame
                chain, index, at = frame.chain, frame.index, at + frame.size
        return log, index

    def check_chain(self, name, group):
        chain = 0
        for index in range(1, group.last() + 1):
            frame = group.log.get(index)
            if frame is None or frame.chain != hash((chain, index, frame.term, frame.value)):
                raise Damage(f"group {name}: entry {index} does not follow")
            chain = frame.chain

    def take_files(self, group, before):
        group.files, group.first = before.files, before.first
        while len(group.first) > 1 and group.first[-1] > group.written + 1:
            group.files.pop()
            group.first.pop()
        if not self.keeps("cut_above_written"):
            group.written = min(group.written, group.end)
        self.set_written(group, group.written)
        group.files[-1].cut(group.at)


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
