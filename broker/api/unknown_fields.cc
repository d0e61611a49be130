#include "broker/api/unknown_fields.h"

#include <string>
#include <vector>

#include <google/protobuf/unknown_field_set.h>

namespace millrace::broker {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

Status UnknownField(const std::string& message, uint32_t number) {
  return Unimplemented("field " + std::to_string(number) + " of " + message +
                       " is not known to this broker, which therefore changes nothing");
}

Status CheckUnderstood(const Message& message) {
  const Reflection& reflection = *message.GetReflection();
  const auto& unknown = reflection.GetUnknownFields(message);
  if (!unknown.empty()) {
    return UnknownField(message.GetDescriptor()->name(),
                        static_cast<uint32_t>(unknown.field(0).number()));
  }
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      RETURN_IF_ERROR(CheckUnderstood(reflection.GetMessage(message, field)));
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      RETURN_IF_ERROR(CheckUnderstood(reflection.GetRepeatedMessage(message, field, i)));
    }
  }
  return Status::Ok();
}

}  // namespace millrace::broker
