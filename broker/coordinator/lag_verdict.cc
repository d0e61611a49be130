#include "broker/coordinator/lag_verdict.h"

#include <algorithm>
#include <cstdio>

#include <glog/logging.h>

namespace millrace::broker {
namespace {

// Behind is whose first record that is not read is older.
constexpr int64_t kBehindMs = 10'000;
// Even before that, whoever reads less than so much of what comes in.
constexpr int64_t kFallsBehindMs = 5'000;
constexpr double kFallsBehindShare = 0.8;
// Rates of less time say nothing.
constexpr int64_t kMeasuredMsMin = 10'000;
constexpr double kComesNearerShare = 1.05;
constexpr int64_t kStuckMs = 30'000;
constexpr int64_t kStuckMsMax = 300'000;
constexpr int64_t kCommitsTookTimes = 3;
// Somebody without a membership lives who committed so recently.
constexpr int64_t kLoneReaderMs = 30'000;
constexpr double kHotTimes = 4;
constexpr size_t kFewOfTopic = 10;  // one of so many

double PerSecond(int64_t records, const LagLook& look) {
  return look.measured_ms == 0
             ? 0
             : static_cast<double>(records) * 1000 / static_cast<double>(look.measured_ms);
}

bool HasLoneReader(const LagRow& row) {
  return !row.reader.has_group_members && row.look->is_committed &&
         row.look->commit_age_ms < kLoneReaderMs;
}

bool HasReader(const LagRow& row) {
  return (!row.reader.member_id.empty() && !row.reader.is_away) || HasLoneReader(row);
}

bool ReadsLess(const LagLook& look, double share) {
  return static_cast<double>(look.read) < share * static_cast<double>(look.came_in);
}

bool IsStuck(const LagLook& look) {
  const int64_t after_ms =
      std::clamp(kCommitsTookTimes * look.commit_took_ms, kStuckMs, kStuckMsMax);
  return look.unmoved_ms >= after_ms && look.waited_ms_min >= after_ms;
}

bool IsBehind(const LagLook& look) {
  if (look.waited_ms_min > kBehindMs) return true;
  return look.waited_ms_min > kFallsBehindMs && look.measured_ms >= LagHistory::kWindowMs &&
         ReadsLess(look, kFallsBehindShare);
}

// Of one in which nothing is committed.
LagVerdict JudgeUncommitted(const LagRow& row) {
  const LagLook& look = *row.look;
  if (look.lag == 0) return LagVerdict::kKeepingUp;
  if (!row.reader.has_group_members) return LagVerdict::kUnknown;
  if (!HasReader(row)) {
    return row.reader.changes_hands ? LagVerdict::kUnknown : LagVerdict::kDead;
  }
  const bool has_read_nothing = look.measured_ms >= kStuckMs && look.came_in > 0;
  return has_read_nothing ? LagVerdict::kStuck : LagVerdict::kUnknown;
}

LagVerdict Judge(const LagRow& row) {
  if (!row.look.has_value()) return LagVerdict::kUnknown;
  const LagLook& look = *row.look;
  if (!look.is_committed) return JudgeUncommitted(row);
  if (look.lag == 0) return LagVerdict::kKeepingUp;
  if (!HasReader(row)) {
    return row.reader.changes_hands ? LagVerdict::kUnknown : LagVerdict::kDead;
  }
  if (IsStuck(look)) return LagVerdict::kStuck;
  if (!IsBehind(look)) return LagVerdict::kKeepingUp;
  if (look.measured_ms < kMeasuredMsMin) return LagVerdict::kUnknown;
  const bool comes_nearer = look.read > look.came_in && !ReadsLess(look, kComesNearerShare);
  return comes_nearer ? LagVerdict::kCatchingUp : LagVerdict::kSlow;
}

// "12,345".
std::string Grouped(int64_t number) {
  std::string text = std::to_string(number);
  const size_t first = number < 0 ? 1 : 0;
  for (size_t at = text.size(); at > first + 3;) text.insert(at -= 3, ",");
  return text;
}

std::string RateOf(int64_t records, const LagLook& look) {
  const double rate = PerSecond(records, look);
  if (rate >= 10 || rate == 0) return Grouped(static_cast<int64_t>(rate + 0.5)) + "/s";
  char text[16];
  std::snprintf(text, sizeof text, "%.1f/s", rate);
  return text;
}

std::string TimeOf(int64_t ms) {
  const int64_t seconds = (ms + 500) / 1000;
  if (seconds < 120) return std::to_string(seconds) + " s";
  if (seconds < 120 * 60) return std::to_string(seconds / 60) + " min";
  if (seconds < 48 * 60 * 60) return std::to_string(seconds / 3600) + " h";
  return std::to_string(seconds / 86400) + " days";
}

std::string NameOf(const LagReader& reader) {
  return reader.member_id.empty() ? "a reader without membership"
                                  : "member " + std::string(reader.member_id);
}

// "1 record", "2 records".
std::string Records(int64_t count) {
  return Grouped(count) + (count == 1 ? " record" : " records");
}

// How far it is behind.
std::string Distance(const LagLook& look) {
  if (!look.is_committed) return "nothing is committed, and " + Records(look.lag) + " in it";
  const std::string min = TimeOf(look.waited_ms_min);
  const std::string max = TimeOf(look.waited_ms_max);
  return Records(look.lag) + " behind, oldest " + (min == max ? "" : min + " to ") + max;
}

std::string Rates(const LagRow& row) {
  return NameOf(row.reader) + " commits " + RateOf(row.look->read, *row.look) + ", " +
         RateOf(row.look->came_in, *row.look) + " come in (measured for " +
         TimeOf(row.look->measured_ms) + ")";
}

std::string WhyDead(const LagRow& row) {
  const LagReader& reader = row.reader;
  if (reader.is_away) return NameOf(reader) + " is away, and will be back";
  std::string why = "nobody has it";
  if (!reader.has_group_members) {
    why = "the group has no members";
  } else if (!reader.is_subscribed) {
    why = "no member reads this topic";
  }
  return row.look->is_committed
             ? why + ", and the last commit was " + TimeOf(row.look->commit_age_ms) + " ago"
             : why;
}

std::string WhyStuck(const LagRow& row) {
  const LagLook& look = *row.look;
  if (look.is_committed) {
    return NameOf(row.reader) + " lives, and for " + TimeOf(look.unmoved_ms) +
           " has committed nothing that is new";
  }
  return NameOf(row.reader) + " lives, and has committed nothing while " + Records(look.came_in) +
         " came in within " + TimeOf(look.measured_ms);
}

std::string WhyUnknown(const LagRow& row) {
  if (!HasReader(row) && row.reader.changes_hands) return "it is between two owners";
  if (!row.look->is_committed) return "how far it is read is not known";
  return "whether it comes nearer is not known yet (measured for " + TimeOf(row.look->measured_ms) +
         ")";
}

std::string WhyOf(const LagRow& row) {
  const LagLook& look = *row.look;
  switch (row.verdict) {
    case LagVerdict::kSlow:
      return Rates(row);
    case LagVerdict::kCatchingUp:
      return Rates(row) + ": at the end in about " +
             TimeOf(static_cast<int64_t>(static_cast<double>(look.lag) * 1000 /
                                         PerSecond(look.read - look.came_in, look)));
    case LagVerdict::kHotKey:
      return "far more comes in than into the others of its topic, which keep up: " + Rates(row);
    case LagVerdict::kStuck:
      return WhyStuck(row);
    case LagVerdict::kDead:
      return WhyDead(row);
    case LagVerdict::kUnknown:
      return WhyUnknown(row);
    case LagVerdict::kKeepingUp:
      break;
  }
  return "";
}

// Which is worse: the larger.
int SeverityOf(LagVerdict verdict) {
  if (verdict == LagVerdict::kKeepingUp) return -1;
  return static_cast<int>(verdict);
}

void Append(const std::string& more, std::string* text) {
  if (more.empty()) return;
  *text += (text->empty() ? "" : "; ") + more;
}

}  // namespace

// Of a topic in which all but few keep up, those few are slow for their keys if far more comes into
// them than into the others.
void JudgeTopic(std::vector<LagRow>* topic) {
  size_t keeping_up = 0;
  double others_rate = 0;
  for (LagRow& row : *topic) {
    row.verdict = Judge(row);
    if (row.verdict != LagVerdict::kKeepingUp) continue;
    ++keeping_up;
    if (row.look.has_value()) others_rate += PerSecond(row.look->came_in, *row.look);
  }
  const size_t few = std::max<size_t>(1, topic->size() / kFewOfTopic);
  if (keeping_up == 0 || topic->size() - keeping_up > few) return;
  const double average = others_rate / static_cast<double>(keeping_up);
  for (LagRow& row : *topic) {
    if (row.verdict != LagVerdict::kSlow) continue;
    const double rate = PerSecond(row.look->came_in, *row.look);
    if (rate > 0 && rate >= kHotTimes * average) row.verdict = LagVerdict::kHotKey;
  }
}

std::string GroundsOf(const LagRow& row) {
  if (!row.look.has_value()) {
    CHECK(row.why_unknown != nullptr);
    return "its leader did not answer: " + std::string(row.why_unknown->message());
  }
  std::string text;
  if (row.look->lag > 0) text = Distance(*row.look);
  Append(WhyOf(row), &text);
  if (row.look->lost > 0) {
    Append(Records(row.look->lost) + " went before the group read them", &text);
  }
  return text;
}

const char* NameOf(LagVerdict verdict) {
  switch (verdict) {
    case LagVerdict::kKeepingUp:
      return "keeping up";
    case LagVerdict::kCatchingUp:
      return "catching up";
    case LagVerdict::kSlow:
      return "slow";
    case LagVerdict::kHotKey:
      return "a hot key";
    case LagVerdict::kStuck:
      return "stuck";
    case LagVerdict::kDead:
      return "dead";
    case LagVerdict::kUnknown:
      break;
  }
  return "not known";
}

v1::LagVerdict ToWire(LagVerdict verdict) {
  static_assert(static_cast<int>(LagVerdict::kDead) == v1::LAG_VERDICT_DEAD);
  return static_cast<v1::LagVerdict>(verdict);
}

void LagTotal::Add(const std::string& topic, const LagRow& row) {
  sums_.set_partition_count(sums_.partition_count() + 1);
  const bool is_known = row.look.has_value() && row.look->is_committed;
  if (is_known) {
    sums_.set_lag(sums_.lag() + row.look->lag);
    sums_.set_lost(sums_.lost() + row.look->lost);
    sums_.set_lag_ms_min(std::max(sums_.lag_ms_min(), row.look->waited_ms_min));
    sums_.set_lag_ms_max(std::max(sums_.lag_ms_max(), row.look->waited_ms_max));
  } else if (!row.look.has_value() || row.look->lag > 0) {
    sums_.set_unknown_count(sums_.unknown_count() + 1);
  }
  const auto lag_of = [](const LagRow& one) { return one.look.has_value() ? one.look->lag : 0; };
  const int worse = worst_.has_value() ? SeverityOf(row.verdict) - SeverityOf(worst_->verdict) : 1;
  if (worse < 0) return;
  as_bad_ = worse > 0 ? 1 : as_bad_ + 1;
  if (worse == 0 && lag_of(row) <= lag_of(*worst_)) return;
  worst_ = row;
  worst_topic_ = topic;
}

v1::GroupLag LagTotal::Take() const {
  v1::GroupLag total = sums_;
  const bool is_well = !worst_.has_value() || worst_->verdict == LagVerdict::kKeepingUp;
  total.set_verdict(ToWire(is_well ? LagVerdict::kKeepingUp : worst_->verdict));
  if (!worst_.has_value()) {
    total.set_grounds("it reads nothing");
    return total;
  }
  const std::string count = std::to_string(sums_.partition_count());
  if (is_well) {
    total.set_grounds(sums_.lag() == 0 ? "nothing is left to read in its " + count + " partitions"
                                       : "all of its " + count + " partitions keep up");
    return total;
  }
  std::string grounds = "partition " + std::to_string(worst_->partition.value()) + " of " +
                        worst_topic_ + ": " + GroundsOf(*worst_);
  if (as_bad_ > 1) {
    grounds += "; " + std::to_string(as_bad_ - 1) + " more of its " + count +
               " partitions: " + NameOf(worst_->verdict);
  }
  total.set_grounds(grounds);
  return total;
}

}  // namespace millrace::broker
