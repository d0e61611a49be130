#include "broker/controller/controller_server.h"

#include <utility>

#include "broker/controller/producer_id.h"

namespace millrace::broker {

using internal::v1::AllocateProducerIdsReply;
using internal::v1::AllocateProducerIdsRequest;
using internal::v1::RegisterReply;
using internal::v1::RegisterRequest;

struct ControllerServer::PendingCreate {
  v1::CreateTopicRequest request;
  ControllerReplied<v1::CreateTopicResponse> done;  // empty once answered
  TimerId timer;
};

void ControllerServer::CreateTopic(const v1::CreateTopicRequest& request, Duration timeout,
                                   ControllerReplied<v1::CreateTopicResponse> done) {
  auto pending = std::make_shared<PendingCreate>();
  pending->request = request;
  pending->done = std::move(done);
  // A little earlier than whoever asked, perhaps over another broker, stops waiting.
  pending->timer =
      environment_.executor.RunAfter(timeout - timeout / 10, lifetime_.Guard([this, pending] {
        if (!pending->done) return;
        std::erase(waiting_, pending);
        const size_t broker_count = environment_.controller.image().brokers().size();
        std::exchange(pending->done, {})(DeadlineExceeded(
            "topic \"" + pending->request.name() +
            "\" is not created: it needs more brokers than the " + std::to_string(broker_count) +
            " of " + std::to_string(environment_.cluster_size) + " that are registered"));
      }));
  TryCreate(pending);
}

// Decides; while too few brokers are registered, again whenever the image changes.
void ControllerServer::TryCreate(const std::shared_ptr<PendingCreate>& pending) {
  if (!pending->done) return;
  const LogIndex tried_at = environment_.controller.image().applied_index();
  environment_.controller.Execute(
      [this, pending](const Image& image) {
        return DecideCreateTopic(
            image, pending->request,
            {.cluster_size = environment_.cluster_size, .now_ms = environment_.clock.WallMs()});
      },
      lifetime_.Guard([this, pending, tried_at](Status status) {
        if (!pending->done) return;
        if (MustWaitForBrokers(status)) {
          // It took a while to be sure who leads; a change meanwhile was told to others alone.
          const bool is_old = environment_.controller.image().applied_index() != tried_at;
          return is_old ? TryCreate(pending) : WaitForBrokers(pending);
        }
        environment_.executor.Cancel(pending->timer);
        auto answer = std::exchange(pending->done, {});
        if (!status.ok()) return answer(std::move(status));
        answer(v1::CreateTopicResponse());
      }));
}

void ControllerServer::WaitForBrokers(const std::shared_ptr<PendingCreate>& pending) {
  waiting_.push_back(pending);
  if (std::exchange(is_listening_, true)) return;
  environment_.once_image_changed(lifetime_.Guard([this] {
    is_listening_ = false;
    for (const auto& waiting : std::exchange(waiting_, {})) TryCreate(waiting);
  }));
}

void ControllerServer::MakeCoordinator() {
  const Image& image = environment_.controller.image();
  const bool may_make = environment_.coordinator_shards != 0 && !is_making_coordinator_ &&
                        environment_.controller.is_ready();
  if (!may_make || image.FindTopic(kCoordinatorTopic) != nullptr) return;
  const auto decide = [this](const Image& on) {
    return DecideCreateCoordinator(
        on, environment_.coordinator_shards,
        {.cluster_size = environment_.cluster_size, .now_ms = environment_.clock.WallMs()});
  };
  // Before there are enough brokers nothing is asked of a majority.
  const Decision now = decide(image);
  if (!now.ok() || now->records().empty()) return;
  is_making_coordinator_ = true;
  environment_.controller.Execute(
      decide, lifetime_.Guard([this](const Status&) { is_making_coordinator_ = false; }));
}

void ControllerServer::DeleteTopic(const v1::DeleteTopicRequest& request, Duration,
                                   ControllerReplied<v1::DeleteTopicResponse> done) {
  auto response = std::make_shared<v1::DeleteTopicResponse>();
  environment_.controller.Execute(
      [this, request, response](const Image& image) {
        Decision decision = DecideDeleteTopic(image, request, environment_.term_of);
        if (!decision.ok()) return decision;
        response->set_topic_id(decision->records().empty()
                                   ? image.DeletedBy(request.request_id()).value()
                                   : decision->records(0).topic_deleted().topic_id());
        return decision;
      },
      [response, done = std::move(done)](Status status) mutable {
        if (!status.ok()) return done(std::move(status));
        done(std::move(*response));
      });
}

void ControllerServer::AlterTopic(const v1::AlterTopicRequest& request, Duration,
                                  ControllerReplied<internal::v1::AlterTopicReply> done) {
  auto reply = std::make_shared<internal::v1::AlterTopicReply>();
  environment_.controller.Execute(
      [request, reply](const Image& image) -> Decision {
        ASSIGN_OR_RETURN(const TopicChange change, ChangeOf(image, request));
        reply->mutable_settings()->clear();
        reply->mutable_settings()->insert(change.settings.begin(), change.settings.end());
        *reply->mutable_changed() = {change.changed.begin(), change.changed.end()};
        *reply->mutable_added() = change.added;
        return DecideAlterTopic(image, request, change);
      },
      lifetime_.Guard([this, reply, done = std::move(done)](Status status) mutable {
        if (!status.ok()) return done(std::move(status));
        reply->set_image_index(environment_.controller.image().applied_index().value());
        done(std::move(*reply));
      }));
}

void ControllerServer::Register(const RegisterRequest& request, Duration,
                                ControllerReplied<RegisterReply> done) {
  environment_.controller.Execute(
      [this, request](const Image& image) {
        return DecideRegister(image, request.broker(), environment_.producer_id_key);
      },
      lifetime_.Guard([this, done = std::move(done)](Status status) mutable {
        if (!status.ok()) return done(std::move(status));
        // Whatever anybody was told of is applied here: by this leader, or before its first entry.
        RegisterReply reply;
        reply.set_image_index(environment_.controller.image().applied_index().value());
        done(std::move(reply));
      }));
}

void ControllerServer::AllocateProducerIds(const AllocateProducerIdsRequest&, Duration,
                                           ControllerReplied<AllocateProducerIdsReply> done) {
  auto reply = std::make_shared<AllocateProducerIdsReply>();
  environment_.controller.Execute(
      [reply](const Image& image) {
        reply->set_first(image.next_producer_number());
        reply->set_end(reply->first() + kProducerIdBlock);
        return DecideAllocateProducerIds(image);
      },
      [reply, done = std::move(done)](Status status) mutable {
        if (!status.ok()) return done(std::move(status));
        done(std::move(*reply));
      });
}

}  // namespace millrace::broker
