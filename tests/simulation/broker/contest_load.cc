#include "tests/simulation/broker/contest_load.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <string>

#include <glog/logging.h>

#include "client/core/error.h"
#include "client/core/producer_driver.h"
#include "proto/base/coverage.h"

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint32_t kWriters = 3;
// What partition 0 and the first writer are called in the history.
constexpr uint32_t kHistoryBase = 500;
constexpr uint32_t kFirstWriter = 300;
constexpr uint64_t kFillingMax = 200;

}  // namespace

class ContestLoad::Writer {
 public:
  Writer(ContestLoad& load, uint32_t number)
      : load_(load),
        number_(kFirstWriter + number),
        own_(load.world_, load.cluster_.edge(), load.cluster_.addresses(),
             "contestant" + std::to_string(number)),
        random_(load.random_.Fork()),
        producer_(
            own_.client, topic(),
            {.delivery_timeout = seconds(600),
             .compression = random_.OneIn(3) ? BatchCompression::kZstd : BatchCompression::kNone},
            {.on_report = [this](const client::DeliveryReport& report) { OnReport(report); },
             .on_room = [] {}}),
        ends_(kPartitions),
        unanswered_(kPartitions) {
    Open();
  }

 private:
  struct Sent {
    ValueId value;
    std::optional<Offset> expected_end;
  };

  void Open() {
    producer_.Open(seconds(60), [this](const Status& status) {
      if (!status.ok()) return Open();
      Act();
    });
  }

  void Act() {
    if (load_.is_stopped_) return producer_.Flush([this] { load_.OnFlushed(); });
    const auto partition = static_cast<uint32_t>(random_.Below(kPartitions));
    const uint64_t count = random_.OneIn(3) ? random_.Between(2, 4) : 1;
    const bool is_plain = random_.OneIn(5);
    // Now and then it bets on an end that may come.
    Offset end = ends_[partition] + static_cast<int64_t>(random_.OneIn(12) ? random_.Below(3) : 0);
    for (uint64_t i = 0; i < count && producer_.has_room(); ++i) {
      Send(partition, is_plain ? std::nullopt : std::optional(end));
      ++end;
    }
    // As if all of that were stored: what comes next rests on it.
    if (!is_plain) ends_[partition] = end;
    own_.process.executor().RunAfter(milliseconds(random_.Between(1, 120)), [this] { Act(); });
  }

  void Send(uint32_t partition, std::optional<Offset> expected_end) {
    const ValueId value{.producer = number_, .number = next_value_++};
    const std::string text = value.Text() + " " + std::string(random_.Below(kFillingMax), 'x');
    load_.history_.Sent(kHistoryBase + partition, value);
    const Result<PartitionId> sent = producer_.Send({.value = text}, own_.process.clock().Now(),
                                                    PartitionId(partition), expected_end);
    CHECK(sent.ok()) << sent.status();
    unanswered_[partition].push_back({.value = value, .expected_end = expected_end});
  }

  void OnReport(const client::DeliveryReport& report) {
    const uint32_t partition = report.partition.partition.value();
    for (uint32_t i = 0; i < report.record_count; ++i) {
      CHECK(!unanswered_[partition].empty());
      const Sent sent = unanswered_[partition].front();
      unanswered_[partition].pop_front();
      if (report.status.ok()) {
        const bool is_known = report.base_offset >= Offset(0);
        OnStored(partition, sent, is_known ? report.base_offset + int64_t{i} : Offset(-1));
      } else {
        OnRefused(partition, sent, report);
      }
    }
  }

  void OnStored(uint32_t partition, const Sent& sent, Offset offset) {
    load_.history_.Acknowledged(kHistoryBase + partition, sent.value,
                                offset < Offset(0) ? sent.expected_end.value_or(offset) : offset);
    ends_[partition] = std::max(ends_[partition], offset + 1);
    if (!sent.expected_end.has_value()) return;
    load_.OnWon(partition, *sent.expected_end, sent.value);
    if (offset < Offset(0) || offset == *sent.expected_end) return;
    load_.history_.SawContest(sent.value.Text() + " was to be at offset " +
                              std::to_string(sent.expected_end->value()) + " and is at " +
                              std::to_string(offset.value()));
  }

  void OnRefused(uint32_t partition, const Sent& sent, const client::DeliveryReport& report) {
    const std::optional<Offset> end = client::MovedEndOf(report.status);
    if (!end.has_value()) {
      return load_.history_.SawStuck("a contestant was refused: " + report.status.ToString());
    }
    ends_[partition] = *end;
    if (!report.may_be_stored) load_.history_.Failed(kHistoryBase + partition, sent.value);
  }

  ContestLoad& load_;
  const uint32_t number_;
  SimClient own_;
  Random random_;
  client::ProducerDriver producer_;
  std::vector<Offset> ends_;  // by partition, as it believes
  std::vector<std::deque<Sent>> unanswered_;
  uint64_t next_value_ = 1;
};

ContestLoad::ContestLoad(SimWorld& world, SimCluster& cluster, History& history, Random random)
    : world_(world), cluster_(cluster), history_(history), random_(random) {}

ContestLoad::~ContestLoad() = default;

void ContestLoad::Start() {
  own_ = std::make_unique<SimClient>(world_, cluster_.edge(), cluster_.addresses(), "contest");
  Create();
}

void ContestLoad::Create() {
  if (is_stopped_) return;
  v1::CreateTopicRequest request;
  request.set_name(topic());
  request.set_partition_count(kPartitions);
  request.set_replication_factor(0);
  own_->client.CreateTopic(
      request, seconds(10), [this](const Result<v1::CreateTopicResponse>& reply) {
        if (is_stopped_) return;
        const bool is_there = reply.ok() || reply.status().code() == Code::kAlreadyExists;
        if (!is_there) {
          own_->process.executor().RunAfter(milliseconds(100), [this] { Create(); });
          return;
        }
        for (uint32_t i = 0; i < kWriters; ++i) {
          writers_.push_back(std::make_unique<Writer>(*this, i));
        }
      });
}

void ContestLoad::OnWon(uint32_t partition, Offset at, ValueId value) {
  const auto [winner, is_first] = winners_.emplace(std::pair(partition, at), value);
  MILLRACE_SOMETIMES("a writer was the first where it saw the log end");
  if (is_first) return;
  history_.SawContest(winner->second.Text() + " and " + value.Text() +
                      " were both told that they are at offset " + std::to_string(at.value()) +
                      " of partition " + std::to_string(partition));
}

void ContestLoad::Stop(MoveFunction<void()> done) {
  is_stopped_ = true;
  if (writers_.empty()) return done();
  writing_ = writers_.size();
  done_ = std::move(done);
}

void ContestLoad::OnFlushed() {
  CHECK_GT(writing_, 0u);
  if (--writing_ == 0) done_();
}

void ContestLoad::ReadBack() {
  reader_ = std::make_unique<SimConsumer>(
      world_, cluster_.edge(), cluster_.addresses(),
      SimConsumerOptions{.topic = topic(), .name = "contest reader", .history_base = kHistoryBase},
      history_);
}

}  // namespace millrace::sim
