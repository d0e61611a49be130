#include "broker/service/group/join_stream.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include <glog/logging.h>

#include "broker/coordinator/member_requests.h"
#include "broker/service/group/join_request.h"
#include "broker/service/group/member_commits.h"
#include "millrace/v1/group_service.pb.h"
#include "raft/runtime/lifetime.h"

namespace millrace::broker {
namespace {

using internal::v1::MemberReply;
using internal::v1::MemberRequest;

// What the client does not take, past which its stream is not read.
constexpr uint64_t kPendingBytesMax = 64 << 10;
constexpr uint64_t kUnansweredPingsMax = 16;
// What a member's session costs beside what it says of itself and owns.
constexpr uint64_t kSessionBytes = 2 << 10;
constexpr int64_t kNoMemoryRetryMs = 1'000;
// How late a commit may be heard of.
constexpr Duration kHeardWithin = std::chrono::milliseconds(250);
// A coordinator that is busy with the group is asked again, so many times.
constexpr Duration kBusyDelay = std::chrono::milliseconds(200);
constexpr uint32_t kBusyMax = 50;

class JoinStream final : public StreamHandler {
 public:
  JoinStream(const JoinEnvironment& environment, std::shared_ptr<Stream> stream)
      : environment_(environment), stream_(std::move(stream)) {}

  void OnMessage(Bytes message) override;
  void OnHalfClose() override;
  void OnWritable() override { Tell(); }
  void OnClosed() override;

 private:
  // Of a request that is under way.
  struct Asked {
    uint64_t sequence = 0;
    uint64_t wish = 0;
    std::optional<uint64_t> answered;
    uint64_t pings = 0;
    bool is_heard = false;
    bool does_wait = false;
    bool does_leave = false;
  };
  // What waits until as many commits are answered.
  template <typename Said>
  struct AfterCommits {
    Said said;
    uint64_t commits = 0;
  };

  Status Take(const v1::JoinRequest& said);
  Status OnInit(const v1::JoinInit& init);
  Status OnSubscription(const v1::Subscription& subscription);
  Status OnDone(const v1::AssignmentDone& done);
  Status OnLeave(const v1::Leave& leave);
  void OnCommit(const v1::OffsetCommit& commit);
  void CountMemory();

  void PostProceed();
  void Proceed();
  void ProceedAsMember();
  template <typename Said>
  bool IsDue(const std::optional<AfterCommits<Said>>& waiting) const {
    return waiting.has_value() && commits_->answered() >= waiting->commits;
  }
  void SayWhatIsOwned();
  MemberRequest ToSay();
  void Ask(MemberRequest request, Asked asked);
  void OnReply(const Asked& asked, const Result<MemberReply>& reply);
  void OnError(const Asked& asked, const Status& status);
  void TakeNews(const Asked& asked, const v1::Assignment& assignment);

  void Tell();
  void TellAssignment();
  void Write(const v1::JoinResponse& response) {
    stream_->Write({Bytes::Own(response.SerializeAsString())});
  }
  void UpdateReading();
  void Finish(const Status& status);
  void TellBroken();

  const JoinEnvironment environment_;
  const std::shared_ptr<Stream> stream_;
  bool is_over_ = false;
  bool is_half_closed_ = false;
  bool is_reading_ = true;
  bool is_proceed_posted_ = false;

  // What is said with every request. None before `init`.
  std::optional<MemberRequest> member_;
  internal::v1::MemberInfo info_;
  OwnedTopics owned_;
  // What it says of itself: so many times it said so, and which of these the coordinator knows.
  uint64_t wish_ = 1;
  uint64_t known_wish_ = 0;
  uint64_t pings_ = 0;
  uint64_t answered_pings_ = 0;
  bool has_spoken_ = false;       // since the request before
  bool has_more_to_say_ = false;  // at once
  bool is_hearing_ = false;       // a timer for what is not said at once
  std::optional<AfterCommits<v1::AssignmentDone>> done_;
  std::optional<AfterCommits<v1::Leave>> leave_;

  uint64_t sequence_ = 0;    // of the newest request
  bool is_asking_ = false;   // it is answered at once, and nothing else is asked before
  bool is_waiting_ = false;  // it waits for news
  uint32_t busy_count_ = 0;

  std::optional<uint32_t> interval_ms_;  // once it is a member
  bool is_joined_told_ = false;
  std::optional<v1::Assignment> news_;  // that the client is not told yet
  std::optional<uint64_t> seen_;        // version
  std::optional<uint64_t> told_;
  std::optional<uint64_t> answered_;      // whose answer is in owned_
  std::optional<uint64_t> known_answer_;  // that the coordinator has taken
  bool is_assignment_pending_ = false;    // the transport may not have taken it
  uint64_t pongs_ = 0;                    // that are due

  MemoryHold memory_;
  std::optional<MemberCommits> commits_;
  Lifetime lifetime_;
};

void JoinStream::OnMessage(Bytes message) {
  if (is_over_ || leave_.has_value()) return;
  const Result<v1::JoinRequest> said = ParseJoinRequest(message);
  const Status taken = said.ok() ? Take(*said) : said.status();
  if (!taken.ok()) return Finish(taken);
  UpdateReading();
  Proceed();
}

Status JoinStream::Take(const v1::JoinRequest& said) {
  if (said.has_init() != !member_.has_value()) {
    return InvalidArgument(said.has_init() ? "`init` may only be a Join stream's first message"
                                           : "the first message of a Join stream must be `init`");
  }
  has_spoken_ = true;
  switch (said.message_case()) {
    case v1::JoinRequest::kInit:
      return OnInit(said.init());
    case v1::JoinRequest::kSubscription:
      return OnSubscription(said.subscription());
    case v1::JoinRequest::kDone:
      return OnDone(said.done());
    case v1::JoinRequest::kCommit:
      OnCommit(said.commit());
      return {};
    case v1::JoinRequest::kPing:
      ++pings_;
      has_more_to_say_ = true;
      return {};
    case v1::JoinRequest::kLeave:
      return OnLeave(said.leave());
    case v1::JoinRequest::MESSAGE_NOT_SET:
      break;
  }
  LOG(FATAL) << "ParseJoinRequest took a message that says nothing";
}

Status JoinStream::OnInit(const v1::JoinInit& init) {
  ASSIGN_OR_RETURN(MemberRequest request, ToMemberRequest(init, stream_->principal()));
  const uint64_t bytes = kSessionBytes + init.ByteSizeLong();
  if (bytes > environment_.memory.sessions.Allowance()) {
    return ResourceExhausted("this broker has as many members' sessions as its memory allows",
                             Reason::kThrottled)
        .RetryAfterMs(kNoMemoryRetryMs);
  }
  info_ = std::move(*request.mutable_info());
  owned_ = std::move(*request.mutable_owned()->mutable_topics());
  request.clear_info();
  request.clear_owned();
  member_ = std::move(request);
  CountMemory();
  commits_.emplace(MemberCommits::Environment{.view = environment_.view,
                                              .coordinators = environment_.coordinators,
                                              .memory = environment_.memory.incoming},
                   MemberCommits::Member{.principal = stream_->principal(),
                                         .group = member_->group(),
                                         .member_id = member_->member_id(),
                                         .session = member_->session()},
                   MemberCommits::Listener{.answer =
                                               [this](v1::CommitResult result) {
                                                 v1::JoinResponse response;
                                                 *response.mutable_commit() = std::move(result);
                                                 Write(response);
                                                 PostProceed();
                                               },
                                           .end = [this](const Status& why) { Finish(why); }});
  return {};
}

Status JoinStream::OnSubscription(const v1::Subscription& subscription) {
  RETURN_IF_ERROR(CheckWish(subscription));
  *info_.mutable_subscription() = subscription;
  ++wish_;
  has_more_to_say_ = true;
  CountMemory();
  return {};
}

Status JoinStream::OnDone(const v1::AssignmentDone& done) {
  RETURN_IF_ERROR(CheckOwned(done.owned()));
  if (!told_.has_value() || done.version() > *told_) {
    return InvalidArgument("done.version is " + std::to_string(done.version()) +
                           ", and no such assignment was told on this stream");
  }
  has_more_to_say_ = true;
  done_ = {.said = done, .commits = commits_->added()};
  return {};
}

Status JoinStream::OnLeave(const v1::Leave& leave) {
  if (leave.will_be_back() && info_.instance_id().empty()) {
    return InvalidArgument("leave.will_be_back needs an instance_id, by which it could be back");
  }
  leave_ = {.said = leave, .commits = commits_->added()};
  return {};
}

void JoinStream::OnCommit(const v1::OffsetCommit& commit) {
  commits_->Add(commit);
  if (std::exchange(is_hearing_, true)) return;
  environment_.executor.RunAfter(kHeardWithin, lifetime_.Guard([this] {
    is_hearing_ = false;
    has_more_to_say_ = has_more_to_say_ || has_spoken_;
    Proceed();
  }));
}

void JoinStream::CountMemory() {
  uint64_t bytes = kSessionBytes + info_.ByteSizeLong();
  for (const v1::OwnedPartitions& topic : owned_) bytes += topic.ByteSizeLong();
  memory_ = MemoryHold(environment_.memory.sessions, bytes);
}

void JoinStream::OnHalfClose() {
  is_half_closed_ = true;
  if (!is_over_ && !member_.has_value()) {
    return Finish(InvalidArgument("a Join stream without `init`"));
  }
  Proceed();
}

void JoinStream::OnClosed() {
  if (std::exchange(is_over_, true)) return;
  TellBroken();
}

// From within what asks or answers it would begin the next request inside the last one.
void JoinStream::PostProceed() {
  if (std::exchange(is_proceed_posted_, true)) return;
  environment_.executor.Post(lifetime_.Guard([this] {
    is_proceed_posted_ = false;
    Tell();
    Proceed();
  }));
}

void JoinStream::Proceed() {
  if (is_over_ || !member_.has_value() || is_asking_) return;
  if (interval_ms_.has_value()) return ProceedAsMember();
  // It owns nothing, or says once more what it owns: one such request at a time, and none that
  // could come late.
  MemberRequest request = ToSay();
  *request.mutable_owned()->mutable_topics() = owned_;
  if (request.member_epoch() == kMemberComes) request.clear_owned();
  Ask(std::move(request), {});
}

void JoinStream::ProceedAsMember() {
  SayWhatIsOwned();
  if (IsDue(leave_)) {
    MemberRequest request = ToSay();
    request.set_member_epoch(leave_->said.will_be_back() ? kMemberGoesAway : kMemberGoes);
    return Ask(std::move(request), {.does_leave = true});
  }
  const bool has_gone =
      is_half_closed_ && !leave_.has_value() && commits_->answered() == commits_->added();
  if (has_gone) return Finish(Status::Ok());
  if (std::exchange(has_more_to_say_, false)) return Ask(ToSay(), {});
  if (is_waiting_) return;
  MemberRequest request = ToSay();
  request.set_wait_ms(kMemberIntervalMs);
  Ask(std::move(request), {.does_wait = true});
}

void JoinStream::SayWhatIsOwned() {
  if (!IsDue(done_)) return;
  // An answer to an older one releases nothing: the newest is still to be answered.
  if (done_->said.version() == told_) {
    owned_ = std::move(*done_->said.mutable_owned());
    answered_ = told_;
    has_more_to_say_ = true;
    CountMemory();
  }
  done_.reset();
}

MemberRequest JoinStream::ToSay() {
  MemberRequest request = *member_;
  request.set_known_version(seen_.value_or(0));
  if (known_wish_ < wish_) *request.mutable_info() = info_;
  // It stands for the version that it names, and so only as long as there is no other one.
  const bool is_known = answered_ == known_answer_;
  if (!is_known && answered_ == seen_) {
    *request.mutable_owned()->mutable_topics() = owned_;
  }
  return request;
}

void JoinStream::Ask(MemberRequest request, Asked asked) {
  asked.sequence = ++sequence_;
  asked.wish = wish_;
  asked.answered = answered_;
  asked.pings = pings_;
  asked.is_heard = std::exchange(has_spoken_, false);
  request.set_sequence(asked.sequence);
  request.set_is_silent(!asked.is_heard);
  is_asking_ = !asked.does_wait;
  is_waiting_ = asked.does_wait;
  environment_.coordinators.Member(
      {.principal = stream_->principal(), .timeout = kForwardTimeout}, std::move(request),
      lifetime_.Guard([this, asked](const Result<MemberReply>& reply) { OnReply(asked, reply); }));
}

void JoinStream::OnReply(const Asked& asked, const Result<MemberReply>& reply) {
  if (is_over_) return;
  const bool is_newest = asked.sequence == sequence_;
  // The newest says why by itself.
  if (!reply.ok()) return is_newest ? OnError(asked, reply.status()) : void();
  if (asked.does_leave) {
    is_over_ = true;
    return stream_->Finish(Status::Ok());
  }
  if (is_newest) {
    is_asking_ = is_waiting_ = false;
    known_answer_ = asked.answered;
  }
  busy_count_ = 0;
  interval_ms_ = reply->interval_ms();
  known_wish_ = std::max(known_wish_, asked.wish);
  if (asked.pings > answered_pings_) {
    pongs_ += asked.pings - std::exchange(answered_pings_, asked.pings);
  }
  TakeNews(asked, reply->assignment());
  // Before anything else is asked: from now on it has an epoch.
  Tell();
  PostProceed();
}

// What was asked before the newest may be answered behind it, and with less.
void JoinStream::TakeNews(const Asked& asked, const v1::Assignment& assignment) {
  const bool is_newest = asked.sequence == sequence_;
  const bool is_news = !seen_.has_value() ||
                       (is_newest ? assignment.version() != *seen_ : assignment.version() > *seen_);
  if (!is_news) return;
  seen_ = assignment.version();
  news_ = assignment;
}

void JoinStream::OnError(const Asked& asked, const Status& status) {
  if (status.reason() == Reason::kThrottled && ++busy_count_ <= kBusyMax) {
    has_spoken_ = has_spoken_ || asked.is_heard;
    environment_.executor.RunAfter(kBusyDelay, lifetime_.Guard([this, asked] {
      if (is_over_ || asked.sequence != sequence_) return;
      is_asking_ = is_waiting_ = false;
      has_more_to_say_ = true;
      Proceed();
    }));
    return;
  }
  // Of a broker that does not answer: another one may.
  if (status.code() == Code::kDeadlineExceeded) {
    return Finish(Unavailable(std::string(status.message())));
  }
  Finish(status);
}

void JoinStream::Tell() {
  if (is_over_) return;
  if (interval_ms_.has_value() && !std::exchange(is_joined_told_, true)) {
    v1::JoinResponse response;
    response.mutable_joined()->set_member_epoch(news_->member_epoch());
    response.mutable_joined()->set_interval_ms(*interval_ms_);
    Write(response);
    TellAssignment();
  }
  if (stream_->pending_bytes() == 0) is_assignment_pending_ = false;
  if (news_.has_value() && !is_assignment_pending_) TellAssignment();
  v1::JoinResponse pong;
  pong.mutable_pong();
  for (; pongs_ > 0; --pongs_) Write(pong);
  UpdateReading();
}

void JoinStream::TellAssignment() {
  const int32_t epoch = news_->member_epoch();
  told_ = news_->version();
  v1::JoinResponse response;
  *response.mutable_assignment() = std::move(*news_);
  news_.reset();
  Write(response);
  is_assignment_pending_ = true;
  member_->set_member_epoch(epoch);
  commits_->SetEpoch(epoch);
}

void JoinStream::UpdateReading() {
  if (is_over_) return;
  const bool has_room = !commits_.has_value() || commits_->has_room();
  const bool should_read = has_room && stream_->pending_bytes() < kPendingBytesMax &&
                           pings_ - answered_pings_ < kUnansweredPingsMax;
  if (should_read == is_reading_) return;
  is_reading_ = should_read;
  stream_->SetReading(should_read);
}

void JoinStream::Finish(const Status& status) {
  if (std::exchange(is_over_, true)) return;
  if (status.reason() != Reason::kMemberFenced) TellBroken();
  stream_->Finish(status);
}

// Nobody waits for it. A member whose first request was not answered is not known to be one.
void JoinStream::TellBroken() {
  if (!interval_ms_.has_value()) return;
  MemberRequest request = *member_;
  request.set_sequence(++sequence_);
  request.set_is_broken(true);
  environment_.coordinators.Member({.principal = stream_->principal(), .timeout = kForwardTimeout},
                                   std::move(request), [](const Result<MemberReply>&) {});
}

}  // namespace

std::unique_ptr<StreamHandler> MakeJoinStream(const JoinEnvironment& environment,
                                              std::shared_ptr<Stream> stream) {
  return std::make_unique<JoinStream>(environment, std::move(stream));
}

}  // namespace millrace::broker
