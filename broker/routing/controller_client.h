// The controller, wherever it leads: what a broker asks of it, for clients or for itself, is done
// here or one hop away.
//
// Owned by the Node, on the shard's thread. `done` is called once: with the reply, the controller's
// error, UNAVAILABLE (NOT_LEADER) if nobody is known to lead it, or what Forwarder::Forward says.
//
//   controllers.DeleteTopic({.principal = call->principal(), .timeout = 5s}, request,
//                           [](Result<v1::DeleteTopicResponse> response) { ... });
#pragma once

#include "broker/api/principal.h"
#include "broker/controller/controller_server.h"
#include "broker/routing/cluster_view.h"
#include "broker/routing/forwarder.h"
#include "millrace/internal/v1/forward.pb.h"
#include "millrace/v1/admin_service.pb.h"
#include "proto/base/ids.h"

namespace millrace::broker {

// What can be asked of it.
template <typename Request, typename Reply>
struct ControllerMethod;

class ControllerClient {
 public:
  struct Asker {
    Principal principal;
    Duration timeout{};
  };
  // All outlive this.
  struct Environment {
    const Controller& controller;
    ControllerServer& server;
    const ClusterView& view;
    Forwarder& forwarder;
    BrokerId self;
  };

  // Serves what others ask of the controller, too.
  explicit ControllerClient(const Environment& environment);
  ControllerClient(const ControllerClient&) = delete;
  ControllerClient& operator=(const ControllerClient&) = delete;

  // Who leads it, as far as is known here; broker 0 if nobody is.
  BrokerId leader() const { return environment_.controller.leadership().leader.broker; }

  void CreateTopic(const Asker& asker, const v1::CreateTopicRequest& request,
                   ControllerReplied<v1::CreateTopicResponse> done);
  void DeleteTopic(const Asker& asker, const v1::DeleteTopicRequest& request,
                   ControllerReplied<v1::DeleteTopicResponse> done);
  void AlterTopic(const Asker& asker, const v1::AlterTopicRequest& request,
                  ControllerReplied<internal::v1::AlterTopicReply> done);
  void Register(const Asker& asker, const internal::v1::RegisterRequest& request,
                ControllerReplied<internal::v1::RegisterReply> done);
  void AllocateProducerIds(const Asker& asker,
                           ControllerReplied<internal::v1::AllocateProducerIdsReply> done);

 private:
  template <typename Request, typename Reply>
  void Ask(const ControllerMethod<Request, Reply>& method, const Asker& asker,
           const Request& request, ControllerReplied<Reply> done);
  template <typename Request, typename Reply>
  void Serve(const ControllerMethod<Request, Reply>& method);
  // The term that its leader is in, as far as is known here.
  LeaderEpoch epoch() const { return LeaderEpochOf(0, environment_.controller.leadership().term); }

  Environment environment_;
};

}  // namespace millrace::broker
