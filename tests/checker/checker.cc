#include "tests/checker/checker.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "tests/checker/key_history.h"

namespace millrace::checker {
namespace {

constexpr size_t kExamplesMax = 5;

constexpr std::array<std::string_view, 20> kNames = {
    "inconsistent-offsets",
    "duplicate",
    "lost-write",
    "unseen",
    "G1a",
    "int-poll-skip",
    "int-nonmonotonic-poll",
    "poll-skip",
    "nonmonotonic-poll",
    "int-nonmonotonic-send",
    "nonmonotonic-send",
    "phantom",
    "corrupt",
    "retry-offset",
    "append-realtime-order",
    "high-watermark-regress",
    "offset-gap",
    "log-start-regress",
    "log-start-ahead",
    "read-below-start",
};
static_assert(kNames.size() == static_cast<size_t>(Anomaly::kReadBelowStart) + 1);

std::string Text(Offset offset) { return std::to_string(offset.value()); }
std::string ValueText(Value value) { return "value " + std::to_string(value); }
std::string ValueAt(Value value, Offset offset) { return ValueText(value) + " at " + Text(offset); }
std::string ProcessText(uint64_t process) { return "process " + std::to_string(process); }

// Holds one key against every rule.
class KeyChecker {
 public:
  KeyChecker(Key key, KeyHistory& history, Verdict* verdict)
      : key_(key), history_(history), gone_before_(history.gone_before()), verdict_(verdict) {}

  void Run() {
    Count();
    CheckLog();
    CheckReads();
    CheckWrites();
    CheckPollOrder();
    CheckSendOrder();
    CheckRealtimeOrder();
    CheckHighWatermarks();
    CheckLogStarts();
    CheckReadsBelowStart();
  }

 private:
  void Report(Anomaly anomaly, const std::string& what) {
    Finding& finding = verdict_->findings[anomaly];
    ++finding.count;
    if (finding.examples.size() < kExamplesMax) {
      finding.examples.push_back("key " + std::to_string(key_.value()) + ": " + what);
    }
  }

  void Count();
  void CheckLog();
  void CheckReads();
  void CheckWrites();
  void CheckPollOrder();
  void CheckPollPair(const KeyRead& before, const KeyRead& after);
  void CheckSendOrder();
  void CheckRealtimeOrder();
  void CheckHighWatermarks();
  void CheckLogStarts();
  void CheckReadsBelowStart();

  const Key key_;
  KeyHistory& history_;
  const Offset gone_before_;  // what lies before it nobody has to find
  Verdict* const verdict_;
};

void KeyChecker::Count() {
  verdict_->sent += history_.writes.size();
  verdict_->read += history_.reads.size();
  for (const Write& write : history_.writes) {
    verdict_->acknowledged += write.outcome == OpType::kOk ? 1 : 0;
  }
}

// One offset, one value; one value, one offset; and no offset between them that holds nothing, but
// where nobody may have read what is gone.
void KeyChecker::CheckLog() {
  std::vector<std::pair<Value, Offset>> by_value;
  for (size_t i = 0; i < history_.log.size(); ++i) {
    const auto& [offset, value] = history_.log[i];
    by_value.emplace_back(value, offset);
    if (i > 0 && history_.log[i - 1].first == offset) {
      Report(Anomaly::kInconsistentOffsets, "offset " + Text(offset) + " holds " +
                                                ValueText(history_.log[i - 1].second) + " and " +
                                                ValueText(value));
    }
  }
  std::sort(by_value.begin(), by_value.end());
  for (size_t i = 1; i < by_value.size(); ++i) {
    if (by_value[i - 1].first != by_value[i].first) continue;
    Report(Anomaly::kDuplicate,
           ValueAt(by_value[i].first, by_value[i - 1].second) + " and " + Text(by_value[i].second));
  }
  for (size_t i = 1; i < history_.known_offsets.size(); ++i) {
    const Offset before = history_.known_offsets[i - 1];
    const Offset after = history_.known_offsets[i];
    if (after - before > 1 && after > gone_before_) {
      Report(Anomaly::kOffsetGap, "nothing between " + Text(before) + " and " + Text(after));
    }
  }
}

// Whatever was read was sent, and its sender was not told that it failed.
void KeyChecker::CheckReads() {
  for (const KeyRead& read : history_.reads) {
    if (!read.value.has_value()) {
      Report(Anomaly::kCorrupt,
             ProcessText(read.process) + " read a broken value at " + Text(read.offset));
      continue;
    }
    const Write* write = history_.FindWrite(*read.value);
    if (write == nullptr) {
      Report(Anomaly::kPhantom, ProcessText(read.process) + " read " +
                                    ValueAt(*read.value, read.offset) +
                                    ", which nobody sent there");
    } else if (write->outcome == OpType::kFail) {
      Report(Anomaly::kAbortedRead, ProcessText(read.process) + " read " +
                                        ValueAt(*read.value, read.offset) + ", whose send failed");
    }
  }
}

// What was acknowledged is there once, and was read where readers came past it; unless it may have
// been deleted before.
void KeyChecker::CheckWrites() {
  std::optional<Offset> bound;  // the furthest of the first places of what was read
  for (const Write& write : history_.writes) {
    if (write.is_read && (!bound.has_value() || *bound < *write.offset)) bound = write.offset;
  }
  for (const Write& write : history_.writes) {
    if (write.offsets.size() > 1) {
      Report(Anomaly::kRetryOffset, ValueText(write.value) + " was acknowledged at " +
                                        Text(write.offsets[0]) + " and at " +
                                        Text(write.offsets[1]));
    }
    if (!write.is_committed || write.is_read) continue;
    const bool has_offset = !write.offsets.empty();
    const Offset place = has_offset ? write.offsets.back() : Offset(0);
    if (place < gone_before_) continue;
    if (has_offset && bound.has_value() && place <= *bound) {
      Report(Anomaly::kLostWrite, ValueAt(write.value, write.offsets.back()) +
                                      " was never read, though " + Text(*bound) + " was");
    }
    if (write.outcome == OpType::kOk) {
      Report(Anomaly::kUnseen, ValueText(write.value) + " was acknowledged" +
                                   (has_offset ? " at " + Text(write.offsets.back()) : "") +
                                   " and never read");
    }
  }
}

// A process reads a key's offsets upwards and leaves none out, within a poll and from one to the
// next.
void KeyChecker::CheckPollOrder() {
  std::vector<const KeyRead*> reads;
  for (const KeyRead& read : history_.reads) reads.push_back(&read);
  std::stable_sort(reads.begin(), reads.end(),
                   [](const KeyRead* a, const KeyRead* b) { return a->process < b->process; });
  for (size_t i = 1; i < reads.size(); ++i) {
    const KeyRead& before = *reads[i - 1];
    const KeyRead& after = *reads[i];
    if (before.process != after.process || before.assignment != after.assignment) continue;
    CheckPollPair(before, after);
  }
}

void KeyChecker::CheckPollPair(const KeyRead& before, const KeyRead& after) {
  if (after.offset == before.offset + 1) return;
  const bool goes_back = after.offset <= before.offset;
  if (!goes_back && history_.IndexOf(after.offset) == history_.IndexOf(before.offset) + 1) return;
  const bool is_internal = before.op == after.op;
  const Anomaly back =
      is_internal ? Anomaly::kInternalNonmonotonicPoll : Anomaly::kNonmonotonicPoll;
  const Anomaly skip = is_internal ? Anomaly::kInternalPollSkip : Anomaly::kPollSkip;
  Report(goes_back ? back : skip, ProcessText(after.process) + " read " + Text(after.offset) +
                                      " after " + Text(before.offset));
}

// What a process sends to a key is stored in the order in which it was sent.
void KeyChecker::CheckSendOrder() {
  std::vector<const Write*> writes;
  for (const Write& write : history_.writes) {
    if (write.is_committed && write.offset.has_value()) writes.push_back(&write);
  }
  std::sort(writes.begin(), writes.end(), [](const Write* a, const Write* b) {
    return std::pair(a->process, a->place) < std::pair(b->process, b->place);
  });
  for (size_t i = 1; i < writes.size(); ++i) {
    const Write& before = *writes[i - 1];
    const Write& after = *writes[i];
    if (before.process != after.process || *before.offset < *after.offset) continue;
    const bool is_internal = before.invoked_by == after.invoked_by;
    Report(is_internal ? Anomaly::kInternalNonmonotonicSend : Anomaly::kNonmonotonicSend,
           ProcessText(after.process) + " sent " + ValueAt(after.value, *after.offset) + " after " +
               ValueAt(before.value, *before.offset));
  }
}

// Where one send was acknowledged before another began, the first has the lower offset. The
// offsets are the witness of the order, so that nothing must be searched.
void KeyChecker::CheckRealtimeOrder() {
  std::vector<const Write*> begun;
  std::vector<const Write*> acknowledged;
  for (const Write& write : history_.writes) {
    if (!write.is_committed || !write.offset.has_value()) continue;
    begun.push_back(&write);
    if (write.outcome == OpType::kOk) acknowledged.push_back(&write);
  }
  std::sort(begun.begin(), begun.end(),
            [](const Write* a, const Write* b) { return a->invoked_ns < b->invoked_ns; });
  std::sort(acknowledged.begin(), acknowledged.end(),
            [](const Write* a, const Write* b) { return a->acknowledged_ns < b->acknowledged_ns; });
  const Write* furthest = nullptr;  // of those acknowledged before the one that begins
  auto next = acknowledged.begin();
  for (const Write* write : begun) {
    for (; next != acknowledged.end() && (*next)->acknowledged_ns < write->invoked_ns; ++next) {
      if (furthest == nullptr || *furthest->offset < *(*next)->offset) furthest = *next;
    }
    if (furthest != nullptr && *write->offset <= *furthest->offset) {
      Report(Anomaly::kAppendRealtimeOrder,
             ValueAt(write->value, *write->offset) + " was sent after " +
                 ValueAt(furthest->value, *furthest->offset) + " was acknowledged");
    }
  }
}

void KeyChecker::CheckHighWatermarks() {
  std::map<uint64_t, Offset> highest;  // by process
  for (const SeenHighWatermark& seen : history_.high_watermarks) {
    const auto [known, is_first] = highest.emplace(seen.process, seen.offset);
    if (seen.offset < known->second) {
      Report(Anomaly::kHighWatermarkRegress, ProcessText(seen.process) + " saw " +
                                                 Text(seen.offset) + " after " +
                                                 Text(known->second));
    }
    known->second = std::max(known->second, seen.offset);
  }
}

// The largest offset among those that were known when something began.
class KnownStarts {
 public:
  struct Known {
    int64_t since_ns = 0;
    Offset offset;
    std::string by;
  };

  explicit KnownStarts(const KeyHistory& history) {
    for (const SeenLogStart& seen : history.log_starts) {
      known_.push_back({seen.seen_ns, seen.offset,
                        ProcessText(seen.process) + " was told " + Text(seen.offset)});
    }
    for (const KeyDeletion& deletion : history.deletions) {
      if (deletion.outcome != OpType::kOk) continue;
      known_.push_back(
          {deletion.acknowledged_ns, deletion.before,
           ProcessText(deletion.process) + " had deleted up to " + Text(deletion.before)});
    }
    std::stable_sort(known_.begin(), known_.end(),
                     [](const Known& a, const Known& b) { return a.since_ns < b.since_ns; });
  }

  // Null if there was none. Pre: asked in the order of `time_ns`.
  const Known* Before(int64_t time_ns) {
    for (; next_ < known_.size() && known_[next_].since_ns < time_ns; ++next_) {
      if (largest_ == nullptr || largest_->offset < known_[next_].offset) {
        largest_ = &known_[next_];
      }
    }
    return largest_;
  }

 private:
  std::vector<Known> known_;
  size_t next_ = 0;
  const Known* largest_ = nullptr;
};

template <typename Item>
std::vector<const Item*> ByBeginning(const std::vector<Item>& items) {
  std::vector<const Item*> sorted;
  for (const Item& item : items) sorted.push_back(&item);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Item* a, const Item* b) { return a->begun_ns < b->begun_ns; });
  return sorted;
}

// Where the log starts never goes back for anybody, nor beyond what somebody asked for.
void KeyChecker::CheckLogStarts() {
  KnownStarts known(history_);
  for (const SeenLogStart* seen : ByBeginning(history_.log_starts)) {
    const KnownStarts::Known* before = known.Before(seen->begun_ns);
    const std::string what = ProcessText(seen->process) + " was told " + Text(seen->offset);
    if (before != nullptr && seen->offset < before->offset) {
      Report(Anomaly::kLogStartRegress, what + " after " + before->by);
    }
    if (seen->offset > gone_before_) {
      Report(Anomaly::kLogStartAhead, what + ", and nobody deleted beyond " + Text(gone_before_));
    }
  }
  for (const KeyDeletion& deletion : history_.deletions) {
    if (!deletion.start.has_value() || *deletion.start >= deletion.before) continue;
    Report(Anomaly::kLogStartRegress, ProcessText(deletion.process) + " deleted up to " +
                                          Text(deletion.before) + " and was told " +
                                          Text(*deletion.start));
  }
}

void KeyChecker::CheckReadsBelowStart() {
  KnownStarts known(history_);
  for (const KeyRead* read : ByBeginning(history_.reads)) {
    const KnownStarts::Known* before = known.Before(read->begun_ns);
    if (before == nullptr || read->offset >= before->offset) continue;
    Report(Anomaly::kReadBelowStart, ProcessText(read->process) + " read " + Text(read->offset) +
                                         ", and began to after " + before->by);
  }
}

}  // namespace

std::string_view AnomalyName(Anomaly anomaly) { return kNames[static_cast<size_t>(anomaly)]; }

std::string Verdict::Text() const {
  std::string text = std::to_string(sent) + " sent, " + std::to_string(acknowledged) +
                     " acknowledged, " + std::to_string(read) +
                     " read: " + (is_good() ? "good" : "bad") + "\n";
  for (const auto& [anomaly, finding] : findings) {
    text += std::string(AnomalyName(anomaly)) + " " + std::to_string(finding.count) + "\n";
    for (const std::string& example : finding.examples) text += "  " + example + "\n";
  }
  return text;
}

Result<Verdict> Check(const History& history) {
  ASSIGN_OR_RETURN(auto keys, SplitByKey(history));
  Verdict verdict;
  for (auto& [key, key_history] : keys) KeyChecker(key, key_history, &verdict).Run();
  return verdict;
}

}  // namespace millrace::checker
