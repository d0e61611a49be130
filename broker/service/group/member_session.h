// A member's session at this broker, as requests to the coordinator (MemberRequest) and their
// answers; the streams by which clients take part in groups are adapters of it. It holds nothing
// that the next session of the member, at another broker, could not say again.
//
//   asked:  what the member says now, one at a time, answered at once
//           else one that waits for news; the next request ends its wait
//
// What keeps a member alive: what its client says, and nothing else. Each such request is heard of
// at the coordinator; one that only asks for news again, because the last one has waited for long
// enough, says that it is silent (MemberRequest.is_silent). So a client that stands still is taken
// out after its session's time, though its connection lives.
//
// What is said is done in order: an answer to an assignment, and a leave, wait for the results of
// the commits before them, so that a partition is never given away before its last commit.
//
// Owned by the stream's handler, on the shard's thread. Calls back as long as it is there.
//
//   MemberSession session(environment, stream->principal(), {.tell = ..., .end = ...});
//   RETURN_IF_ERROR(session.Begin(init));
//   session.Hear(), session.Ping(), session.Proceed();
//   tell:  if (session.has_news()) Write(session.TakeNews());
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "broker/api/client_memory.h"
#include "broker/api/principal.h"
#include "broker/routing/cluster_view.h"
#include "broker/routing/coordinator_client.h"
#include "broker/service/group/join_request.h"
#include "broker/service/group/member_commits.h"
#include "millrace/internal/v1/coordinator.pb.h"
#include "millrace/v1/group_service.pb.h"
#include "proto/base/status.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"

namespace millrace::broker {

class MemberSession {
 public:
  // All outlive this.
  struct Environment {
    Executor& executor;
    ClusterView& view;
    CoordinatorClient& coordinators;
    ClientMemory& memory;
  };
  // Nothing is called once it has ended.
  struct Listener {
    // Something may be there that the client is to be told: it joined, news, pongs.
    std::function<void()> tell;
    // In the order of the commits.
    std::function<void(v1::CommitResult)> commit;
    // OK after a leave, or a half-close. ABORTED (MEMBER_FENCED): it is no member any more.
    std::function<void(const Status&)> end;
  };

  MemberSession(const Environment& environment, Principal principal, Listener listener)
      : environment_(environment),
        principal_(std::move(principal)),
        listener_(std::move(listener)) {}
  MemberSession(const MemberSession&) = delete;
  MemberSession& operator=(const MemberSession&) = delete;

  // What the client says, first of all `init`; a Proceed follows each. Not ok: the client is wrong,
  // or, of Begin, there is no memory. Pre, but for Begin: has_begun().
  Status Begin(const v1::JoinInit& init);
  bool has_begun() const { return member_.has_value(); }
  Status Subscribe(const v1::Subscription& subscription);
  Status Answer(const v1::AssignmentDone& done);
  void Commit(const v1::OffsetCommit& commit);
  void Ping();
  // The last that it says.
  Status Leave(const v1::Leave& leave);
  bool is_leaving() const { return leave_.has_value(); }
  void HalfClose() { is_half_closed_ = true; }

  // The client lives: whatever is asked next says so.
  void Hear() { has_spoken_ = true; }
  // Others may follow closely: it is said within a quarter of a second.
  void HearSoon();
  // Whether more may be read of what the client says.
  bool has_room() const;

  // Asks what there is to ask.
  void Proceed();
  // The stream is over: somebody else may take the member's place. Nothing is asked any more.
  void Break();

  // Of a member that joined.
  std::optional<uint32_t> interval_ms() const { return interval_ms_; }
  // An assignment that the client was not told.
  bool has_news() const { return news_.has_value(); }
  const v1::Assignment& news() const { return *news_; }
  // The client is told it. Pre: has_news().
  v1::Assignment TakeNews();
  // How many pings were answered since.
  uint64_t TakePongs() { return std::exchange(pongs_, 0); }

 private:
  using MemberReply = internal::v1::MemberReply;
  using MemberRequest = internal::v1::MemberRequest;
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

  void MakeCommits();
  void CountMemory();
  void PostProceed();
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
  void TakeReply(const Asked& asked, const v1::Assignment& assignment);
  void End(const Status& status);
  void SayItBroke();

  const Environment environment_;
  const Principal principal_;
  const Listener listener_;
  bool is_over_ = false;
  bool is_half_closed_ = false;
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
  std::optional<v1::Assignment> news_;   // that the client is not told yet
  std::optional<uint64_t> seen_;         // version
  std::optional<uint64_t> told_;
  std::optional<uint64_t> answered_;      // whose answer is in owned_
  std::optional<uint64_t> known_answer_;  // that the coordinator has taken
  uint64_t pongs_ = 0;                    // that are due

  MemoryHold memory_;
  std::optional<MemberCommits> commits_;
  Lifetime lifetime_;
};

}  // namespace millrace::broker
