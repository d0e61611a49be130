// What lies before readers of many partitions, asked of whoever leads each: those that another
// broker leads together, a thousand at a time.
//
// Owned by the Node, on the shard's thread. `done` is called once, unless the Forwarder stops
// before: with an answer for each question, be it an error. Nothing is asked again.
//
//   unread.Ask({{.group = g, .next = o}}, [](UnreadAnswers answers) { ... answers[0]->waited_ms_max ...});
#pragma once

#include <functional>
#include <vector>

#include "broker/coordinator/unread.h"
#include "broker/partition/partition.h"
#include "broker/routing/cluster_view.h"
#include "broker/routing/forwarder.h"
#include "proto/base/ids.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/lifetime.h"

namespace millrace::broker {

class UnreadClient {
 public:
  // All outlive this.
  struct Environment {
    const Clock& clock;
    const ClusterView& view;
    // The replica of the group that is here; null if there is none.
    std::function<Partition*(RaftGroupId)> find_replica;
    Forwarder& forwarder;
    BrokerId self;
  };
  // Of one message.
  static constexpr size_t kQuestionsMax = 1'000;
  // A leader that does not answer for so long is not known.
  static constexpr Duration kTimeout = std::chrono::seconds(3);

  // Serves what others ask of partitions that are led here, too.
  explicit UnreadClient(Environment environment);
  UnreadClient(const UnreadClient&) = delete;
  UnreadClient& operator=(const UnreadClient&) = delete;

  void Ask(const std::vector<UnreadQuestion>& questions, UnreadDone done);

 private:
  // Of a partition that this broker leads, or should.
  void AnswerHere(const UnreadQuestion& question, MoveFunction<void(Result<Unread>)> done) const;
  Result<Partition*> FindLed(RaftGroupId group) const;
  void Serve(const ForwardedRequest& forwarded, ForwardReplied done);

  Environment environment_;
  Lifetime lifetime_;
};

}  // namespace millrace::broker
