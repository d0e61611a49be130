#include "client/api/group_consumer_handle.h"

#include <utility>

#include <glog/logging.h>

#include "client/api/positions.h"
#include "client/core/groups.h"

namespace millrace::internal {
namespace {

// How long the destructor waits for what Close does.
constexpr std::chrono::milliseconds kCloseInDestructor{1'000};

Status CheckTime(const char* name, std::chrono::milliseconds time) {
  if (time >= std::chrono::seconds(1) && time <= std::chrono::minutes(30)) return {};
  return InvalidArgument(std::string(name) + " is not within 1 s to 30 min");
}

Status Validate(const std::string& group, const GroupConsumerOptions& options) {
  if (group.empty()) return InvalidArgument("the group's name is empty");
  if (options.topics.empty() && options.pattern.empty()) {
    return InvalidArgument("there are no topics and no pattern");
  }
  if (options.auto_commit_interval && options.auto_commit_interval->count() < 1) {
    return InvalidArgument("auto_commit_interval is less than a millisecond");
  }
  RETURN_IF_ERROR(CheckTime("session_timeout", options.session_timeout));
  RETURN_IF_ERROR(CheckTime("revoke_timeout", options.revoke_timeout));
  RETURN_IF_ERROR(CheckPrefetch(options.prefetch_bytes));
  return CheckPosition(options.start);
}

client::GroupConsumerOptions CoreOptions(const std::string& group,
                                         const GroupConsumerOptions& options) {
  client::GroupConsumerOptions core;
  core.session.group = group;
  core.session.instance_id = options.instance_id;
  for (const std::string& topic : options.topics) core.session.subscription.add_topics(topic);
  core.session.subscription.set_pattern(options.pattern);
  core.session.rack = options.rack;
  core.session.assignor = options.assignor;
  core.session.session_timeout = options.session_timeout;
  core.session.revoke_timeout = options.revoke_timeout;
  core.tuning.credit_bytes = options.prefetch_bytes / 2;
  core.tuning.isolation = ToWire(options.isolation);
  core.tuning.below_log_start = ToStart(options.auto_offset_reset);
  core.start = ToStart(options.start);
  if (options.auto_commit_interval) core.commit_interval = Bounded(*options.auto_commit_interval);
  return core;
}

std::string NameOf(const std::string& topic, uint32_t partition) {
  return "topic \"" + topic + "\" partition " + std::to_string(partition);
}

// `done`, or DEADLINE_EXCEEDED if nothing is told within `timeout`. On the client's thread.
template <typename T>
client::ResponseDone<T> Within(client::Client& client, std::chrono::milliseconds timeout,
                               client::ResponseDone<T> done) {
  auto pending = std::make_shared<client::ResponseDone<T>>(std::move(done));
  auto tell = [pending](Result<T> value) {
    if (*pending) std::exchange(*pending, {})(std::move(value));
  };
  client.RunAfter(Bounded(timeout),
                  [tell] { tell(DeadlineExceeded("the group did not answer in time")); });
  return tell;
}

}  // namespace

Result<std::unique_ptr<GroupConsumerHandle>> GroupConsumerHandle::Open(
    std::shared_ptr<Runtime> runtime, const std::string& group,
    const GroupConsumerOptions& options) {
  RETURN_IF_ERROR(Validate(group, options));
  if (runtime->IsLoopThread()) return Runtime::WouldBlock();
  return std::unique_ptr<GroupConsumerHandle>(
      new GroupConsumerHandle(std::move(runtime), group, options));
}

GroupConsumerHandle::GroupConsumerHandle(std::shared_ptr<Runtime> runtime, const std::string& group,
                                         const GroupConsumerOptions& options)
    : runtime_(std::move(runtime)),
      group_(group),
      options_(options),
      queue_(options.prefetch_bytes / 2) {
  runtime_->RunAndWait([&] {
    reader_ = std::make_unique<client::GroupConsumer>(runtime_->client(),
                                                      CoreOptions(group, options), MakeListener());
    reader_->Start();
  });
}

GroupConsumerHandle::~GroupConsumerHandle() {
  CHECK(!runtime_->IsLoopThread()) << "a millrace::GroupConsumer was destroyed in a callback";
  if (!is_closed_) static_cast<void>(Close(kCloseInDestructor).ok());
}

client::GroupConsumer::Listener GroupConsumerHandle::MakeListener() {
  return {.ready = [this] { Refill(); },
          .assigned =
              [this](const std::vector<client::GroupPartition>& partitions) {
                queue_.Tell([this, partitions] { OnAssigned(partitions); });
              },
          .revoked =
              [this](const std::vector<TopicPartition>& partitions) {
                Drop(partitions);
                queue_.Tell([this, partitions] { OnRevoked(partitions); });
              },
          .lost =
              [this](const std::vector<TopicPartition>& partitions, const Status& why) {
                Drop(partitions);
                queue_.Tell([this, partitions, why] { OnLost(partitions, why); });
              },
          .failed = [this](const Status& why) { queue_.Tell([this, why] { ended_ = why; }); }};
}

void GroupConsumerHandle::Drop(const std::vector<TopicPartition>& partitions) {
  for (const TopicPartition& partition : partitions) queue_.Drop(partition, false);
  Refill();  // the queue may be empty now: then no Poll would ask for more
}

void GroupConsumerHandle::Refill() {
  queue_.Fill([this] { return reader_->Next(); });
}

ChunkQueue::Taken GroupConsumerHandle::Take(Duration timeout, bool may_be_any) {
  ChunkQueue::Taken taken = queue_.Take(timeout, may_be_any);
  if (taken.wants_more) runtime_->Post(lifetime_.Guard([this] { Refill(); }));
  return taken;
}

Status GroupConsumerHandle::CheckMayCallBack() const {
  if (runtime_->IsLoopThread()) return Runtime::WouldBlock();
  if (is_calling_back_) return FailedPrecondition("this may not be called in a callback");
  return is_closed_ ? FailedPrecondition("the group consumer is closed") : Status();
}

Result<Records> GroupConsumerHandle::Poll(std::chrono::milliseconds timeout) {
  RETURN_IF_ERROR(CheckMayCallBack());
  MarkGiven();
  const MonotonicTime deadline = runtime_->clock().Now() + Bounded(timeout);
  Records records;
  size_t opened_bytes = 0;
  while (opened_bytes < kPollBytes && ended_.ok()) {
    // While there are records, what a notice says would come too early, and an error too late.
    Duration wait{0};
    if (records.empty()) wait = TimeLeft(runtime_->clock(), deadline);
    ChunkQueue::Taken taken = Take(wait, records.empty());
    if (taken.notice) {
      taken.notice();
    } else if (taken.chunk) {
      RETURN_IF_ERROR(Read(*taken.chunk, &records, &opened_bytes));
    } else {
      break;
    }
  }
  if (records.empty() && !ended_.ok()) return ended_;
  return records;
}

Status GroupConsumerHandle::Read(const client::FetchedChunk& chunk, Records* records,
                                 size_t* opened_bytes) {
  const auto found = parts_.find(chunk.partition);
  CHECK(found != parts_.end()) << "a batch of partition " << chunk.partition.partition
                               << " came, which is not the member's";
  Part& part = found->second;
  if (!chunk.status.ok()) return ChunkError(chunk, *part.topic);
  if (chunk.has_moved) {
    part.position.reset();
    return {};
  }
  const Status read = ChunkRecords::Append(chunk, part.topic, records, opened_bytes);
  if (!read.ok()) {
    ChangeReading(*found, [&] {
      queue_.Drop(chunk.partition, false);
      reader_->Fail(Owned(*found), read);
    });
    return {};
  }
  part.position = chunk.end_wanted;
  part.leader_epoch = chunk.leader_epoch;
  given_.insert(chunk.partition);
  untaken_.insert(chunk.partition);
  return {};
}

client::OwnedPartition GroupConsumerHandle::Owned(const Parts::value_type& part) {
  return {.partition = part.first, .fencing_token = part.second.fencing_token};
}

std::optional<client::ReadUpTo> GroupConsumerHandle::GivenOf(const Parts::value_type& part) {
  if (!part.second.position) return std::nullopt;
  return client::ReadUpTo{.partition = Owned(part),
                          .next = *part.second.position,
                          .leader_epoch = part.second.leader_epoch};
}

void GroupConsumerHandle::ChangeReading(const Parts::value_type& part, Task change) {
  runtime_->RunAndWait([&] {
    if (!reader_->Has(Owned(part))) return;
    change();
    Refill();  // as in Drop
  });
}

AssignedPartition GroupConsumerHandle::RowOf(const Parts::value_type& part) {
  return {.topic = *part.second.topic,
          .partition = part.first.partition.value(),
          .fencing_token = part.second.fencing_token,
          .committed = part.second.assigned_at};
}

void GroupConsumerHandle::MarkGiven() {
  std::vector<client::ReadUpTo> read;
  for (const TopicPartition& partition : std::exchange(given_, {})) {
    const auto part = parts_.find(partition);
    if (!options_.auto_commit_interval || part == parts_.end()) continue;
    if (const auto given = GivenOf(*part)) read.push_back(*given);
  }
  if (read.empty()) return;
  runtime_->Post(lifetime_.Guard([this, read = std::move(read)] {
    for (const client::ReadUpTo& one : read) reader_->MarkDone(one);
  }));
}

template <typename Callback, typename... Args>
void GroupConsumerHandle::CallBack(const Callback& callback, const Args&... args) {
  if (!callback) return;
  is_calling_back_ = true;
  callback(args...);
  is_calling_back_ = false;
}

void GroupConsumerHandle::OnAssigned(const std::vector<client::GroupPartition>& partitions) {
  std::map<std::string, TopicName> names;
  std::vector<AssignedPartition> rows;
  for (const client::GroupPartition& one : partitions) {
    TopicName& name = names[one.topic];
    if (name == nullptr) name = std::make_shared<const std::string>(one.topic);
    Part part{.topic = name,
              .fencing_token = one.fencing_token,
              .position = one.committed,
              .leader_epoch = Term(one.leader_epoch),
              .committed = one.committed};
    if (one.committed) part.assigned_at = one.committed->value();
    rows.push_back(RowOf(*parts_.insert_or_assign(one.partition, std::move(part)).first));
  }
  CallBack(options_.on_assigned, rows);
}

std::vector<AssignedPartition> GroupConsumerHandle::TakeOut(
    const std::vector<TopicPartition>& partitions) {
  std::vector<AssignedPartition> rows;
  for (const TopicPartition& partition : partitions) {
    const auto part = parts_.find(partition);
    if (part == parts_.end()) continue;
    rows.push_back(RowOf(*part));
    parts_.erase(part);
    given_.erase(partition);
    has_lost_untaken_ = untaken_.erase(partition) > 0 || has_lost_untaken_;
  }
  return rows;
}

// The callback may commit, so they are the member's until it has ended.
void GroupConsumerHandle::OnRevoked(const std::vector<TopicPartition>& partitions) {
  std::vector<AssignedPartition> rows;
  for (const TopicPartition& partition : partitions) {
    const auto part = parts_.find(partition);
    if (part != parts_.end()) rows.push_back(RowOf(*part));
  }
  CallBack(options_.on_revoked, rows);
  TakeOut(partitions);
  runtime_->Post(lifetime_.Guard([this, partitions] { reader_->GaveUp(partitions); }));
}

void GroupConsumerHandle::OnLost(const std::vector<TopicPartition>& partitions, const Status& why) {
  const std::vector<AssignedPartition> rows = TakeOut(partitions);
  if (!rows.empty()) CallBack(options_.on_lost, rows, why);
}

Status GroupConsumerHandle::Commit(std::chrono::milliseconds timeout) {
  std::vector<client::ReadUpTo> read;
  for (const auto& part : parts_) {
    const std::optional<client::ReadUpTo> given = GivenOf(part);
    if (given && given->next != part.second.committed) read.push_back(*given);
  }
  RETURN_IF_ERROR(CommitAll(read, timeout));
  untaken_.clear();
  has_lost_untaken_ = false;
  return {};
}

Result<GroupConsumerHandle::Given> GroupConsumerHandle::TakeGiven(
    const Runtime& runtime, const std::function<v1::MemberProducer()>& producer) {
  RETURN_IF_ERROR(CheckMayCallBack());
  RETURN_IF_ERROR(ended_);
  if (&runtime != runtime_.get()) {
    return FailedPrecondition("the producer and the group consumer are of two clients");
  }
  if (options_.auto_commit_interval) {
    return FailedPrecondition(
        "the group consumer has auto_commit_interval: what it read would count without the "
        "transaction");
  }
  if (*read_again_) {
    return FailedPrecondition(
        "a transaction that had offsets of this group consumer was not committed: Rewind first");
  }
  if (has_lost_untaken_) {
    return Aborted(
        "a partition that records of the transaction were read from is not the member's "
        "any more: abort it, and Rewind",
        Reason::kMemberFenced);
  }
  std::vector<client::ReadUpTo> read;
  for (const TopicPartition& partition : untaken_) {
    if (const auto given = GivenOf(*parts_.find(partition))) read.push_back(*given);
  }
  Given taken{.read_again = read_again_};
  if (read.empty()) return taken;
  Result<v1::CommitOffsetsRequest> offsets = v1::CommitOffsetsRequest();
  runtime_->RunAndWait([&] { offsets = reader_->RequestOf(read, producer()); });
  RETURN_IF_ERROR(offsets.status());
  taken.offsets = *std::move(offsets);
  untaken_.clear();
  return taken;
}

Status GroupConsumerHandle::Rewind(std::chrono::milliseconds timeout) {
  RETURN_IF_ERROR(CheckMayCallBack());
  v1::FetchOffsetsRequest request;
  request.set_group(group_);
  std::map<TopicId, v1::TopicPartitions*> topics;
  for (const auto& [place, part] : parts_) {
    v1::TopicPartitions*& topic = topics[place.topic];
    if (topic == nullptr) {
      topic = request.add_topics();
      topic->set_topic_id(place.topic.value());
    }
    topic->add_partitions(place.partition.value());
  }
  v1::FetchOffsetsResponse committed;
  if (!parts_.empty()) {
    ASSIGN_OR_RETURN(committed, runtime_->Await<v1::FetchOffsetsResponse>([&](auto done) {
      client::FetchStableOffsets(runtime_->client(), request, Bounded(timeout), std::move(done));
    }));
  }
  for (const v1::TopicOffsets& topic : committed.topics()) {
    for (const v1::GroupOffset& one : topic.partitions()) {
      const auto part = parts_.find(
          {.topic = TopicId(topic.topic_id()), .partition = PartitionId(one.partition())});
      if (part != parts_.end()) GoBack(*part, one);
    }
  }
  untaken_.clear();
  has_lost_untaken_ = false;
  *read_again_ = false;
  return {};
}

void GroupConsumerHandle::GoBack(Parts::value_type& part, const v1::GroupOffset& committed) {
  // Where a start is committed as the offset that it means, there is one.
  const Position& start = options_.start;
  const bool is_committed_as_offset =
      start.kind() == Position::Kind::kLatest || start.kind() == Position::Kind::kTime;
  const Position beginning = is_committed_as_offset ? Position::Earliest() : start;
  const Position to = committed.has_offset() ? Position::At(committed.offset()) : beginning;
  ChangeReading(part, [&] {
    queue_.Drop(part.first, false);
    reader_->Seek(Owned(part), ToStart(to));
  });
  part.second.position.reset();
  part.second.leader_epoch = Term(committed.leader_epoch());
  if (committed.has_offset()) part.second.position = Offset(committed.offset());
  given_.erase(part.first);
}

Status GroupConsumerHandle::Commit(const std::vector<PartitionOffset>& offsets,
                                   std::chrono::milliseconds timeout) {
  std::vector<client::ReadUpTo> read;
  for (const PartitionOffset& one : offsets) {
    ASSIGN_OR_RETURN(const Parts::iterator part, Find(one.topic, one.partition));
    if (one.offset < 0) {
      return InvalidArgument("the offset of " + NameOf(one.topic, one.partition) + " is negative");
    }
    read.push_back(
        {.partition = Owned(*part), .next = Offset(one.offset), .metadata = one.metadata});
    if (part->second.position == read.back().next) {
      read.back().leader_epoch = part->second.leader_epoch;
    }
  }
  return CommitAll(read, timeout);
}

Status GroupConsumerHandle::CommitAll(const std::vector<client::ReadUpTo>& read,
                                      std::chrono::milliseconds timeout) {
  if (is_closed_) return FailedPrecondition("the group consumer is closed");
  if (read.empty()) return {};
  using Refused = std::vector<client::RefusedCommit>;
  ASSIGN_OR_RETURN(const Refused refused,
                   runtime_->Await<Refused>([&](client::ResponseDone<Refused> done) {
                     reader_->Commit(read, Within(runtime_->client(), timeout, std::move(done)));
                   }));
  std::map<TopicPartition, Status> errors;
  for (const client::RefusedCommit& one : refused) errors[one.partition] = one.why;
  for (const client::ReadUpTo& one : read) {
    const auto part = parts_.find(one.partition.partition);
    const bool is_taken = !errors.contains(one.partition.partition);
    if (is_taken && part != parts_.end()) part->second.committed = one.next;
  }
  if (errors.empty()) return {};
  const auto& [partition, why] = *errors.begin();
  const auto part = parts_.find(partition);
  const std::string topic = part == parts_.end() ? "" : *part->second.topic;
  return why.With(NameOf(topic, partition.partition.value()));
}

// Topics are few. Of two of that name the later one: the other is gone.
GroupConsumerHandle::Parts::const_iterator GroupConsumerHandle::Look(const std::string& topic,
                                                                     uint32_t partition) const {
  auto found = parts_.end();
  for (auto part = parts_.begin(); part != parts_.end();) {
    const TopicId id = part->first.topic;
    if (*part->second.topic == topic) {
      const auto it = parts_.find({.topic = id, .partition = PartitionId(partition)});
      if (it != parts_.end()) found = it;
    }
    part = parts_.upper_bound({.topic = id, .partition = PartitionId(UINT32_MAX)});
  }
  return found;
}

Result<GroupConsumerHandle::Parts::iterator> GroupConsumerHandle::Find(const std::string& topic,
                                                                       uint32_t partition) {
  const auto found = Look(topic, partition);
  if (found != parts_.end()) return parts_.find(found->first);
  return NotFound(NameOf(topic, partition) + " is not the member's", Reason::kUnknownPartition);
}

std::vector<AssignedPartition> GroupConsumerHandle::assignment() const {
  std::vector<AssignedPartition> rows;
  for (const auto& part : parts_) rows.push_back(RowOf(part));
  std::ranges::sort(
      rows, {}, [](const AssignedPartition& row) { return std::pair(row.topic, row.partition); });
  return rows;
}

std::optional<int64_t> GroupConsumerHandle::position(const std::string& topic,
                                                     uint32_t partition) const {
  const auto found = Look(topic, partition);
  if (found == parts_.end() || !found->second.position) return std::nullopt;
  return found->second.position->value();
}

Status GroupConsumerHandle::Seek(const std::string& topic, uint32_t partition,
                                 const Position& position) {
  RETURN_IF_ERROR(CheckPosition(position));
  ASSIGN_OR_RETURN(const Parts::iterator part, Find(topic, partition));
  ChangeReading(*part, [&] {
    queue_.Drop(part->first, false);
    reader_->Seek(Owned(*part), ToStart(position));
  });
  part->second.position.reset();
  part->second.leader_epoch = Term();
  if (const std::optional<int64_t> offset = KnownOffset(position)) {
    part->second.position = Offset(*offset);
    given_.insert(part->first);
  }
  return {};
}

// As ConsumerHandle::Pause.
Status GroupConsumerHandle::Pause(const std::string& topic, uint32_t partition) {
  ASSIGN_OR_RETURN(const Parts::iterator part, Find(topic, partition));
  ChangeReading(*part, [&] {
    reader_->Pause(Owned(*part));
    const std::optional<Offset> first = queue_.Drop(part->first, true);
    if (first) reader_->Seek(Owned(*part), client::StartAt::At(*first));
  });
  return {};
}

Status GroupConsumerHandle::Resume(const std::string& topic, uint32_t partition) {
  ASSIGN_OR_RETURN(const Parts::iterator part, Find(topic, partition));
  runtime_->RunAndWait([&] { reader_->Resume(Owned(*part)); });
  return {};
}

Status GroupConsumerHandle::Close(std::chrono::milliseconds timeout) {
  RETURN_IF_ERROR(CheckMayCallBack());
  // What it was told before counts.
  while (ChunkQueue::Taken taken = Take(Duration(0), true)) {
    if (taken.notice) taken.notice();
  }
  std::vector<TopicPartition> all;
  for (const auto& part : parts_) all.push_back(part.first);
  if (!all.empty()) CallBack(options_.on_revoked, assignment());
  is_closed_ = true;
  TakeOut(all);
  const bool will_be_back = !options_.instance_id.empty();
  const Status left =
      runtime_
          ->Await<Done>([&](client::ResponseDone<Done> done) {
            auto told = Within(runtime_->client(), timeout, std::move(done));
            reader_->Leave(will_be_back, [told = std::move(told)]() mutable { told(Done()); });
          })
          .status();
  runtime_->RunAndWait([this] {
    lifetime_.End();
    reader_.reset();
  });
  if (left.ok()) return {};
  return Unavailable(
      "the group could not be told in time that the member leaves: its session has "
      "to end by itself");
}

}  // namespace millrace::internal
