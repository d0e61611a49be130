// `millrace bench produce`: some producers that share a load, each latency measured from handing a
// record to its producer until its delivery is reported. At a given rate it is measured from when
// the record was due, so that a wait of the load itself counts too.
#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/bench_command.h"
#include "client/cli/connection.h"
#include "client/cli/progress.h"
#include "raft/runtime/event_loop.h"
#include "raft/runtime/random.h"
#include "raft/runtime/real_clock.h"

namespace millrace::client::cli {
namespace {

// Records sent before an interrupt or a failure is looked for, and before the clock is read again.
constexpr uint64_t kRecordsPerTurn = 512;
constexpr uint64_t kRecordsPerReading = 16;
// At a given rate, what is due is sent so often.
constexpr Duration kPaceInterval = std::chrono::microseconds(500);
// How soon an interrupt or a failure is noticed while records wait for room or for answers.
constexpr std::chrono::milliseconds kLookInterval{100};

// What became of the records. Add comes on the client's thread; all but has_failed is for it alone
// until the producers are gone.
class Acknowledgements {
 public:
  explicit Acknowledgements(MonotonicTime begin) : last_at_(begin) {}

  void Add(const Delivery& delivery, MonotonicTime since) {
    if (!delivery.status.ok()) {
      if (!has_failed_.exchange(true)) first_error_ = delivery.status;
      return;
    }
    const MonotonicTime now = clock_.Now();
    longest_gap_ = std::max(longest_gap_, now - std::exchange(last_at_, now));
    latency_.Record(now - since);
    ++records_;
  }

  bool has_failed() const { return has_failed_; }
  const Status& first_error() const { return first_error_; }
  uint64_t records() const { return records_; }
  const Histogram& latency() const { return latency_; }
  MonotonicTime last_at() const { return last_at_; }
  Duration longest_gap() const { return longest_gap_; }

 private:
  const RealClock clock_;
  std::atomic<bool> has_failed_ = false;
  Status first_error_;
  uint64_t records_ = 0;
  MonotonicTime last_at_;
  Duration longest_gap_{0};
  Histogram latency_;
};

// Gives the records to the producers, in turns of an event loop, which is what can wait for the
// time at which the next ones are due.
class Load {
 public:
  Load(const BenchOptions& options, std::vector<std::unique_ptr<Producer>> producers)
      : options_(options),
        started_at_(clock_.Now()),
        acknowledgements_(started_at_),
        progress_("bench " + options.topic, options.records,
                  {.done = "", .records = "acknowledged"}),
        producers_(std::move(producers)) {
    Random random(options.record_size);
    value_.resize(options.record_size);
    for (char& at : value_) at = static_cast<char>('!' + random.Below(90));
  }

  // Returns once every record is answered, or one has failed.
  Result<BenchResult> Run() {
    const double cpu_before = CpuSeconds();
    loop_.Post([this] { Feed(); });
    loop_.Run();
    if (error_.ok()) error_ = AwaitAnswers();
    const bool has_failed = acknowledgements_.has_failed();
    producers_.clear();  // what they report now failed for that alone
    progress_.Finish();
    if (has_failed) return acknowledgements_.first_error();
    RETURN_IF_ERROR(error_);
    return BenchResult{.records = acknowledgements_.records(),
                       .bytes = acknowledgements_.records() * options_.record_size,
                       .elapsed = acknowledgements_.last_at() - started_at_,
                       .cpu_seconds = CpuSeconds() - cpu_before,
                       .latency = acknowledgements_.latency(),
                       .longest_gap = acknowledgements_.longest_gap()};
  }

 private:
  // Why not to go on; ok if nothing is in the way.
  Status Look() {
    if (IsInterrupted()) return Interrupted(WithThousands(sent_) + " records were sent");
    if (acknowledgements_.has_failed()) return Status(Code::kCancelled, "a record failed");
    uint64_t unanswered = 0;
    for (const auto& producer : producers_) unanswered += producer->unanswered_records();
    progress_.Update(sent_ - unanswered, sent_ - unanswered, clock_.Now());
    return {};
  }

  void Feed() {
    Status fed = Look();
    if (fed.ok()) fed = SendTurn();
    if (!fed.ok() && !acknowledgements_.has_failed()) error_ = std::move(fed);
    if (!error_.ok() || acknowledgements_.has_failed() || sent_ == options_.records) {
      return loop_.Stop();
    }
    if (options_.rate == 0) return loop_.Post([this] { Feed(); });
    loop_.RunAfter(kPaceInterval, [this] { Feed(); });
  }

  Status SendTurn() {
    const uint64_t at_once = options_.rate == 0 ? kRecordsPerReading : 1;
    MonotonicTime now = clock_.Now();
    for (uint64_t left = std::min(Due(now), kRecordsPerTurn); left > 0;) {
      const uint64_t count = std::min(left, at_once);
      now = clock_.Now();
      RETURN_IF_ERROR(SendSome(count, Since(now)));
      left -= count;
    }
    return {};
  }

  // To the next producer; if it has no room, it has more to wait for than the others.
  Status SendSome(uint64_t count, MonotonicTime since) {
    Producer& producer = *producers_[next_producer_++ % producers_.size()];
    for (uint64_t i = 0; i < count; ++i) {
      if (options_.is_stamped) Stamp(since, &value_);
      Status sent = Send(&producer, since);
      while (sent.code() == Code::kResourceExhausted) {
        RETURN_IF_ERROR(Look());
        sent = Send(&producer, since);
      }
      RETURN_IF_ERROR(sent);
      ++sent_;
    }
    return {};
  }

  Status Send(Producer* producer, MonotonicTime since) {
    Record record{.value = value_};
    std::string key;
    if (options_.keys > 0) {
      // Fibonacci hashing (Knuth, TAOCP 6.4): neighbours are far from each other.
      key = "key-" + std::to_string((sent_ * 0x9E3779B97F4A7C15 >> 20) % options_.keys);
      record.key = key;
    }
    return producer->Send(record, [this, since](const Delivery& delivery) {
      acknowledgements_.Add(delivery, since);
    });
  }

  Status AwaitAnswers() {
    for (const auto& producer : producers_) {
      while (!producer->Flush(kLookInterval).ok()) RETURN_IF_ERROR(Look());
    }
    return {};
  }

  // Records that are due and not sent.
  uint64_t Due(MonotonicTime now) const {
    if (options_.rate == 0) return options_.records - sent_;
    const double elapsed = static_cast<double>((now - started_at_).count()) / 1e6;
    const auto due = static_cast<uint64_t>(elapsed * options_.rate) + 1;
    return std::min(due, options_.records) - std::min(sent_, due);
  }

  // From when the latency of the next record counts.
  MonotonicTime Since(MonotonicTime now) const {
    if (options_.rate == 0) return now;
    const double microseconds = static_cast<double>(sent_) / options_.rate * 1e6;
    return started_at_ + Duration(static_cast<int64_t>(microseconds));
  }

  const BenchOptions& options_;
  const RealClock clock_;
  EventLoop loop_;
  const MonotonicTime started_at_;
  Acknowledgements acknowledgements_;
  Progress progress_;
  std::vector<std::unique_ptr<Producer>> producers_;  // their reports go to acknowledgements_
  std::string value_;
  size_t next_producer_ = 0;
  uint64_t sent_ = 0;
  Status error_;
};

}  // namespace

int BenchProduce(const BenchOptions& options) {
  return RunOnTopic(options.common, options.topic, [&](millrace::Client& client) -> Status {
    if (options.is_stamped && options.record_size < kStampBytes) {
      return InvalidArgument("--stamp takes a --record-size of 8 or more");
    }
    ProducerOptions producer_options;
    producer_options.linger = std::chrono::milliseconds(options.linger_ms);
    producer_options.memory_bytes_max = size_t{options.memory_mb} << 20;
    producer_options.send_timeout = kLookInterval;
    producer_options.open_timeout = options.common.timeout;
    std::vector<std::unique_ptr<Producer>> producers;
    for (uint32_t i = 0; i < options.producers; ++i) {
      ASSIGN_OR_RETURN(producers.emplace_back(),
                       client.OpenProducer(options.topic, producer_options));
    }
    CatchSignals();
    Load load(options, std::move(producers));
    ASSIGN_OR_RETURN(const BenchResult result, load.Run());
    PrintBench(result, options.common.is_json());
    return {};
  });
}

}  // namespace millrace::client::cli
