// millrace.v1.AdminService: creates and deletes topics through the controller, and answers once the
// change can be used here.
//
// Owned by the Node, on the shard's thread.
#pragma once

#include <memory>

#include "broker/service/call.h"
#include "broker/service/context.h"
#include "millrace/v1/admin_service.pb.h"

namespace millrace::broker {

class AdminService {
 public:
  explicit AdminService(ServiceContext& context) : context_(&context) {}
  void Register(ServiceRegistry* registry);

 private:
  void CreateTopic(std::shared_ptr<Call> call);
  void DeleteTopic(std::shared_ptr<Call> call);
  // At the controller's leader.
  struct PendingCreate;
  void ServeCreate(v1::CreateTopicRequest request, Duration timeout, ForwardDone done);
  void TryCreate(const std::shared_ptr<PendingCreate>& pending);
  void ServeDelete(const Bytes& body, ForwardDone done);

  ServiceContext* context_;
};

}  // namespace millrace::broker
