#include "broker/service/produce/publish_wire.h"

#include <glog/logging.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include "broker/api/request_limits.h"
#include "broker/api/unknown_fields.h"
#include "broker/partition/partition.h"
#include "millrace/v1/producer_service.pb.h"
#include "proto/record/wire.h"

namespace millrace::broker {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using Field = v1::PublishRequest;

constexpr uint32_t Delimited(int field) {
  return WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
}
constexpr uint32_t Varint(int field) {
  return WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_VARINT);
}

// A length-delimited field's content, as a part of `whole`.
bool ReadPart(CodedInputStream* in, std::string_view whole, std::string_view* part) {
  uint32_t size = 0;
  if (!in->ReadVarint32(&size)) return false;
  const auto at = static_cast<size_t>(in->CurrentPosition());
  if (size > whole.size() - at || !in->Skip(static_cast<int>(size))) return false;
  *part = whole.substr(at, size);
  return true;
}

bool IsKnown(uint32_t tag) {
  const int field = static_cast<int>(tag >> 3);
  return field == Field::kTopicFieldNumber || field == Field::kTopicIdFieldNumber ||
         field == Field::kPartitionFieldNumber || field == Field::kRecordsFieldNumber ||
         field == Field::kExpectedEndOffsetFieldNumber;
}

bool ReadField(CodedInputStream* in, uint32_t tag, std::string_view message,
               PublishRequestView* request) {
  uint64_t number = 0;
  std::string_view part;
  switch (tag) {
    case Delimited(Field::kTopicFieldNumber):
      if (!ReadPart(in, message, &part)) return false;
      request->topic = std::string(part);
      return true;
    case Varint(Field::kTopicIdFieldNumber):
      if (!in->ReadVarint64(&number)) return false;
      request->topic_id = TopicId(number);
      return true;
    case Varint(Field::kPartitionFieldNumber):
      if (!in->ReadVarint64(&number) || number > UINT32_MAX) return false;
      request->partition = PartitionId(static_cast<uint32_t>(number));
      return true;
    case Varint(Field::kExpectedEndOffsetFieldNumber):
      if (!in->ReadVarint64(&number)) return false;
      request->expected_end = Offset(static_cast<int64_t>(number));
      return true;
    case Delimited(Field::kRecordsFieldNumber):
      if (!ReadPart(in, message, &part)) return false;
      request->records.push_back(part);
      return true;
    default:
      return WireFormatLite::SkipField(in, tag);
  }
}

// An end is one partition's: of records that go to several, some could be stored and some not.
Status CheckExpectedEnd(const PublishRequestView& request) {
  if (!request.expected_end.has_value()) return {};
  if (*request.expected_end < Offset(0)) return NegativeExpectedEnd();
  if (request.partition.has_value()) return {};
  return InvalidArgument("expected_end_offset is set, and `partition` is not");
}

}  // namespace

Result<PublishRequestView> ParsePublishRequest(const Bytes& message) {
  PublishRequestView request;
  CodedInputStream in(reinterpret_cast<const uint8_t*>(message.data()),
                      static_cast<int>(message.size()));
  while (const uint32_t tag = in.ReadTag()) {
    if (!IsKnown(tag)) return UnknownField("PublishRequest", tag >> 3);
    if (!ReadField(&in, tag, message.view(), &request)) {
      return InvalidArgument("the request is not a PublishRequest");
    }
    RETURN_IF_ERROR(CheckCount(request.records.size(), "records"));
  }
  if (!in.ConsumedEntireMessage()) return InvalidArgument("the request is not a PublishRequest");
  if (request.records.empty()) return InvalidArgument("`records` is empty");
  RETURN_IF_ERROR(CheckExpectedEnd(request));
  return request;
}

Bytes EncodeTypedBatch(const std::vector<std::string_view>& records) {
  CHECK(!records.empty());
  size_t size = 0;
  for (const std::string_view record : records) size += DelimitedSize(record.size());
  Buffer batch = Buffer::Allocate(size);
  WireWriter out(batch.data());
  for (const std::string_view record : records) {
    out.Delimited(v1::RecordBatch::kRecordsFieldNumber, record);
  }
  CHECK_EQ(out.position(), batch.data() + size);
  return std::move(batch).Freeze();
}

}  // namespace millrace::broker
