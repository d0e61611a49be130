#include "broker/service/fetch/partition_reader.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "broker/service/fetch/accepted_read.h"
#include "broker/service/fetch/position.h"
#include "proto/base/coverage.h"

namespace millrace::broker {
namespace {

// Bytes read of one partition at a time.
constexpr uint64_t kReadBytesMax = 256 << 10;
// How long a read waits at the end of a partition; then it is asked again.
constexpr Duration kReadWait = std::chrono::seconds(5);
// Between two looks for a partition's leader.
constexpr Duration kRetryDelay = std::chrono::milliseconds(100);

// Whether the same request may succeed later: no leader, or none that answers.
bool Passes(const Status& status) {
  return status.code() == Code::kUnavailable || status.code() == Code::kDeadlineExceeded ||
         status.code() == Code::kResourceExhausted;
}

}  // namespace

PartitionReader::PartitionReader(const FetchEnvironment& environment,
                                 std::shared_ptr<const Stream> stream, Listener listener)
    : environment_(environment),
      stream_(std::move(stream)),
      listener_(std::move(listener)),
      memory_(environment.memory.outgoing, stream_, [this] { Pump(); }) {}

Status PartitionReader::Add(const std::vector<Reading>& readings) {
  MemoryBudget& memory = environment_.memory.sessions;
  if (readings.size() * kReadSessionBytes > memory.Allowance()) {
    return ResourceExhausted("as many partitions of this broker are read as its memory allows",
                             Reason::kThrottled)
        .RetryAfterMs(1000);
  }
  // From the last, as each goes before all others.
  for (auto reading = readings.rbegin(); reading != readings.rend(); ++reading) {
    const auto [place, is_new] = sessions_.try_emplace(reading->id);
    CHECK(is_new) << "partition " << reading->id << " is read already";
    place->second.reading = *reading;
    place->second.memory = MemoryHold(memory, kReadSessionBytes);
    MakeReady(place->second);
  }
  return {};
}

void PartitionReader::Stop() {
  sessions_.clear();
  ready_.clear();
}

void PartitionReader::SetHoldsBack(bool holds_back) {
  if (std::exchange(holds_back_, holds_back) && !holds_back) PostPump();
}

void PartitionReader::OnWritable() {
  memory_.OnWritable();
  Pump();
}

PartitionReader::Session* PartitionReader::Find(Id id) {
  const auto found = sessions_.find(id);
  return found == sessions_.end() ? nullptr : &found->second;
}

void PartitionReader::MakeReady(const Session& session) {
  const Id id = session.reading.id;
  session.is_located ? ready_.push_back(id) : ready_.push_front(id);
}

// Begins what is ready, in turn, as long as there is memory and the transport keeps up.
void PartitionReader::Pump() {
  while (!ready_.empty()) {
    const Session* session = Find(ready_.front());
    const bool reads = session != nullptr && session->is_located;
    if (reads && (holds_back_ || !memory_.MayHoldMore())) return;
    ready_.pop_front();
    if (session == nullptr) continue;
    reads ? Read(*session) : Locate(*session);
  }
}

void PartitionReader::PostPump() {
  if (std::exchange(is_pump_posted_, true)) return;
  environment_.executor.Post(lifetime_.Guard([this] {
    is_pump_posted_ = false;
    Pump();
  }));
}

void PartitionReader::Locate(const Session& session) {
  environment_.partitions.Offsets(
      stream_->principal(), session.reading.group,
      {.timestamp_ms = TimestampOf(session.reading.position)}, kForwardTimeout,
      lifetime_.Guard([this, id = session.reading.id](const Result<PartitionOffsets>& offsets) {
        if (Session* of = Find(id)) OnLocated(*of, offsets);
      }));
}

void PartitionReader::OnLocated(Session& session, const Result<PartitionOffsets>& offsets) {
  if (!offsets.ok()) return OnError(session, offsets.status());
  const v1::Position& position = session.reading.position;
  session.is_located = true;
  session.next = StartOf(position, *offsets, session.reading.isolation);
  session.reader_end = offsets->end_of(session.reading.isolation);
  // Located again, it ends where it was to end.
  const bool is_again = std::exchange(session.is_at_earliest, position.earliest());
  if (!is_again) session.end = offsets->end_of(session.reading.isolation);
  const Id id = session.reading.id;
  listener_.located(id, session.next);
  const Session* still = Find(id);
  if (still == nullptr) return;
  if (still->next <= still->end || is_again) return Continue(*still);
  // Reading there says that it is out of range.
  MakeReady(*still);
  PostPump();
}

// Its start moved before anything was read: the earliest record is another one.
void PartitionReader::LocateAgain(Session& session) {
  MILLRACE_SOMETIMES("a subscription's start moved before its first read");
  session.is_located = false;
  MakeReady(session);
  PostPump();
}

void PartitionReader::Read(const Session& session) {
  MemoryHold reserved = memory_.BeginRead(session.next < session.reader_end);
  ReadAccepted(environment_, stream_->principal(),
               {.group = session.reading.group,
                .request = {.offset = session.next,
                            .bytes_max = kReadBytesMax,
                            .isolation = session.reading.isolation},
                .accepted = AcceptedForms::Uncompressed(),
                .wait = kReadWait},
               lifetime_.Guard([this, id = session.reading.id, reserved = std::move(reserved)](
                                   const Result<FetchedBatches>& read) {
                 memory_.EndRead(reserved);
                 if (Session* of = Find(id)) OnRead(*of, reserved.bytes() > 0, read);
               }));
}

void PartitionReader::OnRead(Session& session, bool is_reserved,
                             const Result<FetchedBatches>& read) {
  const bool is_gone = read.status().reason() == Reason::kOffsetOutOfRange;
  if (is_gone && session.is_at_earliest) return LocateAgain(session);
  if (!read.ok()) return OnError(session, read.status());
  const Offset from = session.next;
  session.reader_end = read->offsets.end_of(session.reading.isolation);
  const bool may_send = !holds_back_ && (is_reserved || memory_.MayHoldMore());
  // What others were faster to take memory for is read again.
  if (!read->batches.empty() && may_send) {
    const Status delivered = Deliver(session, *read);
    if (!delivered.ok()) return Fail(session, delivered);
  } else if (read->batches.empty()) {
    session.next = std::max(session.next, read->next_offset);
  }
  if (session.next > from) session.is_at_earliest = false;
  Continue(session);
}

// Sends records until there is no room: unpacked, a batch may be many times what was read.
Status PartitionReader::Deliver(Session& session, const FetchedBatches& read) {
  const Offset to = session.reading.stops_at_end ? session.end : Offset(INT64_MAX);
  const auto send = [this, &session, &read](RecordMessage message) {
    listener_.send({.id = session.reading.id,
                    .message = std::move(message.bytes),
                    .end = message.end,
                    .leader_epoch = LeaderEpochOf(read.leader_epoch_base, message.term)});
    memory_.OnSent();
    return memory_.HasRoom() && !holds_back_;
  };
  RecordMessages messages(session.reading.partition, send, message_bytes_);
  for (const FetchedBatch& batch : read.batches) {
    const Result<Offset> added = messages.Add(batch, session.next, to);
    if (!added.ok()) {
      messages.Flush();
      return added.status();
    }
    session.next = std::max(session.next, *added);
    if (!messages.has_room()) return {};
    if (&batch == &read.batches.back()) session.next = std::max(session.next, read.next_offset);
  }
  messages.Flush();
  return {};
}

void PartitionReader::OnError(const Session& session, const Status& status) {
  const Reading& reading = session.reading;
  if (!Passes(status)) return Fail(session, environment_.view.WithLeader(status, reading.group));
  const Status topic = environment_.view.FindTopic("", reading.topic).status();
  if (topic.code() == Code::kNotFound) return Fail(session, topic);
  environment_.executor.RunAfter(kRetryDelay, lifetime_.Guard([this, id = reading.id] {
    if (const Session* of = Find(id)) MakeReady(*of);
    Pump();
  }));
}

void PartitionReader::Fail(const Session& session, const Status& status) {
  const Id id = session.reading.id;
  sessions_.erase(id);
  listener_.failed(id, status);
}

void PartitionReader::Continue(const Session& session) {
  const Id id = session.reading.id;
  if (!session.reading.stops_at_end || session.next < session.end) {
    MakeReady(session);
    return PostPump();
  }
  sessions_.erase(id);
  listener_.done(id);
}

}  // namespace millrace::broker
