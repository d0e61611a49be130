#include "broker/edge/status_map.h"

#include <string>
#include <string_view>

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "broker/api/error_reply.h"

namespace millrace::broker::edge {
namespace {

using google::protobuf::io::CodedOutputStream;
using google::protobuf::io::StringOutputStream;

// google.rpc.Status { int32 code = 1; string message = 2; repeated google.protobuf.Any details = 3;
// } google.protobuf.Any { string type_url = 1; bytes value = 2; }
constexpr int kCodeField = 1;
constexpr int kMessageField = 2;
constexpr int kDetailsField = 3;
constexpr int kTypeUrlField = 1;
constexpr int kValueField = 2;

constexpr uint32_t Tag(int field, uint32_t wire_type) {
  return (static_cast<uint32_t>(field) << 3) | wire_type;
}

void WriteNumber(int field, uint32_t value, CodedOutputStream* out) {
  out->WriteTag(Tag(field, 0));
  out->WriteVarint32(value);
}

void WriteText(int field, std::string_view text, CodedOutputStream* out) {
  out->WriteTag(Tag(field, 2));
  out->WriteVarint32(static_cast<uint32_t>(text.size()));
  out->WriteRaw(text.data(), static_cast<int>(text.size()));
}

void WriteDetail(std::string_view type, const std::string& message, CodedOutputStream* out) {
  std::string any;
  {
    StringOutputStream stream(&any);
    CodedOutputStream coded(&stream);
    WriteText(kTypeUrlField, "type.googleapis.com/" + std::string(type), &coded);
    WriteText(kValueField, message, &coded);
  }
  WriteText(kDetailsField, any, out);
}

std::string EncodeRpcStatus(const Status& status, const std::string& text) {
  std::string encoded;
  StringOutputStream stream(&encoded);
  CodedOutputStream out(&stream);
  WriteNumber(kCodeField, static_cast<uint32_t>(status.code()), &out);
  WriteText(kMessageField, text, &out);
  WriteDetail("google.rpc.ErrorInfo", ToErrorInfo(status).SerializeAsString(), &out);
  if (status.retry_after_ms().has_value()) {
    WriteDetail("google.rpc.RetryInfo", ToRetryInfo(status).SerializeAsString(), &out);
  }
  out.Trim();
  return encoded;
}

}  // namespace

grpc::Status ToGrpcStatus(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  // Our codes have google.rpc.Code's numbers, which are gRPC's.
  static_assert(static_cast<int>(Code::kUnauthenticated) == grpc::StatusCode::UNAUTHENTICATED);
  static_assert(static_cast<int>(Code::kUnavailable) == grpc::StatusCode::UNAVAILABLE);
  const std::string text = ErrorText(status.message());
  return {static_cast<grpc::StatusCode>(status.code()), text, EncodeRpcStatus(status, text)};
}

}  // namespace millrace::broker::edge
