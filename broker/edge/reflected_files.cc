#include "broker/edge/reflected_files.h"

#include <glog/logging.h>
#include <google/protobuf/any.pb.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/text_format.h>

#include "millrace/v1/admin_service.pb.h"
#include "millrace/v1/consumer_service.pb.h"
#include "millrace/v1/group_service.pb.h"
#include "millrace/v1/metadata_service.pb.h"
#include "millrace/v1/producer_service.pb.h"
#include "millrace/v1/transaction_service.pb.h"

namespace millrace::broker::edge {
namespace {

using google::protobuf::FileDescriptor;
using google::protobuf::FileDescriptorProto;

constexpr std::string_view kHealthService = "grpc.health.v1.Health";

// Files as FileDescriptorProto's text form: there is no parser of .proto texts at run time.

// What gRPC's own health service takes and answers.
constexpr std::string_view kHealthFile = R"(
name: "grpc/health/v1/health.proto" package: "grpc.health.v1" syntax: "proto3"
service {
  name: "Health"
  method { name: "Check" input_type: "HealthCheckRequest" output_type: "HealthCheckResponse" }
  method {
    name: "Watch" input_type: "HealthCheckRequest" output_type: "HealthCheckResponse"
    server_streaming: true
  }
}
message_type {
  name: "HealthCheckRequest"
  field { name: "service" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
}
message_type {
  name: "HealthCheckResponse"
  enum_type {
    name: "ServingStatus"
    value { name: "UNKNOWN" number: 0 }
    value { name: "SERVING" number: 1 }
    value { name: "NOT_SERVING" number: 2 }
    value { name: "SERVICE_UNKNOWN" number: 3 }
  }
  field {
    name: "status" number: 1 label: LABEL_OPTIONAL type: TYPE_ENUM
    type_name: ".grpc.health.v1.HealthCheckResponse.ServingStatus"
  }
}
)";

// What every error carries (docs/errors.md), so that tools can show it.
constexpr std::string_view kErrorDetailsFile = R"(
name: "google/rpc/error_details.proto" package: "google.rpc" syntax: "proto3"
dependency: "google/protobuf/duration.proto"
message_type {
  name: "ErrorInfo"
  nested_type {
    name: "MetadataEntry"
    field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
    field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING }
    options { map_entry: true }
  }
  field { name: "reason" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "domain" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING }
  field {
    name: "metadata" number: 3 label: LABEL_REPEATED type: TYPE_MESSAGE
    type_name: ".google.rpc.ErrorInfo.MetadataEntry"
  }
}
message_type {
  name: "RetryInfo"
  field {
    name: "retry_delay" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE
    type_name: ".google.protobuf.Duration"
  }
}
)";

constexpr std::string_view kStatusFile = R"(
name: "google/rpc/status.proto" package: "google.rpc" syntax: "proto3"
dependency: "google/protobuf/any.proto"
message_type {
  name: "Status"
  field { name: "code" number: 1 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "message" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING }
  field {
    name: "details" number: 3 label: LABEL_REPEATED type: TYPE_MESSAGE
    type_name: ".google.protobuf.Any"
  }
}
)";

// Both versions of the service, which differ in name and package alone.
constexpr std::string_view kReflectionFile = R"(
syntax: "proto3"
service {
  name: "ServerReflection"
  method {
    name: "ServerReflectionInfo"
    input_type: "ServerReflectionRequest" output_type: "ServerReflectionResponse"
    client_streaming: true server_streaming: true
  }
}
message_type {
  name: "ServerReflectionRequest"
  field { name: "host" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  oneof_decl { name: "message_request" }
  field {
    name: "file_by_filename" number: 3 label: LABEL_OPTIONAL type: TYPE_STRING oneof_index: 0
  }
  field {
    name: "file_containing_symbol" number: 4 label: LABEL_OPTIONAL type: TYPE_STRING oneof_index: 0
  }
  field {
    name: "file_containing_extension" number: 5 label: LABEL_OPTIONAL type: TYPE_MESSAGE
    type_name: "ExtensionRequest" oneof_index: 0
  }
  field {
    name: "all_extension_numbers_of_type" number: 6 label: LABEL_OPTIONAL type: TYPE_STRING
    oneof_index: 0
  }
  field {
    name: "list_services" number: 7 label: LABEL_OPTIONAL type: TYPE_STRING oneof_index: 0
  }
}
message_type {
  name: "ExtensionRequest"
  field { name: "containing_type" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "extension_number" number: 2 label: LABEL_OPTIONAL type: TYPE_INT32 }
}
message_type {
  name: "ServerReflectionResponse"
  field { name: "valid_host" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field {
    name: "original_request" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE
    type_name: "ServerReflectionRequest"
  }
  oneof_decl { name: "message_response" }
  field {
    name: "file_descriptor_response" number: 4 label: LABEL_OPTIONAL type: TYPE_MESSAGE
    type_name: "FileDescriptorResponse" oneof_index: 0
  }
  field {
    name: "all_extension_numbers_response" number: 5 label: LABEL_OPTIONAL type: TYPE_MESSAGE
    type_name: "ExtensionNumberResponse" oneof_index: 0
  }
  field {
    name: "list_services_response" number: 6 label: LABEL_OPTIONAL type: TYPE_MESSAGE
    type_name: "ListServiceResponse" oneof_index: 0
  }
  field {
    name: "error_response" number: 7 label: LABEL_OPTIONAL type: TYPE_MESSAGE
    type_name: "ErrorResponse" oneof_index: 0
  }
}
message_type {
  name: "FileDescriptorResponse"
  field { name: "file_descriptor_proto" number: 1 label: LABEL_REPEATED type: TYPE_BYTES }
}
message_type {
  name: "ExtensionNumberResponse"
  field { name: "base_type_name" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "extension_number" number: 2 label: LABEL_REPEATED type: TYPE_INT32 }
}
message_type {
  name: "ListServiceResponse"
  field {
    name: "service" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: "ServiceResponse"
  }
}
message_type {
  name: "ServiceResponse"
  field { name: "name" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
}
message_type {
  name: "ErrorResponse"
  field { name: "error_code" number: 1 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "error_message" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING }
}
)";

FileDescriptorProto Read(std::string_view text) {
  FileDescriptorProto file;
  CHECK(google::protobuf::TextFormat::ParseFromString(std::string(text), &file));
  return file;
}

std::string ReflectionFile(std::string_view version) {
  return "grpc/reflection/" + std::string(version) + "/reflection.proto";
}

}  // namespace

ReflectedFiles::ReflectedFiles(bool has_reflection) {
  // Naming these keeps the generated code that registers them.
  for (const auto* message :
       {v1::GetServerInfoRequest::descriptor(), v1::InitProducerRequest::descriptor(),
        v1::FetchRequest::descriptor(), v1::CreateTopicRequest::descriptor(),
        v1::CommitOffsetsRequest::descriptor(), v1::EndTransactionRequest::descriptor()}) {
    CHECK_EQ(message->file()->service_count(), 1) << message->file()->name();
    own_services_.push_back(message->file()->service(0));
    Publish(*message->file());
  }
  CHECK(google::protobuf::Any::descriptor() != nullptr);
  CHECK(google::protobuf::Duration::descriptor() != nullptr);
  AddForeign(Read(kHealthFile));
  AddForeign(Read(kErrorDetailsFile));
  AddForeign(Read(kStatusFile));
  for (const auto* service : own_services_) service_names_.push_back(service->full_name());
  service_names_.emplace_back(kHealthService);
  if (!has_reflection) return;
  for (const std::string_view version : {"v1", "v1alpha"}) {
    FileDescriptorProto file = Read(kReflectionFile);
    file.set_name(ReflectionFile(version));
    file.set_package("grpc.reflection." + std::string(version));
    AddForeign(file);
    own_services_.push_back(FindFile(ReflectionFile(version))->service(0));
    service_names_.push_back(own_services_.back()->full_name());
  }
}

void ReflectedFiles::AddForeign(const FileDescriptorProto& file) {
  const FileDescriptor* built = pool_.BuildFile(file);
  CHECK(built != nullptr) << file.name();
  Publish(*built);
}

void ReflectedFiles::Publish(const FileDescriptor& file) {
  if (!files_.emplace(file.name(), &file).second) return;
  for (int i = 0; i < file.dependency_count(); ++i) Publish(*file.dependency(i));
  for (int i = 0; i < file.message_type_count(); ++i) PublishMessage(*file.message_type(i));
  for (int i = 0; i < file.enum_type_count(); ++i) {
    symbols_.emplace(file.enum_type(i)->full_name(), &file);
  }
  for (int i = 0; i < file.service_count(); ++i) {
    const auto& service = *file.service(i);
    symbols_.emplace(service.full_name(), &file);
    for (int method = 0; method < service.method_count(); ++method) {
      symbols_.emplace(service.method(method)->full_name(), &file);
    }
  }
}

void ReflectedFiles::PublishMessage(const google::protobuf::Descriptor& message) {
  symbols_.emplace(message.full_name(), message.file());
  messages_.insert(message.full_name());
  for (int i = 0; i < message.enum_type_count(); ++i) {
    symbols_.emplace(message.enum_type(i)->full_name(), message.file());
  }
  for (int i = 0; i < message.nested_type_count(); ++i) PublishMessage(*message.nested_type(i));
}

const FileDescriptor* ReflectedFiles::FindFile(const std::string& name) const {
  const auto found = files_.find(name);
  return found == files_.end() ? nullptr : found->second;
}

const FileDescriptor* ReflectedFiles::FindFileOfSymbol(const std::string& symbol) const {
  const auto found = symbols_.find(symbol);
  return found == symbols_.end() ? nullptr : found->second;
}

const google::protobuf::Descriptor* ReflectedFiles::reflection_request() const {
  const FileDescriptor* file = FindFile(ReflectionFile("v1"));
  CHECK(file != nullptr) << "reflection is not served";
  return file->FindMessageTypeByName("ServerReflectionRequest");
}

}  // namespace millrace::broker::edge
