#include "broker/service/fetch/subscribe_wire.h"

#include <array>
#include <utility>

#include "millrace/v1/consumer_service.pb.h"
#include "proto/record/record_batch.h"
#include "proto/record/wire.h"

namespace millrace::broker {
namespace {

constexpr uint8_t Delimited(int field) {
  return WireTag(static_cast<unsigned>(field), WireType::kLengthDelimited);
}

}  // namespace

Result<Offset> RecordMessages::Add(const FetchedBatch& batch, Offset from, Offset to) {
  const auto unreadable = [&batch](const Status& status) {
    return DataLoss("the batch at offset " + std::to_string(batch.header.base_offset.value()) +
                    " cannot be read: " + std::string(status.message()));
  };
  const Result<OpenedBatch> opened = OpenRecordBatch(batch.payload.view());
  if (!opened.ok()) return unreadable(opened.status());
  RecordIterator records(opened->view);
  RecordView record;
  while (records.Next(&record)) {
    const Offset offset = batch.header.base_offset + record.place;
    if (offset < from || offset >= to) continue;
    if (!AddRecord(offset, batch.header.append_time_ms, record.bytes)) return offset;
    last_ = offset;
    term_ = batch.header.term;
  }
  if (!records.status().ok()) return unreadable(records.status());
  return batch.header.base_offset + batch.header.offset_span;
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
  if (!message_.empty() && message_.size() + size > message_bytes_) Flush();
  if (!has_room_) return false;
  message_.append(outer.data(), static_cast<size_t>(prefix.position() - outer.data()));
  message_.append(before);
  message_.append(record);
  return true;
}

void RecordMessages::Flush() {
  if (message_.empty()) return;
  has_room_ =
      send_({.bytes = Bytes::Own(std::exchange(message_, {})), .end = last_ + 1, .term = term_});
}

}  // namespace millrace::broker
