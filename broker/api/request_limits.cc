#include "broker/api/request_limits.h"

#include <string>

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

namespace millrace::broker {

using google::protobuf::internal::WireFormatLite;

Status CheckCount(const Bytes& message, const RepeatedField& field) {
  const uint32_t wanted =
      WireFormatLite::MakeTag(field.number, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(message.data()),
                                            static_cast<int>(message.size()));
  size_t count = 0;
  while (const uint32_t tag = in.ReadTag()) {
    if (tag == wanted) ++count;
    if (!WireFormatLite::SkipField(&in, tag)) break;
  }
  return CheckCount(count, field.name);
}

Status CheckCount(size_t count, std::string_view field_name) {
  if (count <= kNamedPerMessageMax) return Status::Ok();
  return InvalidArgument("`" + std::string(field_name) + "` is there " + std::to_string(count) +
                         " times in one message, " + std::to_string(kNamedPerMessageMax) +
                         " are allowed");
}

}  // namespace millrace::broker
