#include "broker/service/produce/producer_service.h"

#include <string>
#include <utility>

#include "broker/api/parse_request.h"
#include "broker/api/unknown_fields.h"
#include "broker/controller/producer_id.h"
#include "broker/service/produce/produce_stream.h"
#include "millrace/v1/producer_service.pb.h"

namespace millrace::broker {

void ProducerService::Register(ServiceRegistry* registry) {
  registry->AddCall("/millrace.v1.ProducerService/InitProducer",
                    [this](std::shared_ptr<Call> call) { InitProducer(std::move(call)); });
  registry->AddCall("/millrace.v1.ProducerService/Publish",
                    [this](std::shared_ptr<Call> call) { publisher_.Serve(std::move(call)); });
  registry->AddStream("/millrace.v1.ProducerService/Produce",
                      [this](std::shared_ptr<Stream> stream) -> std::unique_ptr<StreamHandler> {
                        return MakeProduceStream(environment_, std::move(stream));
                      });
}

void ProducerService::InitProducer(std::shared_ptr<Call> call) {
  const auto request = ParseRequest<v1::InitProducerRequest>(call->request());
  if (!request.ok()) return call->Fail(request.status());
  if (Status status = CheckUnderstood(*request); !status.ok()) return call->Fail(status);
  if (!request->transactional_id().empty()) return InitTransactions(std::move(call), *request);
  if (request->request_id() != 0 || request->transaction_timeout_ms() != 0) {
    return call->Fail(InvalidArgument(
        "request_id and transaction_timeout_ms are of a transactional_id, and there is none"));
  }
  if (request->producer_id() == 0) return GiveProducerId(std::move(call));
  const std::string& key = environment_.view.image().producer_id_key();
  const Status given = CheckProducerId(key, ProducerId(request->producer_id()));
  if (!given.ok()) return call->Fail(given);
  if (request->producer_epoch() > kProducerEpochMax) {
    return call->Fail(InvalidArgument(
        "producer_epoch " + std::to_string(request->producer_epoch()) + " is above " +
        std::to_string(kProducerEpochMax) + ", the last that is given out"));
  }
  // The id is used up.
  if (request->producer_epoch() == kProducerEpochMax) return GiveProducerId(std::move(call));
  v1::InitProducerResponse response;
  response.set_producer_id(request->producer_id());
  response.set_producer_epoch(request->producer_epoch() + 1);
  response.set_inflight_batches_max(kProducerBatchesKept);
  call->Reply(Bytes::Own(response.SerializeAsString()));
}

void ProducerService::InitTransactions(std::shared_ptr<Call> call,
                                       const v1::InitProducerRequest& request) {
  internal::v1::InitTransactionsRequest asked;
  if (request.producer_id() != 0) {
    asked.mutable_expected()->set_producer_id(request.producer_id());
    asked.mutable_expected()->set_epoch(request.producer_epoch());
  }
  asked.set_transactional_id(request.transactional_id());
  asked.set_request_id(request.request_id());
  asked.set_time_limit_ms(request.transaction_timeout_ms());
  const CoordinatorClient::Asker asker{
      .principal = call->principal(),
      .timeout = TimeFor(environment_.clock, *call, kForwardTimeout)};
  environment_.coordinators.InitTransactions(
      asker, asked, [call = std::move(call)](const auto& granted) {
        if (!granted.ok()) return call->Fail(granted.status());
        v1::InitProducerResponse response;
        response.set_producer_id(granted->producer_id());
        response.set_producer_epoch(granted->epoch());
        response.set_inflight_batches_max(kProducerBatchesKept);
        call->Reply(Bytes::Own(response.SerializeAsString()));
      });
}

void ProducerService::GiveProducerId(std::shared_ptr<Call> call) {
  const ControllerClient::Asker asker{
      .principal = call->principal(),
      .timeout = TimeFor(environment_.clock, *call, kForwardTimeout)};
  producer_ids_.Give(asker, [call = std::move(call)](const Result<ProducerId>& id) {
    if (!id.ok()) return call->Fail(id.status());
    v1::InitProducerResponse response;
    response.set_producer_id(id->value());
    response.set_inflight_batches_max(kProducerBatchesKept);
    call->Reply(Bytes::Own(response.SerializeAsString()));
  });
}

}  // namespace millrace::broker
