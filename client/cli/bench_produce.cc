// `millrace bench produce`: some producers that share a load, each latency measured from handing a
// record to its producer until its batch is acknowledged. At a given rate it is measured from when
// the record was due, so that a wait of the load itself counts too.
#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/bench_command.h"
#include "client/cli/progress.h"
#include "client/cli/session.h"
#include "client/cpp/producer_client.h"

namespace millrace::client::cli {
namespace {

// Records sent before the loop gets its turn, and before the clock is read again.
constexpr uint64_t kRecordsPerTurn = 512;
constexpr uint64_t kRecordsPerReading = 16;
// At a given rate, what is due is sent so often.
constexpr Duration kPaceInterval = std::chrono::microseconds(500);

class Bench;

// One producer and the times at which its unanswered records were sent.
class Load {
 public:
  Load(Session& session, const BenchOptions& options, Bench& bench);
  void Open();
  // Sends up to `count` records now, as far as there is room; how many were sent. Their latency
  // counts from `since`.
  Result<uint64_t> Send(uint64_t count, std::string_view value, MonotonicTime now,
                        MonotonicTime since);
  void Flush();

 private:
  struct Run {
    MonotonicTime since{};
    uint64_t count = 0;
  };
  void OnReport(const DeliveryReport& report);

  Session& session_;
  Bench& bench_;
  const Duration timeout_;
  ProducerClient producer_;
  std::vector<std::deque<Run>> sent_;  // by partition, oldest first
};

class Bench {
 public:
  Bench(Session& session, const BenchOptions& options)
      : session_(session), options_(options), progress_("bench " + options.topic, options.records) {
    Random random(options.record_size);
    value_.resize(options.record_size);
    for (char& at : value_) at = static_cast<char>('!' + random.Below(90));
    for (uint32_t i = 0; i < options.producers; ++i) {
      loads_.push_back(std::make_unique<Load>(session, options, *this));
    }
  }

  void Start() {
    for (auto& load : loads_) load->Open();
  }
  void OnOpened(const Status& status) {
    if (!status.ok()) return session_.EndWith(status);
    if (++opened_ < loads_.size()) return;
    cpu_before_ = CpuSeconds();
    started_at_ = session_.clock().Now();
    acknowledged_at_ = started_at_;
    Feed();
  }
  void OnRoom() {
    if (!is_feed_planned_) Feed();
  }
  void OnAcknowledged(Duration latency, uint64_t count) { latency_.Record(latency, count); }
  void OnBatch(const DeliveryReport& report) {
    if (!report.status.ok()) return session_.EndWith(report.status);
    acknowledged_ += report.record_count;
    const MonotonicTime now = session_.clock().Now();
    longest_gap_ = std::max(longest_gap_, now - std::exchange(acknowledged_at_, now));
    progress_.Update(acknowledged_, acknowledged_, now);
    if (acknowledged_ == options_.records) Finish(now);
  }

 private:
  // Records that are due and not sent.
  uint64_t Due() const {
    if (options_.rate == 0) return options_.records - sent_;
    const double elapsed =
        static_cast<double>((session_.clock().Now() - started_at_).count()) / 1e6;
    const auto due = static_cast<uint64_t>(elapsed * options_.rate) + 1;
    return std::min(due, options_.records) - std::min(sent_, due);
  }

  // From when the latency of the next record counts.
  MonotonicTime Since(MonotonicTime now) const {
    if (options_.rate == 0) return now;
    const double microseconds = static_cast<double>(sent_) / options_.rate * 1e6;
    return started_at_ + Duration(static_cast<int64_t>(microseconds));
  }

  void Feed() {
    if (session_.has_ended()) return;
    const uint64_t turn = options_.rate == 0 ? kRecordsPerReading : 1;
    uint64_t budget = std::min(Due(), kRecordsPerTurn);
    uint64_t sent_now = 0;
    while (budget > 0) {
      uint64_t sent_round = 0;
      for (size_t i = 0; i < loads_.size() && budget > 0; ++i) {
        Load& load = *loads_[next_load_++ % loads_.size()];
        const MonotonicTime now = session_.clock().Now();
        const Result<uint64_t> sent =
            load.Send(std::min(budget, turn), value_, now, Since(now));
        if (!sent.ok()) return session_.EndWith(sent.status());
        budget -= *sent;
        sent_round += *sent;
        sent_ += *sent;
      }
      sent_now += sent_round;
      if (sent_round == 0) break;  // no room anywhere
    }
    if (sent_ == options_.records) {
      for (auto& load : loads_) load->Flush();
      return;
    }
    if (options_.rate > 0) return PlanFeed(kPaceInterval);
    if (sent_now > 0) PlanFeed(Duration(0));  // else OnRoom goes on
  }

  void PlanFeed(Duration delay) {
    is_feed_planned_ = true;
    const auto feed = [this] {
      is_feed_planned_ = false;
      Feed();
    };
    if (delay == Duration(0)) {
      session_.loop().Post(feed);
    } else {
      session_.loop().RunAfter(delay, feed);
    }
  }

  void Finish(MonotonicTime now) {
    progress_.Finish();
    PrintBench({.records = acknowledged_,
                .bytes = acknowledged_ * options_.record_size,
                .elapsed = now - started_at_,
                .cpu_seconds = CpuSeconds() - cpu_before_,
                .latency = latency_,
                .longest_gap = longest_gap_},
               options_.common.is_json());
    session_.End(0);
  }

  Session& session_;
  const BenchOptions& options_;
  Progress progress_;
  std::string value_;
  std::vector<std::unique_ptr<Load>> loads_;
  size_t opened_ = 0;
  size_t next_load_ = 0;
  bool is_feed_planned_ = false;
  uint64_t sent_ = 0;
  uint64_t acknowledged_ = 0;
  MonotonicTime started_at_{};
  MonotonicTime acknowledged_at_{};
  Duration longest_gap_{0};
  double cpu_before_ = 0;
  Histogram latency_;
};

Load::Load(Session& session, const BenchOptions& options, Bench& bench)
    : session_(session),
      bench_(bench),
      timeout_(options.common.timeout()),
      producer_(session.client(), options.topic,
                {.linger = std::chrono::milliseconds(options.linger_ms),
                 .memory_bytes_max = size_t{options.memory_mb} << 20},
                {.on_report = [this](const DeliveryReport& report) { OnReport(report); },
                 .on_room = [this] { bench_.OnRoom(); }}) {}

void Load::Open() {
  producer_.Open(timeout_, [this](const Status& status) {
    if (status.ok()) sent_.resize(producer_.partition_count());
    bench_.OnOpened(status);
  });
}

Result<uint64_t> Load::Send(uint64_t count, std::string_view value, MonotonicTime now,
                            MonotonicTime since) {
  uint64_t sent = 0;
  for (; sent < count && producer_.has_room(); ++sent) {
    ASSIGN_OR_RETURN(const PartitionId partition, producer_.Send({.value = value}, now));
    std::deque<Run>& runs = sent_[partition.value()];
    if (runs.empty() || runs.back().since != since) runs.push_back({.since = since});
    ++runs.back().count;
  }
  return sent;
}

void Load::Flush() {
  producer_.Flush([] {});
}

void Load::OnReport(const DeliveryReport& report) {
  const MonotonicTime now = session_.clock().Now();
  std::deque<Run>& runs = sent_[report.partition.partition.value()];
  for (uint64_t left = report.record_count; left > 0;) {
    Run& run = runs.front();
    const uint64_t count = std::min(left, run.count);
    if (report.status.ok()) bench_.OnAcknowledged(now - run.since, count);
    run.count -= count;
    left -= count;
    if (run.count == 0) runs.pop_front();
  }
  bench_.OnBatch(report);
}

}  // namespace

int BenchProduce(const BenchOptions& options) {
  Session session(options.common);
  const Status ready = session.Init();
  if (!ready.ok()) return Fail(ready);
  Bench bench(session, options);
  return session.Run([&] { bench.Start(); });
}

}  // namespace millrace::client::cli
