#include "client/api/runtime.h"

#include <glog/logging.h>

#include "client/grpc/grpc_connector.h"

namespace millrace::internal {

Runtime::Runtime(client::ClientOptions options)
    : Runtime(std::move(options), [](Executor& executor) {
        return std::make_unique<client::GrpcConnector>(executor, client::GrpcConnector::Options());
      }) {}

Runtime::Runtime(client::ClientOptions options, const MakeConnector& make_connector)
    : thread_("millrace") {
  thread_.RunAndWait([this, &make_connector, options = std::move(options)]() mutable {
    connector_ = make_connector(thread_.executor());
    client_ = std::make_unique<client::Client>(
        client::Client::Environment{.executor = thread_.executor(),
                                    .clock = clock_,
                                    .connector = *connector_,
                                    .random = Random(EntropySeed())},
        std::move(options));
  });
}

Runtime::~Runtime() {
  CHECK(!IsLoopThread()) << "the last of a millrace::Client, Producer or Consumer was destroyed in "
                            "one of its callbacks";
  thread_.RunAndWait([this] {
    client_.reset();
    connector_.reset();
  });
  thread_.Stop();
}

void Runtime::RunAndWait(Task task) {
  if (IsLoopThread()) return task();
  thread_.RunAndWait(std::move(task));
}

Status Runtime::WouldBlock() {
  return FailedPrecondition(
      "a call that waits was made in a callback, where it would wait for ever");
}

}  // namespace millrace::internal
