#include "broker/routing/controller_client.h"

#include <utility>
#include <vector>

#include "broker/routing/attached_bytes.h"

namespace millrace::broker {

using internal::v1::AllocateProducerIdsReply;
using internal::v1::AllocateProducerIdsRequest;
using internal::v1::AlterTopicReply;
using internal::v1::RegisterReply;
using internal::v1::RegisterRequest;

template <typename Request, typename Reply>
struct ControllerMethod {
  ForwardMethod forward;
  void (ControllerServer::*serve)(const Request&, Duration, ControllerReplied<Reply>);
};

namespace {

constexpr ControllerMethod<v1::CreateTopicRequest, v1::CreateTopicResponse> kCreateTopic{
    kForwardCreateTopic, &ControllerServer::CreateTopic};
constexpr ControllerMethod<v1::DeleteTopicRequest, v1::DeleteTopicResponse> kDeleteTopic{
    kForwardDeleteTopic, &ControllerServer::DeleteTopic};
constexpr ControllerMethod<v1::AlterTopicRequest, AlterTopicReply> kAlterTopic{
    kForwardAlterTopic, &ControllerServer::AlterTopic};
constexpr ControllerMethod<RegisterRequest, RegisterReply> kRegister{kForwardRegister,
                                                                     &ControllerServer::Register};
constexpr ControllerMethod<AllocateProducerIdsRequest, AllocateProducerIdsReply>
    kAllocateProducerIds{kForwardAllocateProducerIds, &ControllerServer::AllocateProducerIds};

}  // namespace

ControllerClient::ControllerClient(const Environment& environment) : environment_(environment) {
  Serve(kCreateTopic);
  Serve(kDeleteTopic);
  Serve(kAlterTopic);
  Serve(kRegister);
  Serve(kAllocateProducerIds);
}

void ControllerClient::CreateTopic(const Asker& asker, const v1::CreateTopicRequest& request,
                                   ControllerReplied<v1::CreateTopicResponse> done) {
  Ask(kCreateTopic, asker, request, std::move(done));
}

void ControllerClient::DeleteTopic(const Asker& asker, const v1::DeleteTopicRequest& request,
                                   ControllerReplied<v1::DeleteTopicResponse> done) {
  Ask(kDeleteTopic, asker, request, std::move(done));
}

void ControllerClient::AlterTopic(const Asker& asker, const v1::AlterTopicRequest& request,
                                  ControllerReplied<AlterTopicReply> done) {
  Ask(kAlterTopic, asker, request, std::move(done));
}

void ControllerClient::Register(const Asker& asker, const RegisterRequest& request,
                                ControllerReplied<RegisterReply> done) {
  Ask(kRegister, asker, request, std::move(done));
}

void ControllerClient::AllocateProducerIds(const Asker& asker,
                                           ControllerReplied<AllocateProducerIdsReply> done) {
  Ask(kAllocateProducerIds, asker, AllocateProducerIdsRequest(), std::move(done));
}

template <typename Request, typename Reply>
void ControllerClient::Ask(const ControllerMethod<Request, Reply>& method, const Asker& asker,
                           const Request& request, ControllerReplied<Reply> done) {
  if (environment_.controller.is_ready()) {
    (environment_.server.*method.serve)(request, asker.timeout, std::move(done));
    return;
  }
  if (leader() == BrokerId() || leader() == environment_.self) {
    const Status health = environment_.view.controller_health();
    done(health.ok() ? Unavailable("the controller has no leader at the moment", Reason::kNotLeader)
                     : health);
    return;
  }
  environment_.forwarder.Forward({.to = leader(),
                                  .method = method.forward,
                                  .body = InOrder(request),
                                  .timeout = asker.timeout,
                                  .principal = asker.principal,
                                  .expected_leader_epoch = epoch()},
                                 [done = std::move(done)](const Result<Bytes>& body) mutable {
                                   done(MessageIn<Reply>(body));
                                 });
}

template <typename Request, typename Reply>
void ControllerClient::Serve(const ControllerMethod<Request, Reply>& method) {
  environment_.forwarder.Serve(
      method.forward,
      [this, serve = method.serve](const ForwardedRequest& forwarded, ForwardReplied done) {
        if (epoch() < forwarded.expected_leader_epoch) {
          return done(environment_.view.NotLeader(kControllerGroup));
        }
        const Result<Request> request = MessageIn<Request>(forwarded.body);
        if (!request.ok()) return done(request.status());
        (environment_.server.*serve)(*request, forwarded.timeout,
                                     [done = std::move(done)](const Result<Reply>& reply) mutable {
                                       if (!reply.ok()) return done(reply.status());
                                       done(InOrder(*reply));
                                     });
      });
}

}  // namespace millrace::broker
