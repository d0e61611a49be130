// Answers tools that ask a server what it serves (grpcurl, Postman): grpc.reflection.v1 and
// v1alpha, whose messages are the same. A stream like any other, so that it is counted and held
// back like any other; gRPC's own takes a thread for each.
//
// Reflection is pure: any thread. Its streams: the shard's thread.
//
//   ServeReflection(std::make_shared<Reflection>(files), &registry);
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <google/protobuf/dynamic_message.h>

#include "broker/api/service_registry.h"
#include "broker/edge/reflected_files.h"
#include "proto/base/status.h"

namespace millrace::broker::edge {

class Reflection {
 public:
  // Pre: the files have reflection's own.
  explicit Reflection(std::shared_ptr<const ReflectedFiles> files);

  // A ServerReflectionResponse to a ServerReflectionRequest; what cannot be found is said within.
  // INVALID_ARGUMENT if it is none, or one longer than any name.
  Result<Bytes> Answer(std::string_view request) const;

 private:
  std::shared_ptr<const ReflectedFiles> files_;  // shared with whoever made them
  google::protobuf::DynamicMessageFactory messages_;
  const google::protobuf::Message* request_;
};

// Adds both versions. The streams keep `reflection`.
void ServeReflection(const std::shared_ptr<const Reflection>& reflection,
                     ServiceRegistry* registry);

}  // namespace millrace::broker::edge
