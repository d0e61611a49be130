// How far groups are behind, where their shard is led: measures it, of groups that have members
// every 5 s, of any when somebody asks, and keeps what rates need. In memory alone: whoever leads
// next begins anew.
//
//   tick or request -> where committed -> partitions' leaders -> LagHistory ... AnswerLag
//
// Partitions of many groups are asked for together; a slow leader delays the next look and nothing
// else. Owned by the Node, on the shard's thread. `done` is called once, unless Stop comes before.
//
//   lags.Describe(shard, request, [](Result<v1::DescribeLagResponse> response) { ... });
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "broker/controller/image.h"
#include "broker/coordinator/lag_history.h"
#include "broker/coordinator/shard.h"
#include "broker/coordinator/unread.h"
#include "millrace/v1/group_service.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/ports/state_machine.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

class LagServer {
 public:
  using Request = std::shared_ptr<const v1::DescribeLagRequest>;
  using Done = MoveFunction<void(Result<v1::DescribeLagResponse>)>;
  // What is kept takes 128 bytes for each partition of each group that is measured. Groups beyond
  // the first are not looked at regularly; requests beyond the second are refused.
  struct Limits {
    size_t partitions_sampled = 200'000;
    size_t partitions_kept = 400'000;
  };
  // All outlive this.
  struct Environment {
    Executor& executor;
    const Clock& clock;
    const Image& image;
    // Null if this broker has no replica of it.
    std::function<CoordinatorShard*(RaftGroupId)> find_shard;
    std::function<Status(RaftGroupId)> not_leader;
    // Those of a shard that is led here.
    std::function<std::vector<std::string>(RaftGroupId)> groups_with_members;
    // Asks the partitions' leaders.
    std::function<void(std::vector<UnreadQuestion>, UnreadDone)> ask;
    Limits limits = {};
  };
  static constexpr Duration kInterval = std::chrono::seconds(5);
  // So long a group without members is remembered that somebody asked for: its next pages, and the
  // beginning of rates.
  static constexpr Duration kRemembered = std::chrono::seconds(60);

  explicit LagServer(Environment environment) : environment_(std::move(environment)) {}
  LagServer(const LagServer&) = delete;
  LagServer& operator=(const LagServer&) = delete;

  void Stop();

  void OnLeadership(RaftGroupId shard, const raft::Leadership& leadership);
  // Measures for the first page; what comes while others wait for that is measured once more, for
  // all of them. NOT_FOUND (UNKNOWN_GROUP); RESOURCE_EXHAUSTED (THROTTLED).
  // Pre: the shard is as new as anything that was answered before.
  void Describe(RaftGroupId shard, Request request, Done done);
  // Partitions of all groups that something is kept of.
  size_t partitions_kept() const { return partitions_kept_; }

 private:
  // Of one group, as long as its shard is led here.
  struct Measured {
    MeasuredLag lag;
    size_t partition_count = 0;
    bool is_complete = false;  // measured once at least
    MonotonicTime asked_for{};
    bool is_asking = false;     // for requests
    std::vector<Task> waiting;  // for what is being asked
    std::vector<Task> next;     // for another question
  };
  struct Led {
    Term term;
    std::map<std::string, Measured> groups;
  };
  struct Where {
    RaftGroupId shard;
    Term term;
    std::string group;
  };
  // A group's partitions as they are asked for.
  struct Look {
    Where where;
    struct Partition {
      TopicPartition place;
      LagSample sample;
    };
    std::vector<Partition> partitions;
  };

  void EndTerm(RaftGroupId shard);
  bool Leads(const Where& where) const;
  const Group* StateOf(const Where& where) const;
  // Null once the term is over, or nothing is kept of the group.
  Measured* Find(const Where& where);
  Look Begin(const Where& where, std::vector<UnreadQuestion>* questions) const;
  // Takes the answers from `first` on.
  void End(const Look& look, const UnreadAnswers& answers, size_t first);
  bool MayKeep(size_t partitions, size_t limit, size_t before) const {
    return partitions_kept_ - before + partitions <= limit;
  }
  void Keep(size_t partitions, Measured* measured);
  void Forget(std::map<std::string, Measured>* groups,
              std::map<std::string, Measured>::iterator group);

  void MeasureFor(const Where& where, Task then);
  void AskFor(const Where& where);
  void Answer(const Where& where, const Request& request, Done done) const;

  void ScheduleTick();
  void Tick();
  void ForgetUnused(RaftGroupId shard, const std::vector<std::string>& with_members);
  // Of those that are due as many as go into one question.
  void SampleNext();

  Environment environment_;
  std::map<RaftGroupId, Led> led_;
  size_t partitions_kept_ = 0;
  std::deque<Where> due_;
  bool is_sampling_ = false;
  bool is_ticking_ = false;
  Lifetime lifetime_;
};

}  // namespace millrace::broker
