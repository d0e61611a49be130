// A client's call without a client: its request, and what it was answered.
//
// One thread.
//
//   const auto call = FakeCall::Make(registry, kCreateTopic, request);
//   EXPECT_EQ(call->status().code(), Code::kAlreadyExists);
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include <glog/logging.h>

#include "broker/api/call.h"
#include "broker/api/service_registry.h"

namespace millrace::broker {

class FakeCall final : public Call {
 public:
  explicit FakeCall(Bytes request, MonotonicTime deadline = MonotonicTime::max())
      : request_(std::move(request)), deadline_(deadline) {}

  // Gives the call to whoever serves the method. Pre: somebody does.
  template <typename Request>
  static std::shared_ptr<FakeCall> Make(ServiceRegistry& registry, std::string_view method,
                                        const Request& request,
                                        MonotonicTime deadline = MonotonicTime::max()) {
    CallHandler* handler = registry.FindCall(method);
    CHECK(handler != nullptr) << method;
    auto call = std::make_shared<FakeCall>(Bytes::Own(request.SerializeAsString()), deadline);
    (*handler)(call);
    return call;
  }

  bool is_answered() const { return answer_.has_value(); }
  // Pre of these two: is_answered().
  Status status() const { return answer_->ok() ? Status() : answer_->status(); }
  // Pre: status() is ok.
  template <typename Response>
  Response response() const {
    CHECK(answer_->ok()) << answer_->status();
    Response response;
    const Bytes& body = **answer_;
    CHECK(response.ParseFromArray(body.data(), static_cast<int>(body.size())));
    return response;
  }

  const Principal& principal() const override { return principal_; }
  const Bytes& request() const override { return request_; }
  MonotonicTime deadline() const override { return deadline_; }
  void Reply(Bytes response) override { Answer(std::move(response)); }
  void Fail(const Status& status) override { Answer(status); }

 private:
  void Answer(Result<Bytes> answer) {
    CHECK(!answer_.has_value()) << "a call is answered once";
    answer_.emplace(std::move(answer));
  }

  Principal principal_;
  Bytes request_;
  MonotonicTime deadline_;
  std::optional<Result<Bytes>> answer_;
};

}  // namespace millrace::broker
