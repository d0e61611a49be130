#include "broker/service/consume/consume_stream.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "broker/service/consume/consume_messages.h"
#include "broker/service/consume/consume_request.h"
#include "broker/service/consume/held_partitions.h"
#include "broker/service/fetch/partition_reader.h"
#include "broker/service/fetch/position.h"
#include "broker/service/fetch/stream_memory.h"
#include "broker/service/group/member_session.h"
#include "millrace/v1/group_service.pb.h"
#include "raft/runtime/lifetime.h"

namespace millrace::broker {
namespace {

// Between two looks for a partition that this broker does not know yet, or for memory to read it.
constexpr Duration kReadAgainDelay = std::chrono::milliseconds(200);

class ConsumeStream final : public StreamHandler {
 public:
  ConsumeStream(const ConsumeEnvironment& environment, std::shared_ptr<Stream> stream,
                std::string drawn_member_id);

  void OnMessage(Bytes message) override;
  void OnHalfClose() override;
  void OnWritable() override;
  void OnClosed() override;

 private:
  Status Take(const v1::ConsumeRequest& said);
  Status Begin(const v1::ConsumeInit& init);
  Status OnCommit(const v1::ConsumeCommit& commit);
  Status OnDone(uint64_t up_to);
  Status OnLeave(const v1::Leave& leave);
  // All that the client wants to be committed by now, as one; in a transaction, if it says so.
  void AskCommit(const v1::TransactionName* transaction = nullptr);
  void HearIfItReads(const v1::ConsumeRequest& said);
  SentMessages& sent() { return messages_->sent(); }

  // What the session has to tell.
  void Tell();
  void TakeAssignment(const v1::Assignment& assignment);
  void TakeResult(v1::CommitResult result);
  // A Proceed of the session follows.
  void AnswerIfGivenUp();
  void GiveUp(uint64_t up_to);

  // What is held and not read.
  void BeginReading();
  void BeginReadingLater();
  bool Read(HeldPartition* held);
  void OnLocated(uint64_t reading, Offset start);
  void TellLocated();
  void OnRecords(PartitionReader::Sent records);
  void OnReadFailed(uint64_t reading, const Status& why);

  void ScheduleTellNothing();
  void UpdateReading();
  // Nothing more is told but results.
  void StopReading() {
    is_ending_ = true;
    reader_.Stop();
  }
  void Stop() {
    is_over_ = true;
    StopReading();
  }
  void Finish(const Status& status);

  const ConsumeEnvironment environment_;
  const std::shared_ptr<Stream> stream_;
  const std::string drawn_member_id_;
  v1::ConsumeInit init_;  // without its subscription
  std::string member_id_;
  bool is_over_ = false;
  bool is_ending_ = false;  // it has left, or is half-closed
  bool is_joined_told_ = false;
  bool is_reading_ = true;
  bool is_reading_later_ = false;
  bool is_telling_ = false;
  uint64_t taken_when_heard_ = 0;
  std::vector<uint64_t> located_;  // readings whose start is to be told
  // The last of those that wait for the ones before to be answered.
  std::optional<uint64_t> commit_id_;
  size_t asked_commits_ = 0;                  // not answered yet
  std::optional<v1::AssignmentDone> answer_;  // for when all is given up that was to be
  std::optional<ConsumeMessages> messages_;
  std::optional<HeldPartitions> held_;
  PartitionReader reader_;
  MemberSession session_;
  Lifetime lifetime_;
};

ConsumeStream::ConsumeStream(const ConsumeEnvironment& environment, std::shared_ptr<Stream> stream,
                             std::string drawn_member_id)
    : environment_(environment),
      stream_(std::move(stream)),
      drawn_member_id_(std::move(drawn_member_id)),
      reader_(
          environment.fetch, stream_,
          {.located = [this](uint64_t reading, Offset start) { OnLocated(reading, start); },
           .send = [this](PartitionReader::Sent sent) { OnRecords(std::move(sent)); },
           .done = [](uint64_t) {},
           .failed = [this](uint64_t reading, const Status& why) { OnReadFailed(reading, why); }}),
      session_({.executor = environment.fetch.executor,
                .view = environment.fetch.view,
                .coordinators = environment.coordinators,
                .memory = environment.fetch.memory},
               stream_->principal(),
               {.tell = [this] { Tell(); },
                .commit = [this](v1::CommitResult result) { TakeResult(std::move(result)); },
                .end =
                    [this](const Status& why) {
                      Stop();
                      stream_->Finish(why);
                    }}) {}

void ConsumeStream::OnMessage(Bytes message) {
  if (is_over_ || session_.is_leaving()) return;
  const Result<v1::ConsumeRequest> said = ParseConsumeRequest(message);
  const Status taken = said.ok() ? Take(*said) : said.status();
  if (!taken.ok()) return Finish(taken);
  Tell();
  session_.Proceed();
}

Status ConsumeStream::Take(const v1::ConsumeRequest& said) {
  if (said.has_init() != !session_.has_begun()) {
    return InvalidArgument(said.has_init()
                               ? "`init` may only be a Consume stream's first message"
                               : "the first message of a Consume stream must be `init`");
  }
  HearIfItReads(said);
  switch (said.message_case()) {
    case v1::ConsumeRequest::kInit:
      return Begin(said.init());
    case v1::ConsumeRequest::kCommit:
      return OnCommit(said.commit());
    case v1::ConsumeRequest::kDone:
      return OnDone(said.done().up_to());
    case v1::ConsumeRequest::kPing:
      return {};
    case v1::ConsumeRequest::kLeave:
      return OnLeave(said.leave());
    case v1::ConsumeRequest::MESSAGE_NOT_SET:
      break;
  }
  LOG(FATAL) << "ParseConsumeRequest took a message that says nothing";
}

Status ConsumeStream::Begin(const v1::ConsumeInit& init) {
  RETURN_IF_ERROR(CheckConsumeInit(init));
  const v1::JoinInit join = ToJoinInit(init, drawn_member_id_);
  RETURN_IF_ERROR(session_.Begin(join));
  init_ = init;
  init_.clear_subscription();
  member_id_ = join.member_id();
  const uint32_t window_bytes = WindowBytesOf(init);
  messages_.emplace(stream_, environment_.fetch.memory.sessions, window_bytes);
  held_.emplace(init.start());
  reader_.SetMessageBytes(std::min<size_t>(window_bytes, RecordMessages::kMessageBytes));
  return {};
}

// Who is done with more has read it. Whatever else it says may come from a part of it that works
// while the other one hangs.
void ConsumeStream::HearIfItReads(const v1::ConsumeRequest& said) {
  const uint64_t up_to = std::max(said.commit().up_to(), said.done().up_to());
  const bool is_done_with_more = messages_.has_value() && up_to > sent().done();
  const uint64_t taken = messages_.has_value() ? messages_->taken() : 0;
  const bool does_take = stream_->pending_bytes() == 0 || taken > taken_when_heard_;
  if (!is_done_with_more && !does_take) return;
  taken_when_heard_ = taken;
  session_.Hear();
  session_.HearSoon();
}

Status ConsumeStream::OnCommit(const v1::ConsumeCommit& commit) {
  if (commit.has_offsets()) {
    AskCommit();
    v1::OffsetCommit offsets;
    offsets.set_commit_id(commit.commit_id());
    *offsets.mutable_topics() = commit.offsets().topics();
    if (commit.has_transaction()) *offsets.mutable_transaction() = commit.transaction();
    sent().SkipCommit();
    ++asked_commits_;
    session_.Commit(offsets);
    return {};
  }
  // What counts only with its transaction is no part of what counts without.
  if (commit.has_transaction()) AskCommit();
  RETURN_IF_ERROR(sent().Done(commit.up_to()));
  commit_id_ = commit.commit_id();
  if (commit.has_transaction()) AskCommit(&commit.transaction());
  GiveUp(commit.up_to());
  return {};
}

Status ConsumeStream::OnDone(uint64_t up_to) {
  // What was to be committed before is no more than it was.
  AskCommit();
  RETURN_IF_ERROR(sent().Done(up_to));
  GiveUp(up_to);
  return {};
}

void ConsumeStream::AskCommit(const v1::TransactionName* transaction) {
  if (!commit_id_.has_value()) return;
  const uint64_t id = *std::exchange(commit_id_, std::nullopt);
  ++asked_commits_;
  v1::OffsetCommit commit = sent().TakeCommit(id);
  if (transaction != nullptr) *commit.mutable_transaction() = *transaction;
  session_.Commit(commit);
}

Status ConsumeStream::OnLeave(const v1::Leave& leave) {
  AskCommit();
  RETURN_IF_ERROR(session_.Leave(leave));
  StopReading();
  return {};
}

void ConsumeStream::GiveUp(uint64_t up_to) {
  // A partition is given up behind its last commit.
  if (held_->is_revoking()) AskCommit();
  for (const uint64_t reading : held_->GiveUp(up_to)) sent().End(reading);
  AnswerIfGivenUp();
  messages_->CountMemory();
  reader_.SetHoldsBack(!sent().has_room());
}

void ConsumeStream::OnHalfClose() {
  if (is_over_) return;
  if (!session_.has_begun()) return Finish(InvalidArgument("a Consume stream without `init`"));
  // Nothing more can be acknowledged.
  StopReading();
  AskCommit();
  session_.HalfClose();
  session_.Proceed();
}

void ConsumeStream::OnWritable() {
  if (is_over_) return;
  reader_.OnWritable();
  Tell();
  session_.Proceed();
}

void ConsumeStream::OnClosed() {
  Stop();
  session_.Break();
}

void ConsumeStream::Tell() {
  if (is_over_) return;
  if (session_.interval_ms().has_value() && !std::exchange(is_joined_told_, true)) {
    messages_->TellJoined(member_id_, *session_.interval_ms());
    ScheduleTellNothing();
  }
  // A change that the client did not take yet is not followed by another one.
  const bool may_tell = is_joined_told_ && !is_ending_ && messages_->is_change_taken();
  if (may_tell && session_.has_news()) TakeAssignment(session_.TakeNews());
  if (asked_commits_ == 0) AskCommit();
  UpdateReading();
}

void ConsumeStream::TakeAssignment(const v1::Assignment& assignment) {
  answer_.emplace();
  answer_->set_version(assignment.version());
  for (const v1::AssignedTopic& topic : assignment.topics()) {
    v1::OwnedPartitions& owned = *answer_->add_owned();
    owned.set_topic_id(topic.topic_id());
    for (const auto& partition : topic.partitions()) owned.add_partitions(partition.partition());
  }
  const HeldPartitions::Change change = held_->Take(assignment);
  std::vector<HeldPartition> lost;
  for (const HeldPartition& held : change.lost) {
    reader_.Remove(held.reading);
    sent().End(held.reading);
    if (held.is_told) lost.push_back(held);
  }
  for (const HeldPartition& held : change.revoked) reader_.Remove(held.reading);
  messages_->TellLost(lost);
  messages_->TellRevoked(change.revoked);
  if (!change.revoked.empty()) held_->SetRevokedBy(sent().next_number() - 1, change.revoked);
  AnswerIfGivenUp();
  if (!is_ending_) BeginReading();
}

void ConsumeStream::AnswerIfGivenUp() {
  if (!answer_.has_value() || held_->is_revoking()) return;
  const Status answered = session_.Answer(*std::exchange(answer_, std::nullopt));
  if (!answered.ok()) Finish(answered);
}

void ConsumeStream::TakeResult(v1::CommitResult result) {
  if (is_over_) return;
  CHECK_GT(asked_commits_, 0U);
  --asked_commits_;
  sent().OnResult(result);
  messages_->TellResult(std::move(result));
}

void ConsumeStream::BeginReading() {
  bool is_all_read = true;
  for (auto& [partition, held] : held_->all()) {
    if (!held.is_read && !held.revoked_by.has_value()) is_all_read &= Read(&held);
  }
  reader_.Pump();
  if (!is_all_read) BeginReadingLater();
}

// What this broker was told of by the coordinator it may learn of later from the controller.
bool ConsumeStream::Read(HeldPartition* held) {
  const auto found = environment_.fetch.view.FindPartition(
      {.topic = "", .topic_id = held->partition.topic, .partition = held->partition.partition});
  if (!found.ok()) return false;
  const Status added = reader_.Add({{.id = held->reading,
                                     .topic = held->partition.topic,
                                     .partition = held->partition.partition,
                                     .group = (*found)->group,
                                     .position = held->position,
                                     .isolation = IsolationOf(init_.isolation())}});
  if (!added.ok()) return false;
  sent().Begin(held->reading, held->partition);
  held->is_read = true;
  return true;
}

void ConsumeStream::BeginReadingLater() {
  if (std::exchange(is_reading_later_, true)) return;
  environment_.fetch.executor.RunAfter(kReadAgainDelay, lifetime_.Guard([this] {
    is_reading_later_ = false;
    if (!is_ending_) BeginReading();
  }));
}

void ConsumeStream::OnLocated(uint64_t reading, Offset start) {
  HeldPartition* held = held_->Find(reading);
  CHECK(held != nullptr) << "reading " << reading << " is of nothing that is held";
  held->start = start;
  located_.push_back(reading);
  if (std::exchange(is_telling_, true)) return;
  environment_.fetch.executor.Post(lifetime_.Guard([this] {
    is_telling_ = false;
    if (!is_ending_) TellLocated();
  }));
}

void ConsumeStream::TellLocated() {
  std::vector<HeldPartition> assigned;
  for (const uint64_t reading : std::exchange(located_, {})) {
    HeldPartition* held = held_->Find(reading);
    if (held == nullptr || held->revoked_by.has_value()) continue;
    held->is_told = true;
    assigned.push_back(*held);
  }
  messages_->TellAssigned(assigned);
}

void ConsumeStream::OnRecords(PartitionReader::Sent records) {
  // They are told where it begins first.
  if (!located_.empty()) TellLocated();
  const HeldPartition* held = held_->Find(records.id);
  CHECK(held != nullptr) << "reading " << records.id << " is of nothing that is held";
  messages_->TellRecords(*held, std::move(records));
  reader_.SetHoldsBack(!sent().has_room());
}

void ConsumeStream::OnReadFailed(uint64_t reading, const Status& why) {
  HeldPartition* held = held_->Find(reading);
  CHECK(held != nullptr) << "reading " << reading << " is of nothing that is held";
  // The coordinator says so, too, and then it is lost.
  if (why.code() == Code::kNotFound) return;
  const bool is_gone = why.reason() == Reason::kOffsetOutOfRange;
  if (!is_gone || init_.when_gone() == v1::CONSUME_START_UNSPECIFIED) {
    return Finish(Status(why)
                      .AddMetadata("topic", held->topic)
                      .AddMetadata("partition", std::to_string(held->partition.partition.value())));
  }
  sent().End(reading);
  held_->MoveTo(held, PositionOf(init_.when_gone()));
  BeginReading();
}

// Where nothing is to be acknowledged an empty message is.
void ConsumeStream::ScheduleTellNothing() {
  environment_.fetch.executor.RunAfter(std::chrono::milliseconds(*session_.interval_ms()),
                                       lifetime_.Guard([this] {
                                         if (is_ending_) return;
                                         if (sent().is_all_done()) messages_->TellNothing();
                                         ScheduleTellNothing();
                                       }));
}

void ConsumeStream::UpdateReading() {
  if (is_over_) return;
  const bool should_read =
      session_.has_room() && stream_->pending_bytes() < StreamMemory::kBytesMax;
  if (should_read == is_reading_) return;
  is_reading_ = should_read;
  stream_->SetReading(should_read);
}

void ConsumeStream::Finish(const Status& status) {
  if (is_over_) return;
  Stop();
  session_.Break();
  stream_->Finish(status);
}

}  // namespace

std::unique_ptr<StreamHandler> MakeConsumeStream(const ConsumeEnvironment& environment,
                                                 std::shared_ptr<Stream> stream,
                                                 std::string drawn_member_id) {
  return std::make_unique<ConsumeStream>(environment, std::move(stream),
                                         std::move(drawn_member_id));
}

}  // namespace millrace::broker
