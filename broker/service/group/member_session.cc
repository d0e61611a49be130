#include "broker/service/group/member_session.h"

#include <algorithm>

#include <glog/logging.h>

#include "broker/coordinator/member_requests.h"

namespace millrace::broker {
namespace {

constexpr uint64_t kUnansweredPingsMax = 16;
// What a member's session costs beside what it says of itself and owns.
constexpr uint64_t kSessionBytes = 2 << 10;
constexpr int64_t kNoMemoryRetryMs = 1'000;
// How late a commit may be heard of.
constexpr Duration kHeardWithin = std::chrono::milliseconds(250);
// A coordinator that is busy with the group is asked again, so many times.
constexpr Duration kBusyDelay = std::chrono::milliseconds(200);
constexpr uint32_t kBusyMax = 50;

}  // namespace

Status MemberSession::Begin(const v1::JoinInit& init) {
  CHECK(!has_begun());
  ASSIGN_OR_RETURN(MemberRequest request, ToMemberRequest(init, principal_));
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
  MakeCommits();
  return {};
}

void MemberSession::MakeCommits() {
  commits_.emplace(MemberCommits::Environment{.view = environment_.view,
                                              .coordinators = environment_.coordinators,
                                              .memory = environment_.memory.incoming},
                   MemberCommits::Member{.principal = principal_,
                                         .group = member_->group(),
                                         .member_id = member_->member_id(),
                                         .session = member_->session()},
                   MemberCommits::Listener{.answer =
                                               [this](v1::CommitResult result) {
                                                 if (is_over_) return;
                                                 listener_.commit(std::move(result));
                                                 PostProceed();
                                               },
                                           .end = [this](const Status& why) { End(why); }});
}

Status MemberSession::Subscribe(const v1::Subscription& subscription) {
  RETURN_IF_ERROR(CheckWish(subscription));
  *info_.mutable_subscription() = subscription;
  ++wish_;
  has_more_to_say_ = true;
  CountMemory();
  return {};
}

Status MemberSession::Answer(const v1::AssignmentDone& done) {
  RETURN_IF_ERROR(CheckOwned(done.owned()));
  if (!told_.has_value() || done.version() > *told_) {
    return InvalidArgument("done.version is " + std::to_string(done.version()) +
                           ", and no such assignment was told on this stream");
  }
  has_more_to_say_ = true;
  done_ = {.said = done, .commits = commits_->added()};
  return {};
}

void MemberSession::Commit(const v1::OffsetCommit& commit) {
  commits_->Add(commit);
  HearSoon();
}

void MemberSession::Ping() {
  ++pings_;
  has_more_to_say_ = true;
}

Status MemberSession::Leave(const v1::Leave& leave) {
  if (leave.will_be_back() && info_.instance_id().empty()) {
    return InvalidArgument("leave.will_be_back needs an instance_id, by which it could be back");
  }
  leave_ = {.said = leave, .commits = commits_->added()};
  return {};
}

void MemberSession::HearSoon() {
  if (std::exchange(is_hearing_, true)) return;
  environment_.executor.RunAfter(kHeardWithin, lifetime_.Guard([this] {
    is_hearing_ = false;
    has_more_to_say_ = has_more_to_say_ || has_spoken_;
    Proceed();
  }));
}

bool MemberSession::has_room() const {
  const bool has_room = !commits_.has_value() || commits_->has_room();
  return has_room && pings_ - answered_pings_ < kUnansweredPingsMax;
}

void MemberSession::CountMemory() {
  uint64_t bytes = kSessionBytes + info_.ByteSizeLong();
  for (const v1::OwnedPartitions& topic : owned_) bytes += topic.ByteSizeLong();
  memory_ = MemoryHold(environment_.memory.sessions, bytes);
}

// From within what asks or answers it would begin the next request inside the last one.
void MemberSession::PostProceed() {
  if (std::exchange(is_proceed_posted_, true)) return;
  environment_.executor.Post(lifetime_.Guard([this] {
    is_proceed_posted_ = false;
    if (is_over_) return;
    listener_.tell();
    Proceed();
  }));
}

void MemberSession::Proceed() {
  if (is_over_ || !has_begun() || is_asking_) return;
  if (interval_ms_.has_value()) return ProceedAsMember();
  // It owns nothing, or says once more what it owns: one such request at a time, and none that
  // could come late.
  MemberRequest request = ToSay();
  *request.mutable_owned()->mutable_topics() = owned_;
  if (request.member_epoch() == kMemberComes) request.clear_owned();
  Ask(std::move(request), {});
}

void MemberSession::ProceedAsMember() {
  SayWhatIsOwned();
  if (IsDue(leave_)) {
    MemberRequest request = ToSay();
    request.set_member_epoch(leave_->said.will_be_back() ? kMemberGoesAway : kMemberGoes);
    return Ask(std::move(request), {.does_leave = true});
  }
  const bool has_gone =
      is_half_closed_ && !leave_.has_value() && commits_->answered() == commits_->added();
  if (has_gone) return End(Status::Ok());
  if (std::exchange(has_more_to_say_, false)) return Ask(ToSay(), {});
  if (is_waiting_) return;
  MemberRequest request = ToSay();
  request.set_wait_ms(kMemberIntervalMs);
  Ask(std::move(request), {.does_wait = true});
}

void MemberSession::SayWhatIsOwned() {
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

internal::v1::MemberRequest MemberSession::ToSay() {
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

void MemberSession::Ask(MemberRequest request, Asked asked) {
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
      {.principal = principal_, .timeout = kForwardTimeout}, std::move(request),
      lifetime_.Guard([this, asked](const Result<MemberReply>& reply) { OnReply(asked, reply); }));
}

void MemberSession::OnReply(const Asked& asked, const Result<MemberReply>& reply) {
  if (is_over_) return;
  const bool is_newest = asked.sequence == sequence_;
  // The newest says why by itself.
  if (!reply.ok()) return is_newest ? OnError(asked, reply.status()) : void();
  if (asked.does_leave) {
    is_over_ = true;
    return listener_.end(Status::Ok());
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
  TakeReply(asked, reply->assignment());
  // Before anything else is asked: from now on it has an epoch.
  listener_.tell();
  PostProceed();
}

// What was asked before the newest may be answered behind it, and with less.
void MemberSession::TakeReply(const Asked& asked, const v1::Assignment& assignment) {
  const bool is_newest = asked.sequence == sequence_;
  const bool is_news = !seen_.has_value() ||
                       (is_newest ? assignment.version() != *seen_ : assignment.version() > *seen_);
  if (!is_news) return;
  seen_ = assignment.version();
  news_ = assignment;
}

void MemberSession::OnError(const Asked& asked, const Status& status) {
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
    return End(Unavailable(std::string(status.message())));
  }
  End(status);
}

v1::Assignment MemberSession::TakeNews() {
  CHECK(has_news());
  v1::Assignment news = *std::exchange(news_, std::nullopt);
  told_ = news.version();
  member_->set_member_epoch(news.member_epoch());
  commits_->SetEpoch(news.member_epoch());
  return news;
}

void MemberSession::End(const Status& status) {
  if (std::exchange(is_over_, true)) return;
  if (status.reason() != Reason::kMemberFenced) SayItBroke();
  listener_.end(status);
}

void MemberSession::Break() {
  if (!std::exchange(is_over_, true)) SayItBroke();
}

// Nobody waits for it. A member whose first request was not answered is not known to be one.
void MemberSession::SayItBroke() {
  if (!interval_ms_.has_value()) return;
  MemberRequest request = *member_;
  request.set_sequence(++sequence_);
  request.set_is_broken(true);
  environment_.coordinators.Member({.principal = principal_, .timeout = kForwardTimeout},
                                   std::move(request), [](const Result<MemberReply>&) {});
}

}  // namespace millrace::broker
