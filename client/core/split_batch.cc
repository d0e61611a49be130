#include "client/core/split_batch.h"

#include <optional>
#include <utility>

#include <glog/logging.h>

#include "proto/record/record_batch.h"

namespace millrace::client {
namespace {

std::vector<HeaderView> HeadersOf(const RecordView& record) {
  std::vector<HeaderView> headers;
  headers.reserve(record.header_count);
  HeaderIterator iterator(record);
  HeaderView header;
  while (iterator.Next(&header)) headers.push_back(header);
  return headers;
}

}  // namespace

std::vector<BatchPart> SplitBatch(const Bytes& batch, const SplitOptions& options) {
  const Result<OpenedBatch> opened = OpenRecordBatch(batch.view());
  CHECK(opened.ok()) << "a batch of our own: " << opened.status();
  const RecordBatchView& whole = opened->view;
  const RecordBatchBuilder::Options part_options{.records_bytes_max = options.records_bytes_max,
                                                 .initial_bytes = 1024,
                                                 .encoding = options.encoding};
  std::vector<BatchPart> parts;
  uint32_t sequence = whole.first_sequence;
  std::optional<RecordBatchBuilder> builder(part_options);
  const auto seal = [&] {
    BatchPart& part = parts.emplace_back();
    part.record_count = builder->record_count();
    part.records_bytes = builder->records_bytes();
    part.bytes = std::move(*builder).Finish({.producer_id = whole.producer_id,
                                             .producer_epoch = whole.producer_epoch,
                                             .first_sequence = sequence,
                                             .transaction_number = whole.transaction_number,
                                             .destination = options.destination,
                                             .compression = options.compression});
    sequence = (sequence + part.record_count) % kRecordSequenceModulus;
  };
  RecordIterator iterator(whole);
  RecordView record;
  while (iterator.Next(&record)) {
    const std::vector<HeaderView> headers = HeadersOf(record);
    const NewRecord copy{.key = record.key,
                         .value = record.value,
                         .headers = headers,
                         .timestamp_ms = record.timestamp_ms};
    if (builder->TryAppend(copy)) continue;
    seal();
    builder.emplace(part_options);
    CHECK(builder->TryAppend(copy)) << "the first record always fits";
  }
  CHECK(iterator.status().ok()) << "a batch of our own: " << iterator.status();
  seal();
  return parts;
}

}  // namespace millrace::client
