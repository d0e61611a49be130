// The .proto files that reflection tells of, and the services that are served: those of the public
// API, and others' that a gRPC server has (health, reflection, the details of errors), of which
// this repository has only the names and numbers, written down here.
//
// Made once by GrpcEdge, never changed; any thread.
//
//   const ReflectedFiles files(has_reflection);
//   for (const auto* service : files.own_services()) ...
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <google/protobuf/descriptor.h>

namespace millrace::broker::edge {

inline constexpr std::string_view kReflectionServices[] = {
    "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"};

class ReflectedFiles {
 public:
  // Without reflection the server does not serve the two services of it.
  explicit ReflectedFiles(bool has_reflection);
  ReflectedFiles(const ReflectedFiles&) = delete;
  ReflectedFiles& operator=(const ReflectedFiles&) = delete;

  // Those that the edge has to serve: the public API's, and reflection's.
  const std::vector<const google::protobuf::ServiceDescriptor*>& own_services() const {
    return own_services_;
  }
  // Their names, and that of the health service, which gRPC serves by itself.
  const std::vector<std::string>& service_names() const { return service_names_; }

  // Null if there is none, or if it is none of those that clients may know.
  const google::protobuf::FileDescriptor* FindFile(const std::string& name) const;
  const google::protobuf::FileDescriptor* FindFileOfSymbol(const std::string& symbol) const;
  bool HasMessage(const std::string& type) const { return messages_.contains(type); }
  // What a request to reflection is. Pre: it is served.
  const google::protobuf::Descriptor* reflection_request() const;

 private:
  void AddForeign(const google::protobuf::FileDescriptorProto& file);
  // The file, and all that it imports.
  void Publish(const google::protobuf::FileDescriptor& file);
  void PublishMessage(const google::protobuf::Descriptor& message);

  // Over the generated code's pool, in which internal messages are as well. It is not asked what
  // clients ask: it would remember each name that it does not know.
  google::protobuf::DescriptorPool pool_{google::protobuf::DescriptorPool::generated_pool()};
  std::map<std::string, const google::protobuf::FileDescriptor*> files_;
  std::map<std::string, const google::protobuf::FileDescriptor*> symbols_;
  std::set<std::string> messages_;
  std::vector<const google::protobuf::ServiceDescriptor*> own_services_;
  std::vector<std::string> service_names_;
};

}  // namespace millrace::broker::edge
