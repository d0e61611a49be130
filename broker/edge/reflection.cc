#include "broker/edge/reflection.h"

#include <set>
#include <utility>

#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

namespace millrace::broker::edge {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::io::CodedOutputStream;
using google::protobuf::io::StringOutputStream;

// The longest name is far below; an answer repeats its request.
constexpr size_t kRequestBytesMax = 4 << 10;

// Numbers of the messages in reflected_files.cc.
enum RequestField {
  kFileByFilename = 3,
  kFileContainingSymbol = 4,
  kFileContainingExtension = 5,
  kAllExtensionNumbersOfType = 6,
  kListServices = 7,
};
enum ResponseField {
  kOriginalRequest = 2,
  kFileDescriptorResponse = 4,
  kAllExtensionNumbersResponse = 5,
  kListServicesResponse = 6,
  kErrorResponse = 7,
};

constexpr uint32_t Tag(int field, uint32_t wire_type) {
  return static_cast<uint32_t>(field) << 3 | wire_type;
}

// A length-delimited field.
void Append(int field, std::string_view content, std::string* out) {
  StringOutputStream stream(out);
  CodedOutputStream coded(&stream);
  coded.WriteTag(Tag(field, 2));
  coded.WriteVarint32(static_cast<uint32_t>(content.size()));
  coded.WriteRaw(content.data(), static_cast<int>(content.size()));
}

std::string Field(int field, std::string_view content) {
  std::string out;
  Append(field, content, &out);
  return out;
}

// ErrorResponse { int32 error_code = 1; string error_message = 2; }
std::string NotFoundAnswer(std::string_view what) {
  std::string error{static_cast<char>(Tag(1, 0)), static_cast<char>(Code::kNotFound)};
  Append(2, std::string(what) + " is not known here", &error);
  return Field(kErrorResponse, error);
}

// The file and all that it imports, each once.
void AppendFile(const FileDescriptor& file, std::set<const FileDescriptor*>* told,
                std::string* out) {
  if (!told->insert(&file).second) return;
  google::protobuf::FileDescriptorProto proto;
  file.CopyTo(&proto);
  Append(1, proto.SerializeAsString(), out);
  for (int i = 0; i < file.dependency_count(); ++i) AppendFile(*file.dependency(i), told, out);
}

std::string FileAnswer(const FileDescriptor* file, std::string_view what) {
  if (file == nullptr) return NotFoundAnswer(what);
  std::set<const FileDescriptor*> told;
  std::string files;
  AppendFile(*file, &told, &files);
  return Field(kFileDescriptorResponse, files);
}

std::string ServicesAnswer(const ReflectedFiles& files) {
  std::string services;
  for (const std::string& name : files.service_names()) Append(1, Field(1, name), &services);
  return Field(kListServicesResponse, services);
}

// One answer to one request; while an answer waits to be taken, nothing more is read.
class ReflectionStream final : public StreamHandler {
 public:
  ReflectionStream(std::shared_ptr<const Reflection> reflection, std::shared_ptr<Stream> stream)
      : reflection_(std::move(reflection)), stream_(std::move(stream)) {}

  void OnMessage(Bytes message) override {
    Result<Bytes> answer = reflection_->Answer(message.view());
    if (!answer.ok()) return stream_->Finish(answer.status());
    stream_->SetReading(false);
    stream_->Write({*std::move(answer)});
  }
  void OnHalfClose() override { stream_->Finish(Status::Ok()); }
  void OnWritable() override { stream_->SetReading(true); }
  void OnClosed() override {}

 private:
  std::shared_ptr<const Reflection> reflection_;  // shared with the method's other streams
  std::shared_ptr<Stream> stream_;
};

}  // namespace

Reflection::Reflection(std::shared_ptr<const ReflectedFiles> files)
    : files_(std::move(files)), request_(messages_.GetPrototype(files_->reflection_request())) {}

Result<Bytes> Reflection::Answer(std::string_view request) const {
  const std::unique_ptr<google::protobuf::Message> asked(request_->New());
  if (request.size() > kRequestBytesMax ||
      !asked->ParseFromArray(request.data(), static_cast<int>(request.size()))) {
    return InvalidArgument("the request is not a ServerReflectionRequest");
  }
  const google::protobuf::Reflection& fields = *asked->GetReflection();
  const FieldDescriptor* set =
      fields.GetOneofFieldDescriptor(*asked, asked->GetDescriptor()->oneof_decl(0));
  if (set == nullptr) return InvalidArgument("the request asks for nothing that is known here");
  const std::string name = set->cpp_type() == FieldDescriptor::CPPTYPE_STRING
                               ? fields.GetString(*asked, set)
                               : std::string("an extension");
  std::string answer = Field(kOriginalRequest, request);
  switch (set->number()) {
    case kListServices:
      answer += ServicesAnswer(*files_);
      break;
    case kFileByFilename:
      answer += FileAnswer(files_->FindFile(name), name);
      break;
    case kFileContainingSymbol:
      answer += FileAnswer(files_->FindFileOfSymbol(name), name);
      break;
    case kAllExtensionNumbersOfType:  // no message here has any
      answer += files_->HasMessage(name) ? Field(kAllExtensionNumbersResponse, Field(1, name))
                                         : NotFoundAnswer(name);
      break;
    default:
      answer += NotFoundAnswer(name);
  }
  return Bytes::Own(std::move(answer));
}

void ServeReflection(const std::shared_ptr<const Reflection>& reflection,
                     ServiceRegistry* registry) {
  for (const std::string_view service : kReflectionServices) {
    registry->AddStream("/" + std::string(service) + "/ServerReflectionInfo",
                        [reflection](std::shared_ptr<Stream> stream) {
                          return std::make_unique<ReflectionStream>(reflection, std::move(stream));
                        });
  }
}

}  // namespace millrace::broker::edge
