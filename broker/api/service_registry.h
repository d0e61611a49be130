// Where the edge finds who handles a method. Filled before serving, on the shard's thread after.
//
//   registry.AddCall("/millrace.v1.AdminService/CreateTopic", handler);
//   if (CallHandler* handler = registry.FindCall(method)) (*handler)(std::move(call));
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "broker/api/call.h"
#include "broker/api/stream.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

using CallHandler = MoveFunction<void(std::shared_ptr<Call>)>;
using StreamFactory = MoveFunction<std::unique_ptr<StreamHandler>(std::shared_ptr<Stream>)>;

// Methods by full path, e.g. "/millrace.v1.ProducerService/Produce".
class ServiceRegistry {
 public:
  void AddCall(std::string method, CallHandler handler) {
    calls_.emplace(std::move(method), std::move(handler));
  }
  void AddStream(std::string method, StreamFactory factory) {
    streams_.emplace(std::move(method), std::move(factory));
  }
  // Null if there is no such method.
  CallHandler* FindCall(std::string_view method) { return Find(calls_, method); }
  StreamFactory* FindStream(std::string_view method) { return Find(streams_, method); }

 private:
  template <typename Map>
  static typename Map::mapped_type* Find(Map& map, std::string_view method) {
    auto found = map.find(method);
    return found == map.end() ? nullptr : &found->second;
  }
  std::map<std::string, CallHandler, std::less<>> calls_;
  std::map<std::string, StreamFactory, std::less<>> streams_;
};

}  // namespace millrace::broker
