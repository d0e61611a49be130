#include "tests/checker/load/load_producer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <glog/logging.h>

#include "tests/checker/load/payload.h"

namespace millrace::checker {
namespace {

constexpr Duration kTick = std::chrono::milliseconds(5);
constexpr Duration kOpenTimeout = std::chrono::seconds(60);
// Longer than any fault of a test: what is given up before that would only be unknown.
constexpr Duration kDeliveryTimeout = std::chrono::minutes(10);
// What one tick may send of what it is behind with, after a stall.
constexpr uint64_t kSendsPerTickMax = 200;

}  // namespace

LoadProducer::LoadProducer(client::Client& client, Recorder& recorder, Options options)
    : client_(client),
      recorder_(recorder),
      options_(std::move(options)),
      random_(client.ForkRandom()) {}

LoadProducer::~LoadProducer() {
  *is_alive_ = false;
  client_.executor().Cancel(timer_);
}

void LoadProducer::Start() {
  began_ = client_.clock().Now();
  Open();
  Tick();
}

void LoadProducer::Open() {
  process_ = recorder_.NewProcess();
  is_open_ = false;
  is_broken_ = false;
  producer_ = std::make_unique<client::ProducerDriver>(
      client_, options_.topic, client::ProducerTuning{.delivery_timeout = kDeliveryTimeout},
      client::ProducerDriver::Callbacks{
          .on_report = [this](const client::DeliveryReport& report) { OnReport(report); },
          .on_room = [] {}});
  producer_->Open(kOpenTimeout, [this](const Status& status) {
    if (!status.ok()) {
      last_error_ = status;
      return BeginAgain();
    }
    is_open_ = true;
    unanswered_.assign(producer_->partition_count(), {});
  });
}

void LoadProducer::Tick() {
  timer_ = client_.executor().RunAfter(kTick, [this] { Tick(); });
  const auto passed =
      std::chrono::duration_cast<std::chrono::microseconds>(client_.clock().Now() - began_);
  const uint64_t due =
      static_cast<uint64_t>(passed.count()) * options_.records_per_second / 1'000'000;
  const uint64_t count = std::min(due - std::min(due, sent_), kSendsPerTickMax);
  sent_ = due;
  if (is_open_ && !is_broken_ && !flushed_ && count > 0) SendSome(count);
}

void LoadProducer::SendSome(uint64_t count) {
  std::vector<Send> sends;
  for (uint64_t i = 0; i < count && producer_->has_room(); ++i) {
    const Key key(static_cast<uint32_t>(random_.Below(producer_->partition_count())));
    sends.push_back({.key = key, .value = recorder_.NewValue(), .offset = {}});
  }
  if (sends.empty()) return;
  recorder_.Invoked(process_, sends);
  const MonotonicTime now = client_.clock().Now();
  for (const Send& send : sends) {
    const std::string text =
        EncodePayload(send.key, send.value, random_.Below(options_.padding_bytes_max + 1));
    const Result<PartitionId> sent = producer_->Send({.value = text}, now, send.key);
    if (sent.ok()) {
      unanswered_[send.key.value()].push_back(send.value);
    } else {
      // Refused before anything left this process: its partition has ended.
      recorder_.Completed(process_, OpType::kFail, {send});
    }
  }
}

void LoadProducer::OnReport(const client::DeliveryReport& report) {
  std::deque<Value>& values = unanswered_[report.partition.partition.value()];
  CHECK_GE(values.size(), report.record_count);
  std::vector<Send> sends;
  for (uint32_t i = 0; i < report.record_count; ++i) {
    Send send{.key = report.partition.partition, .value = values.front(), .offset = {}};
    values.pop_front();
    if (report.base_offset >= Offset(0)) send.offset = report.base_offset + int64_t{i};
    sends.push_back(send);
  }
  if (report.status.ok()) return recorder_.Completed(process_, OpType::kOk, std::move(sends));
  recorder_.Completed(process_, report.may_be_stored ? OpType::kInfo : OpType::kFail,
                      std::move(sends));
  last_error_ = report.status;
  BeginAgain();
}

// The old one can't be destroyed here, in its own callback.
void LoadProducer::BeginAgain() {
  if (is_broken_) return;
  is_broken_ = true;
  ++restarts_;
  LOG(WARNING) << "process " << process_ << " begins again: " << last_error_;
  client_.executor().Post([this, alive = is_alive_] {
    if (!*alive) return;
    if (flushed_) return flushed_();
    Open();
  });
}

void LoadProducer::StopAndFlush(MoveFunction<void()> done) {
  flushed_ = std::move(done);
  if (!is_open_ || is_broken_)
    return client_.executor().Post([this, alive = is_alive_] {
      if (*alive) flushed_();
    });
  producer_->Flush([this] { flushed_(); });
}

}  // namespace millrace::checker
