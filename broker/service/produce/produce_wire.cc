#include "broker/service/produce/produce_wire.h"

#include <google/protobuf/wire_format_lite.h>

#include "broker/api/request_limits.h"
#include "broker/api/unknown_fields.h"
#include "millrace/v1/producer_service.pb.h"
#include "proto/record/coded_input.h"

namespace millrace::broker {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

Status Malformed(const char* what) {
  return InvalidArgument(std::string("the message is not a ProduceRequest: ") + what +
                         " cannot be read");
}

Result<ProduceBatchView> ParseBatch(const Bytes& bytes) {
  using Field = v1::ProduceBatch;
  ProduceBatchView batch;
  bool has_batch = false;
  CodedInputStream in = CodedInput(bytes);
  while (const uint32_t tag = in.ReadTag()) {
    uint64_t number = 0;
    bool ok = true;
    switch (tag) {
      case WireFormatLite::MakeTag(Field::kTopicFieldNumber,
                                   WireFormatLite::WIRETYPE_LENGTH_DELIMITED): {
        Bytes topic;
        ok = ReadPart(&in, bytes, &topic);
        batch.topic = std::string(topic.view());
        break;
      }
      case WireFormatLite::MakeTag(Field::kTopicIdFieldNumber, WireFormatLite::WIRETYPE_VARINT):
        ok = in.ReadVarint64(&number);
        batch.topic_id = TopicId(number);
        break;
      case WireFormatLite::MakeTag(Field::kPartitionFieldNumber, WireFormatLite::WIRETYPE_VARINT):
        ok = in.ReadVarint64(&number) && number <= UINT32_MAX;
        batch.partition = PartitionId(static_cast<uint32_t>(number));
        break;
      case WireFormatLite::MakeTag(Field::kBatchIdFieldNumber, WireFormatLite::WIRETYPE_VARINT):
        ok = in.ReadVarint64(&batch.batch_id);
        break;
      case WireFormatLite::MakeTag(Field::kExpectedEndOffsetFieldNumber,
                                   WireFormatLite::WIRETYPE_VARINT):
        ok = in.ReadVarint64(&number);
        batch.expected_end = Offset(static_cast<int64_t>(number));
        break;
      case WireFormatLite::MakeTag(Field::kIsRepeatedFieldNumber, WireFormatLite::WIRETYPE_VARINT):
        ok = in.ReadVarint64(&number);
        batch.is_repeated = number != 0;
        break;
      case WireFormatLite::MakeTag(Field::kBatchFieldNumber,
                                   WireFormatLite::WIRETYPE_LENGTH_DELIMITED):
        if (has_batch) return InvalidArgument("ProduceBatch.batch is there twice");
        ok = ReadPart(&in, bytes, &batch.batch);
        has_batch = true;
        break;
      default:
        return UnknownField("ProduceBatch", tag >> 3);
    }
    if (!ok) return Malformed("a field of a batch");
  }
  if (!in.ConsumedEntireMessage()) return Malformed("a batch");
  if (!has_batch) return InvalidArgument("ProduceBatch.batch is missing");
  return batch;
}

}  // namespace

Result<ProduceRequestView> ParseProduceRequest(const Bytes& message) {
  using Field = v1::ProduceRequest;
  ProduceRequestView request;
  RETURN_IF_ERROR(CheckCount(message, {.number = Field::kBatchesFieldNumber, .name = "batches"}));
  CodedInputStream in = CodedInput(message);
  while (const uint32_t tag = in.ReadTag()) {
    Bytes part;
    switch (tag) {
      case WireFormatLite::MakeTag(Field::kInitFieldNumber,
                                   WireFormatLite::WIRETYPE_LENGTH_DELIMITED): {
        v1::ProduceInit init;
        if (!ReadPart(&in, message, &part) ||
            !init.ParseFromArray(part.data(), static_cast<int>(part.size()))) {
          return Malformed("init");
        }
        RETURN_IF_ERROR(CheckUnderstood(init));
        request.init_client_id = init.client_id();
        break;
      }
      case WireFormatLite::MakeTag(Field::kBatchesFieldNumber,
                                   WireFormatLite::WIRETYPE_LENGTH_DELIMITED): {
        if (!ReadPart(&in, message, &part)) return Malformed("a batch");
        ASSIGN_OR_RETURN(ProduceBatchView batch, ParseBatch(part));
        request.batches.push_back(std::move(batch));
        break;
      }
      default:
        return UnknownField("ProduceRequest", tag >> 3);
    }
  }
  if (!in.ConsumedEntireMessage()) return Malformed("its end");
  return request;
}

}  // namespace millrace::broker
