#include "broker/routing/attached_bytes.h"

#include <string>
#include <utility>

#include <glog/logging.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "proto/record/wire.h"

namespace millrace::broker {

std::vector<Bytes> AttachBytes(const google::protobuf::MessageLite& message,
                               std::vector<Bytes> bytes) {
  const size_t size = message.ByteSizeLong();
  std::string head(VarintSize(size), '\0');
  WireWriter(head.data()).Varint(size);
  message.AppendToString(&head);
  bytes.insert(bytes.begin(), Bytes::Own(std::move(head)));
  return bytes;
}

std::vector<Bytes> InOrder(const google::protobuf::MessageLite& message) {
  const size_t size = message.ByteSizeLong();
  std::string bytes(VarintSize(size), '\0');
  WireWriter(bytes.data()).Varint(size);
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    CHECK(message.SerializePartialToCodedStream(&coded));
  }
  return {Bytes::Own(std::move(bytes))};
}

Result<Bytes> DetachBytes(const Bytes& whole, google::protobuf::MessageLite* message) {
  WireReader in(whole.view());
  std::string_view head;
  if (!in.ReadDelimited(&head) ||
      !message->ParseFromArray(head.data(), static_cast<int>(head.size()))) {
    return Internal("what a broker sent is not a valid " + message->GetTypeName());
  }
  return whole.Slice(in.position(), whole.size() - in.position());
}

}  // namespace millrace::broker
