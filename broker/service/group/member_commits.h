// What one member commits on its Join stream: one after the other at the coordinator, as it came,
// and answered in that order. One whose fate is not known ends the stream: it may still come, and
// only the session of the next stream keeps it from counting behind what is committed there.
//
// Owned by the stream's handler, on the shard's thread. Calls back as long as it is there.
//
//   MemberCommits commits(environment, member, {.answer = ..., .end = ...});
//   commits.SetEpoch(assignment.member_epoch());       // nothing is asked before
//   commits.Add(commit);  ...  answer(result)
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>

#include "broker/api/client_memory.h"
#include "broker/api/principal.h"
#include "broker/routing/cluster_view.h"
#include "broker/routing/coordinator_client.h"
#include "millrace/v1/group_service.pb.h"
#include "proto/base/status.h"
#include "raft/runtime/lifetime.h"

namespace millrace::broker {

class MemberCommits {
 public:
  // All outlive this.
  struct Environment {
    ClusterView& view;
    CoordinatorClient& coordinators;
    MemoryBudget& memory;  // of what is not answered
  };
  struct Member {
    Principal principal;
    std::string group;
    std::string member_id;
    uint64_t session = 0;
  };
  struct Listener {
    std::function<void(v1::CommitResult)> answer;
    // ABORTED (MEMBER_FENCED), the member is none any more; UNAVAILABLE, what became of a commit is
    // not known. Nothing is asked after it.
    std::function<void(Status)> end;
  };
  // Unanswered, past which no more is to be read.
  static constexpr size_t kCountMax = 16;
  static constexpr uint64_t kBytesMax = 4 << 20;

  MemberCommits(const Environment& environment, Member member, Listener listener)
      : environment_(environment), member_(std::move(member)), listener_(std::move(listener)) {}
  MemberCommits(const MemberCommits&) = delete;
  MemberCommits& operator=(const MemberCommits&) = delete;

  // With which the member commits from now on.
  void SetEpoch(int32_t epoch);
  void Add(const v1::OffsetCommit& commit);
  bool has_room() const { return waiting_.size() < kCountMax && bytes_ < kBytesMax; }
  // How many came, and how many of them were answered.
  uint64_t added() const { return added_; }
  uint64_t answered() const { return added_ - waiting_.size(); }

 private:
  struct Commit {
    v1::CommitOffsetsRequest request;
    v1::CommitResult result;
    // It is answered without being asked: by `result` as it is.
    bool is_settled = false;
    uint64_t bytes = 0;
    MemoryHold memory;
  };

  // Ok: what is left of `request` is to be asked.
  Status Resolve(const v1::OffsetCommit& commit, Commit* out);
  void AskNext();
  void OnAnswer(const Result<v1::CommitOffsetsResponse>& response);
  void AnswerFirst();

  const Environment environment_;
  const Member member_;
  const Listener listener_;
  int32_t epoch_ = 0;  // 0: none yet
  bool is_asking_ = false;
  std::deque<Commit> waiting_;
  uint64_t bytes_ = 0;
  uint64_t added_ = 0;
  Lifetime lifetime_;
};

}  // namespace millrace::broker
