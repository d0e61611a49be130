#include "client/api/transaction_rows.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <tuple>
#include <utility>

#include "client/api/kind_of.h"
#include "client/core/error.h"

namespace millrace::internal {
namespace {

// What is known of a partition, by topic_id and partition.
using Offsets = std::map<std::pair<uint64_t, uint32_t>, TransactionOffset>;

TransactionOffset OffsetOf(const v1::PartitionOffsets& range) {
  if (range.has_error()) return {.status = client::FromError(range.error())};
  return {.last_stable = range.end_offset(), .end = range.high_watermark()};
}

Offsets ByPlace(const client::RangesByTopic& ranges) {
  Offsets by_place;
  for (const auto& [topic_id, listed] : ranges) {
    if (!listed.ok()) continue;
    for (const v1::PartitionOffsets& range : listed->partitions()) {
      by_place[{topic_id, range.partition()}] = OffsetOf(range);
    }
  }
  return by_place;
}

// Of one of which no range tells.
Status WhyUnknown(const TransactionPartition& partition, const client::RangesByTopic& ranges) {
  const auto found = ranges.find(partition.topic_id);
  if (found == ranges.end()) return NotFound("its topic is not there", Reason::kUnknownTopic);
  RETURN_IF_ERROR(found->second.status());
  return Internal("the broker's answer does not have it");
}

}  // namespace

Result<v1::ListTransactionsRequest> RequestOf(const TransactionQuery& query) {
  v1::ListTransactionsRequest request;
  request.set_prefix(query.prefix);
  for (const TransactionState state : query.states) {
    if (state == TransactionState::kUnknown) {
      return InvalidArgument("states: kUnknown is none that can be asked for");
    }
    request.add_states(static_cast<v1::TransactionState>(state));
  }
  return request;
}

std::vector<TransactionListing> ListingsOf(const v1::ListTransactionsResponse& listed) {
  std::vector<TransactionListing> rows;
  rows.reserve(static_cast<size_t>(listed.transactions_size()));
  for (const v1::ListedTransaction& one : listed.transactions()) {
    rows.push_back({.name = {.transactional_id = one.transactional_id(),
                             .producer_id = one.producer_id(),
                             .producer_epoch = one.producer_epoch(),
                             .number = one.transaction_number()},
                    .state = KindOf(one.state(), TransactionState::kAborting),
                    .since_ms = one.since_ms()});
  }
  std::ranges::sort(rows, {}, [](const TransactionListing& row) -> const std::string& {
    return row.name.transactional_id;
  });
  return rows;
}

TransactionDescription DescriptionOf(const std::string& transactional_id,
                                     const v1::DescribeTransactionResponse& described) {
  TransactionDescription transaction{
      .transactional_id = transactional_id,
      .state = KindOf(described.state(), TransactionState::kAborting),
      .producer_id = described.producer_id(),
      .producer_epoch = described.producer_epoch(),
      .time_limit = std::chrono::milliseconds(described.transaction_timeout_ms())};
  if (described.ongoing_number() > 0) {
    transaction.ongoing = {.number = described.ongoing_number(),
                           .since_ms = described.ongoing_since_ms()};
  }
  if (described.last_number() > 0) {
    transaction.last = {.number = described.last_number(),
                        .outcome = KindOf(described.last_result(), TransactionOutcome::kAborted),
                        .reason = described.last_reason()};
  }
  transaction.has_group_offsets = described.has_group_offsets();
  for (const v1::TransactionPartition& partition : described.partitions()) {
    transaction.partitions.push_back({.topic = partition.topic(),
                                      .topic_id = partition.topic_id(),
                                      .partition = partition.partition()});
  }
  return transaction;
}

v1::AbortTransactionRequest RequestOf(const TransactionName& name) {
  v1::AbortTransactionRequest request;
  request.set_transactional_id(name.transactional_id);
  request.set_producer_id(name.producer_id);
  request.set_producer_epoch(name.producer_epoch);
  request.set_transaction_number(name.number);
  return request;
}

client::PartitionsByTopic PartitionsOf(const TransactionDescription& transaction) {
  client::PartitionsByTopic partitions;
  for (const TransactionPartition& one : transaction.partitions) {
    if (one.topic_id != 0) partitions[one.topic_id].push_back(one.partition);
  }
  return partitions;
}

std::vector<TransactionOffset> OffsetRowsOf(const TransactionDescription& transaction,
                                            const client::RangesByTopic& ranges) {
  const Offsets known = ByPlace(ranges);
  std::vector<TransactionOffset> rows;
  rows.reserve(transaction.partitions.size());
  for (const TransactionPartition& partition : transaction.partitions) {
    const auto found = known.find({partition.topic_id, partition.partition});
    TransactionOffset& row = rows.emplace_back();
    if (found != known.end()) {
      row = found->second;
    } else {
      row.status = WhyUnknown(partition, ranges);
    }
    row.partition = partition;
  }
  std::ranges::sort(rows, {}, [](const TransactionOffset& row) {
    return std::tie(row.partition.topic, row.partition.partition);
  });
  return rows;
}

}  // namespace millrace::internal
