// Brokers that are called and answered with one message each: any, one of one method, and one whose
// methods the test gives.
//
//   class Clock : public UnaryBroker { Result<Bytes> Answer(const Bytes& request) override; ... };
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include <glog/logging.h>

#include "client/core/connector.h"
#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"

namespace millrace::client {

// Brokers whose calls have one message each and are answered at once.
class UnaryBrokers : public Connector {
 public:
  explicit UnaryBrokers(Executor& executor) : executor_(executor) {}

  void Call(RpcRequest request, RpcDone done) final {
    executor_.RunAfter(
        DelayOf(request),
        [done = std::move(done), answer = Answer(request)]() mutable { done(std::move(answer)); });
  }
  std::unique_ptr<RpcStream> OpenStream(const std::string&, const std::string& method,
                                        RpcStreamHandler*) final {
    LOG(FATAL) << "no stream is needed, and " << method << " was opened";
    return nullptr;
  }

 private:
  virtual Result<Bytes> Answer(const RpcRequest& request) = 0;
  virtual Duration DelayOf(const RpcRequest&) const { return Duration(0); }

  Executor& executor_;
};

class UnaryBroker : public UnaryBrokers {
 public:
  UnaryBroker(Executor& executor, std::string method)
      : UnaryBrokers(executor), method_(std::move(method)) {}

  int calls() const { return calls_; }

 private:
  Result<Bytes> Answer(const RpcRequest& request) final {
    CHECK_EQ(request.method, method_);
    ++calls_;
    return Answer(request.body);
  }
  virtual Result<Bytes> Answer(const Bytes& request) = 0;

  const std::string method_;
  int calls_ = 0;
};

// Answers each method as the test says.
class MethodBrokers final : public UnaryBrokers {
 public:
  using UnaryBrokers::UnaryBrokers;

  template <typename Request, typename Response>
  void On(const std::string& method, std::function<Result<Response>(const Request&)> answer) {
    answers_[method] = [answer = std::move(answer)](const Bytes& body) -> Result<Bytes> {
      Request request;
      CHECK(request.ParseFromArray(body.data(), static_cast<int>(body.size())));
      const Result<Response> response = answer(request);
      RETURN_IF_ERROR(response.status());
      return Bytes::Own(response->SerializeAsString());
    };
  }

 private:
  Result<Bytes> Answer(const RpcRequest& request) override {
    const auto found = answers_.find(request.method);
    CHECK(found != answers_.end()) << request.method;
    return found->second(request.body);
  }

  std::map<std::string, std::function<Result<Bytes>(const Bytes&)>> answers_;
};

}  // namespace millrace::client
