#include "broker/service/group/member_commits.h"

#include <utility>

#include <glog/logging.h>

#include "broker/api/error_reply.h"
#include "broker/coordinator/requests.h"
#include "broker/service/group/topic_names.h"

namespace millrace::broker {
namespace {

// What an unanswered commit costs beside its bytes.
constexpr uint64_t kCommitBytes = 512;
constexpr int64_t kThrottledRetryMs = 100;

Status NoMemory() {
  return ResourceExhausted(
             "this broker holds as much that is not answered as its memory for clients allows",
             Reason::kThrottled)
      .RetryAfterMs(kThrottledRetryMs);
}

}  // namespace

void MemberCommits::SetEpoch(int32_t epoch) {
  epoch_ = epoch;
  AskNext();
}

void MemberCommits::Add(const v1::OffsetCommit& commit) {
  ++added_;
  Commit& added = waiting_.emplace_back();
  added.result.set_commit_id(commit.commit_id());
  const Status resolved = Resolve(commit, &added);
  if (!resolved.ok()) ToError(resolved, added.result.mutable_error());
  added.is_settled = !resolved.ok() || added.request.topics().empty();
  bytes_ += added.bytes;
  AskNext();
}

Status MemberCommits::Resolve(const v1::OffsetCommit& commit, Commit* out) {
  const uint64_t bytes = commit.ByteSizeLong() + kCommitBytes;
  if (environment_.memory.free() < bytes) return NoMemory();
  out->request.set_group(member_.group);
  out->request.set_member_id(member_.member_id);
  out->request.set_member_session(member_.session);
  *out->request.mutable_topics() = commit.topics();
  if (commit.has_transaction()) *out->request.mutable_transaction() = commit.transaction();
  v1::CommitOffsetsResponse refused;
  RETURN_IF_ERROR(ResolveCommits(environment_.view, &out->request, &refused));
  RETURN_IF_ERROR(CheckCommit(out->request));
  *out->result.mutable_refused() = std::move(*refused.mutable_refused());
  out->bytes = bytes;
  out->memory = MemoryHold(environment_.memory, bytes);
  return {};
}

void MemberCommits::AskNext() {
  while (!is_asking_ && epoch_ != 0 && !waiting_.empty()) {
    Commit& next = waiting_.front();
    if (next.is_settled) {
      AnswerFirst();
      continue;
    }
    is_asking_ = true;
    next.request.set_member_epoch(epoch_);
    environment_.coordinators.CommitOffsets(
        {.principal = member_.principal, .timeout = kForwardTimeout}, std::move(next.request),
        lifetime_.Guard(
            [this](const Result<v1::CommitOffsetsResponse>& response) { OnAnswer(response); }));
  }
}

void MemberCommits::OnAnswer(const Result<v1::CommitOffsetsResponse>& response) {
  CHECK(is_asking_);
  const Status& status = response.status();
  const bool is_gone =
      status.reason() == Reason::kMemberUnknown || status.reason() == Reason::kMemberFenced;
  const bool is_open =
      status.code() == Code::kUnavailable || status.code() == Code::kDeadlineExceeded;
  // Nothing is asked any more: this one stays first, and is not answered.
  if (is_gone) {
    return listener_.end(Aborted(std::string(status.message()), Reason::kMemberFenced));
  }
  if (is_open) return listener_.end(Unavailable(std::string(status.message())));
  is_asking_ = false;
  v1::CommitResult& result = waiting_.front().result;
  if (response.ok()) {
    result.mutable_refused()->MergeFrom(response->refused());
  } else {
    result.clear_refused();
    ToError(status, result.mutable_error());
  }
  AnswerFirst();
  AskNext();
}

void MemberCommits::AnswerFirst() {
  Commit first = std::move(waiting_.front());
  waiting_.pop_front();
  bytes_ -= first.bytes;
  first.memory.Release();
  listener_.answer(std::move(first.result));
}

}  // namespace millrace::broker
