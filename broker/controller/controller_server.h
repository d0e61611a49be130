// What the controller's leader does for others: takes a request, has the controller decide, and
// answers once the decision is applied. One whose time has not come waits.
//
// Every broker has one, and it answers NOT_LEADER where this broker does not lead the controller's
// group; broker/routing/controller_client.h finds the one that does. On the shard's thread.
//
//   server.DeleteTopic(request, timeout, [](Result<v1::DeleteTopicResponse> response) { ... });
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "broker/controller/controller.h"
#include "broker/controller/decide.h"
#include "millrace/internal/v1/forward.pb.h"
#include "millrace/v1/admin_service.pb.h"
#include "proto/base/status.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

template <typename Reply>
using ControllerReplied = MoveFunction<void(Result<Reply>)>;

class ControllerServer {
 public:
  struct Environment {
    Executor& executor;
    const Clock& clock;
    Controller& controller;
    // Calls the task once, after the next change of the image, not from within it.
    std::function<void(Task)> once_image_changed;
    TermOf term_of;
    size_t cluster_size = 1;
    // DecideCreateCoordinator; 0: it is not made.
    uint32_t coordinator_shards = 0;
    // What producer ids are marked with should the cluster have nothing yet.
    std::string producer_id_key;
  };

  explicit ControllerServer(const Environment& environment) : environment_(environment) {}
  ControllerServer(const ControllerServer&) = delete;
  ControllerServer& operator=(const ControllerServer&) = delete;

  // What waits is not answered any more.
  void Stop() { lifetime_.End(); }

  // Makes the coordinator's topic if it is time and this broker leads. To be called after every
  // change of the image, and now and then.
  void MakeCoordinator();

  // broker/controller/decide.h says what each is refused for. `timeout` is how long whoever asked
  // waits; only a create has something to wait for.
  //
  // The response is empty: what was made is in the image.
  void CreateTopic(const v1::CreateTopicRequest& request, Duration timeout,
                   ControllerReplied<v1::CreateTopicResponse> done);
  void DeleteTopic(const v1::DeleteTopicRequest& request, Duration timeout,
                   ControllerReplied<v1::DeleteTopicResponse> done);
  void AlterTopic(const v1::AlterTopicRequest& request, Duration timeout,
                  ControllerReplied<internal::v1::AlterTopicReply> done);
  void Register(const internal::v1::RegisterRequest& request, Duration timeout,
                ControllerReplied<internal::v1::RegisterReply> done);
  void AllocateProducerIds(const internal::v1::AllocateProducerIdsRequest& request,
                           Duration timeout,
                           ControllerReplied<internal::v1::AllocateProducerIdsReply> done);

 private:
  // A create request, which may wait for brokers to register.
  struct PendingCreate;
  void TryCreate(const std::shared_ptr<PendingCreate>& pending);
  void WaitForBrokers(const std::shared_ptr<PendingCreate>& pending);

  Environment environment_;
  std::vector<std::shared_ptr<PendingCreate>> waiting_;  // for brokers, in the order they came
  bool is_listening_ = false;
  bool is_making_coordinator_ = false;
  Lifetime lifetime_;
};

}  // namespace millrace::broker
