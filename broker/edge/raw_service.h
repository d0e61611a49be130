// A gRPC service made from its protobuf descriptor, with every method as bytes in and bytes out.
// gRPC knows it by name, so reflection and health checks work, while no generated service code is
// needed and no message is parsed here.
//
// Owned by GrpcEdge, outlives the server. Requesting calls: the shard's thread.
//
//   RawService service(*v1::ProduceRequest::descriptor()->file()->service(0));
//   builder.RegisterService(&service);
#pragma once

#include <string>
#include <vector>

#include <google/protobuf/descriptor.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/async_unary_call.h>
#include <grpcpp/support/byte_buffer.h>

namespace millrace::broker::edge {

using RawUnary = grpc::ServerAsyncResponseWriter<grpc::ByteBuffer>;
using RawStream = grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>;

class RawService final : public grpc::Service {
 public:
  // Pre: methods are unary or stream their answers. One that takes a single request is a Stream
  // too: it gets one message, then the half-close.
  explicit RawService(const google::protobuf::ServiceDescriptor& descriptor);

  const std::string& name() const { return name_; }
  int method_count() const { return static_cast<int>(methods_.size()); }
  // "/package.Service/Method".
  const std::string& path(int method) const { return At(method).path; }
  bool is_stream(int method) const { return At(method).is_stream; }

  // What the next call of `method` is put into; `completion` reports it, or not ok when the server
  // stops first. All of them live until then.
  struct Slot {
    grpc::ServerContext* context;
    grpc::ServerCompletionQueue* queue;
    void* completion;
  };
  void RequestUnary(int method, const Slot& slot, grpc::ByteBuffer* request, RawUnary* writer);
  void RequestStream(int method, const Slot& slot, RawStream* stream);

 private:
  struct Method {
    std::string path;
    bool is_stream;
  };
  const Method& At(int method) const { return methods_[static_cast<size_t>(method)]; }

  std::string name_;
  // gRPC keeps pointers to the paths: filled once, before the methods are added.
  std::vector<Method> methods_;
};

// One method of one service.
struct MethodRef {
  RawService* service;
  int index;
  const std::string& path() const { return service->path(index); }
  bool is_stream() const { return service->is_stream(index); }
};

}  // namespace millrace::broker::edge
