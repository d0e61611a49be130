#include "broker/service/subscribe_wire.h"

#include <array>
#include <utility>

#include "millrace/v1/consumer_service.pb.h"
#include "proto/record/record_batch.h"
#include "proto/record/wire.h"

namespace millrace::broker {
namespace {

constexpr uint8_t Varint(int field) {
  return WireTag(static_cast<unsigned>(field), WireType::kVarint);
}
constexpr uint8_t Delimited(int field) {
  return WireTag(static_cast<unsigned>(field), WireType::kLengthDelimited);
}

bool ParseBatch(std::string_view bytes, FetchedBatchView* batch) {
  using Field = v1::FetchedBatch;
  WireReader in(bytes);
  uint8_t tag = 0;
  uint64_t number = 0;
  uint32_t checksum = 0;
  while (!in.AtEnd()) {
    // A tag of more than one byte is of a field that is not known here; a newer leader may send it.
    static_cast<void>(in.ReadTag(&tag));
    switch (tag) {
      case Delimited(Field::kBatchFieldNumber):
        if (!in.ReadDelimited(&batch->batch)) return false;
        break;
      case WireTag(Field::kBatchChecksumFieldNumber, WireType::kFixed32):
        if (!in.ReadFixed32(&checksum)) return false;
        break;
      case Varint(Field::kRecordCountFieldNumber):
        if (!in.ReadVarint32(&batch->record_count)) return false;
        break;
      case Varint(Field::kBaseOffsetFieldNumber):
        if (!in.ReadVarint(&number)) return false;
        batch->base_offset = Offset(static_cast<int64_t>(number));
        break;
      case Varint(Field::kAppendTimeMsFieldNumber):
        if (!in.ReadVarint(&number)) return false;
        batch->append_time_ms = static_cast<int64_t>(number);
        break;
      case Varint(Field::kLeaderEpochFieldNumber):
        if (!in.ReadVarint(&number)) return false;
        break;
      case Varint(Field::kEndOffsetFieldNumber):
        if (!in.ReadVarint(&number)) return false;
        batch->end_offset = Offset(static_cast<int64_t>(number));
        break;
      default:
        if (!in.SkipField(tag)) return false;
    }
  }
  return true;
}

}  // namespace

Result<std::vector<FetchedBatchView>> ParseBatches(std::string_view batches) {
  std::vector<FetchedBatchView> views;
  WireReader in(batches);
  uint8_t tag = 0;
  std::string_view bytes;
  while (!in.AtEnd()) {
    FetchedBatchView& view = views.emplace_back();
    if (!in.ReadTag(&tag) || tag != Delimited(v1::FetchedPartition::kBatchesFieldNumber) ||
        !in.ReadDelimited(&bytes) || !ParseBatch(bytes, &view)) {
      return Internal("the leader's batches cannot be read");
    }
  }
  return views;
}

Result<Offset> RecordMessages::Add(const FetchedBatchView& batch, Offset from, Offset to) {
  const auto unreadable = [&batch](const Status& status) {
    return DataLoss("the batch at offset " + std::to_string(batch.base_offset.value()) +
                    " cannot be read: " + std::string(status.message()));
  };
  const Result<OpenedBatch> opened = OpenRecordBatch(batch.batch);
  if (!opened.ok()) return unreadable(opened.status());
  RecordIterator records(opened->view);
  RecordView record;
  while (records.Next(&record)) {
    const Offset offset = batch.base_offset + record.place;
    if (offset < from || offset >= to) continue;
    if (!AddRecord(offset, batch.append_time_ms, record.bytes)) return offset;
  }
  if (!records.status().ok()) return unreadable(records.status());
  return batch.end_offset;
}

bool RecordMessages::AddRecord(Offset offset, int64_t append_time_ms, std::string_view record) {
  using Field = v1::SubscribedRecord;
  std::array<char, 64> head;
  WireWriter fields(head.data());
  fields.Number(Field::kPartitionFieldNumber, partition_.value());
  fields.Number(Field::kOffsetFieldNumber, static_cast<uint64_t>(offset.value()));
  fields.Number(Field::kAppendTimeMsFieldNumber, static_cast<uint64_t>(append_time_ms));
  fields.Byte(Delimited(Field::kRecordFieldNumber));
  fields.Varint(record.size());
  const std::string_view before(head.data(), static_cast<size_t>(fields.position() - head.data()));
  std::array<char, 16> outer;
  WireWriter prefix(outer.data());
  prefix.Byte(Delimited(v1::SubscribeResponse::kRecordsFieldNumber));
  prefix.Varint(before.size() + record.size());
  const size_t size =
      static_cast<size_t>(prefix.position() - outer.data()) + before.size() + record.size();
  if (!message_.empty() && message_.size() + size > kMessageBytes) Flush();
  if (!has_room_) return false;
  message_.append(outer.data(), static_cast<size_t>(prefix.position() - outer.data()));
  message_.append(before);
  message_.append(record);
  return true;
}

void RecordMessages::Flush() {
  if (message_.empty()) return;
  has_room_ = send_(Bytes::Own(std::exchange(message_, {})));
}

}  // namespace millrace::broker
