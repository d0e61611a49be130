#include "broker/edge/raw_service.h"

#include <glog/logging.h>
#include <grpcpp/impl/rpc_service_method.h>

namespace millrace::broker::edge {

using grpc::internal::RpcMethod;
using grpc::internal::RpcServiceMethod;

RawService::RawService(const google::protobuf::ServiceDescriptor& descriptor)
    : name_(descriptor.full_name()) {
  for (int i = 0; i < descriptor.method_count(); ++i) {
    const google::protobuf::MethodDescriptor& method = *descriptor.method(i);
    CHECK(method.server_streaming() || !method.client_streaming())
        << method.full_name() << " has one answer to a stream, which Stream has no notion of";
    methods_.push_back({"/" + name_ + "/" + method.name(), method.server_streaming()});
  }
  for (int i = 0; i < method_count(); ++i) {
    const auto type = is_stream(i) ? RpcMethod::BIDI_STREAMING : RpcMethod::NORMAL_RPC;
    AddMethod(new RpcServiceMethod(path(i).c_str(), type, nullptr));  // the base class owns it
    MarkMethodRaw(i);
  }
}

void RawService::RequestUnary(int method, const Slot& slot, grpc::ByteBuffer* request,
                              RawUnary* writer) {
  RequestAsyncUnary(method, slot.context, request, writer, slot.queue, slot.queue, slot.completion);
}

void RawService::RequestStream(int method, const Slot& slot, RawStream* stream) {
  RequestAsyncBidiStreaming(method, slot.context, stream, slot.queue, slot.queue, slot.completion);
}

}  // namespace millrace::broker::edge
