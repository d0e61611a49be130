// A broker of one method, which is called and answered with one message each.
//
//   class Clock : public UnaryBroker { Result<Bytes> Answer(const Bytes& request) override; ... };
#pragma once

#include <memory>
#include <string>
#include <utility>

#include <glog/logging.h>

#include "client/core/connector.h"
#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "raft/runtime/executor.h"

namespace millrace::client {

class UnaryBroker : public Connector {
 public:
  UnaryBroker(Executor& executor, std::string method)
      : executor_(executor), method_(std::move(method)) {}

  int calls() const { return calls_; }

  void Call(RpcRequest request, RpcDone done) final {
    CHECK_EQ(request.method, method_);
    ++calls_;
    executor_.Post([done = std::move(done), answer = Answer(request.body)]() mutable {
      done(std::move(answer));
    });
  }
  std::unique_ptr<RpcStream> OpenStream(const std::string&, const std::string& method,
                                        RpcStreamHandler*) final {
    LOG(FATAL) << "no stream is needed, and " << method << " was opened";
    return nullptr;
  }

 private:
  virtual Result<Bytes> Answer(const Bytes& request) = 0;

  Executor& executor_;
  const std::string method_;
  int calls_ = 0;
};

}  // namespace millrace::client
