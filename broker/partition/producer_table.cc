#include "broker/partition/producer_table.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include <glog/logging.h>

#include "broker/controller/producer_id.h"
#include "proto/base/coverage.h"
#include "proto/base/mutants.h"

namespace millrace::broker {
namespace {

uint32_t NextSequence(const ProducedBatch& batch) {
  return (batch.first_sequence + batch.record_count) % kSequenceModulus;
}

// Whether `sequence` lies before `next` on the circle of sequences.
bool IsBefore(uint32_t sequence, uint32_t next) {
  const uint32_t distance = (next + kSequenceModulus - sequence) % kSequenceModulus;
  return distance != 0 && distance < kSequenceModulus / 2;
}

Offset LastOffset(const RememberedProducer& producer) {
  return producer.batches.back().base_offset;
}

bool HasOpen(const RememberedProducer& producer) {
  return producer.transaction != nullptr && producer.transaction->is_open;
}

// The place of the entry that last was the producer's, a batch or a marker, among those of others.
// At one offset there may be markers, and then a batch.
using LastHeard = std::pair<Offset, LogIndex>;
LastHeard LastHeardOf(const RememberedProducer& producer) {
  const LastHeard batch{LastOffset(producer), LogIndex(UINT64_MAX)};
  if (producer.transaction == nullptr || producer.transaction->is_open) return batch;
  return std::max(batch, {producer.transaction->end_offset, producer.transaction->end_index});
}

TransactionName NameOf(ProducerId producer, const ProducerTransaction& transaction) {
  return {.producer = producer, .epoch = transaction.epoch, .number = transaction.number};
}

std::string NameOf(ProducerId producer) { return "producer " + std::to_string(producer.value()); }

bool AreColumnsWhole(const internal::v1::ProducersSnapshot& saved) {
  const int producers = saved.producer_ids_size();
  const uint64_t batches =
      std::accumulate(saved.batch_counts().begin(), saved.batch_counts().end(), uint64_t{0});
  return saved.epochs_size() == producers && saved.batch_counts_size() == producers &&
         saved.first_sequences_size() == producers &&
         static_cast<uint64_t>(saved.record_counts_size()) == batches &&
         static_cast<uint64_t>(saved.base_offset_steps_size()) == batches &&
         static_cast<uint64_t>(saved.append_time_steps_ms_size()) == batches;
}

// The producer in row `i`, whose batches begin in row `first`. None if it is no state of one.
std::optional<RememberedProducer> Load(const internal::v1::ProducersSnapshot& saved, int i,
                                       int first) {
  RememberedProducer producer{
      .id = ProducerId(saved.producer_ids(i)), .epoch = saved.epochs(i), .batches = {}};
  ProducedBatch batch{.first_sequence = saved.first_sequences(i)};
  for (int row = first; row < first + static_cast<int>(saved.batch_counts(i)); ++row) {
    if (row > first) batch.first_sequence = NextSequence(batch);
    batch.record_count = saved.record_counts(row);
    int64_t offset = batch.base_offset.value();
    if (__builtin_add_overflow(offset, saved.base_offset_steps(row), &offset) ||
        __builtin_add_overflow(batch.append_time_ms, saved.append_time_steps_ms(row),
                               &batch.append_time_ms)) {
      return std::nullopt;
    }
    batch.base_offset = Offset(offset);
    producer.batches.push_back(batch);
  }
  if (producer.batches.empty()) return std::nullopt;
  return producer;
}

void Save(const ProducerTransaction& transaction, uint32_t place,
          internal::v1::ProducersSnapshot* saved) {
  internal::v1::ProducerTransactionSnapshot& out = *saved->add_transactions();
  out.set_place(place);
  out.set_epoch(transaction.epoch);
  out.set_number(transaction.number);
  out.set_first_offset(transaction.first_offset.value());
  out.set_since_ms(transaction.since_ms);
  if (transaction.is_open) return;
  out.set_end_index(transaction.end_index.value());
  out.set_end_offset(transaction.end_offset.value());
}

ProducerTransaction Load(const internal::v1::ProducerTransactionSnapshot& saved) {
  return {.epoch = saved.epoch(),
          .number = saved.number(),
          .is_open = saved.end_index() == 0,
          .first_offset = Offset(saved.first_offset()),
          .since_ms = saved.since_ms(),
          .end_index = LogIndex(saved.end_index()),
          .end_offset = Offset(saved.end_offset())};
}

bool CanBeOf(const ProducerTransaction& transaction, const RememberedProducer& producer) {
  const bool has_name = transaction.number > 0 && transaction.epoch <= producer.epoch;
  const bool is_in_order = transaction.is_open || transaction.first_offset < transaction.end_offset;
  return has_name && is_in_order && transaction.first_offset >= Offset(0) &&
         transaction.first_offset <= LastOffset(producer);
}

std::shared_ptr<const ProducerTransaction> OpenedBy(const TransactionName& sent,
                                                    const ProducedBatch& batch) {
  return std::make_shared<const ProducerTransaction>(
      ProducerTransaction{.epoch = sent.epoch,
                          .number = sent.number,
                          .first_offset = batch.base_offset,
                          .since_ms = batch.append_time_ms});
}

TransactionCheck Ended(const TransactionName& name) {
  TransactionCheck check;
  check.verdict = TransactionCheck::kRefused;
  check.error = TransactionHasEnded(name);
  return check;
}

SequenceCheck Refused(Status error) {
  SequenceCheck check;
  check.verdict = SequenceCheck::kRefused;
  check.error = std::move(error);
  return check;
}

SequenceCheck Known(SequenceCheck::Verdict verdict, const ProducedBatch& original,
                    LogIndex index = LogIndex()) {
  SequenceCheck check;
  check.verdict = verdict;
  check.original = original;
  check.original_index = index;
  return check;
}

}  // namespace

ProducerTable::~ProducerTable() {
  Clear();
  memory_->Remove(key_);
}

const RememberedProducer* ProducerTable::Find(ProducerId producer) const {
  const auto found = by_id_.find(producer);
  return found == by_id_.end() ? nullptr : &producers_[*found->second];
}

SequenceCheck ProducerTable::Check(const Sequence& sequence) const {
  const auto& [producer, epoch, first_sequence, is_repeated] = sequence;
  const RememberedProducer* applied = Find(producer);
  const auto flying = in_flight_.find(producer);
  Newest newest;
  if (flying != in_flight_.end()) {
    newest = {.epoch = flying->second.epoch, .batch = &flying->second.batches.back().batch};
  } else if (applied != nullptr) {
    newest = {.epoch = applied->epoch, .batch = &applied->batches.back()};
  } else {
    return CheckUnknown(sequence);
  }
  if (epoch > newest.epoch) {
    if (first_sequence == 0) return {};
    return Refused(OutOfRange(NameOf(producer) + " must begin its new epoch at sequence 0",
                              Reason::kSequenceGap));
  }
  if (epoch < newest.epoch) {
    return Refused(Aborted(NameOf(producer) + " epoch " + std::to_string(epoch) +
                               " is fenced by epoch " + std::to_string(newest.epoch),
                           Reason::kProducerFenced));
  }
  if (flying != in_flight_.end()) {
    for (const Flying& one : flying->second.batches) {
      if (one.batch.first_sequence != first_sequence) continue;
      return Known(SequenceCheck::kInFlight, one.batch, one.index);
    }
  }
  if (applied != nullptr && applied->epoch == epoch) {
    for (const ProducedBatch& batch : applied->batches) {
      if (batch.first_sequence != first_sequence) continue;
      return Known(SequenceCheck::kDuplicate, batch);
    }
  }
  const uint32_t next = NextSequence(*newest.batch);
  if (first_sequence == next) return {};
  if (IsBefore(first_sequence, next)) return Known(SequenceCheck::kOldDuplicate, {});
  return Refused(OutOfRange(NameOf(producer) + " sent sequence " + std::to_string(first_sequence) +
                                " where " + std::to_string(next) + " is expected",
                            Reason::kSequenceGap));
}

SequenceCheck ProducerTable::CheckUnknown(const Sequence& sequence) const {
  const bool may_be_stored =
      sequence.is_repeated && ProducerNumber(sequence.producer) <= forgotten_number_;
  if (sequence.first_sequence == 0 && !may_be_stored) return {};
  MILLRACE_SOMETIMES("a producer that was forgotten was told so");
  return Refused(FailedPrecondition(
      NameOf(sequence.producer) + " is not known here: begin a new epoch at sequence 0",
      Reason::kUnknownProducer));
}

const ProducerTransaction* ProducerTable::NewestTransaction(ProducerId producer) const {
  const auto appended = appended_.find(producer);
  if (appended != appended_.end()) return &appended->second.transaction;
  const RememberedProducer* applied = Find(producer);
  return applied == nullptr ? nullptr : applied->transaction.get();
}

TransactionCheck ProducerTable::CheckTransaction(const TransactionName& name) const {
  TransactionCheck check;
  // Where nobody has transactions nobody pays for them.
  if (name.number == 0 && open_.empty() && appended_.empty()) return check;
  const ProducerTransaction* newest = NewestTransaction(name.producer);
  const bool is_one_open = newest != nullptr && newest->is_open;
  if (name.number == 0) {
    if (!is_one_open) return check;
    check.verdict = TransactionCheck::kRefused;
    check.error = InvalidArgument(
        NameOf(name.producer) + " has transaction " + std::to_string(newest->number) +
        " open: until it has ended each batch says that it is part of it");
    return check;
  }
  if (newest != nullptr && NameOf(name.producer, *newest) == name) {
    return newest->is_open ? check : Ended(name);
  }
  if (newest != nullptr && name < NameOf(name.producer, *newest)) return Ended(name);
  check.verdict = is_one_open ? TransactionCheck::kAwaitMarker : TransactionCheck::kRegister;
  return check;
}

void ProducerTable::AddInFlight(const TransactionName& sent, const ProducedBatch& batch,
                                LogIndex index) {
  InFlight& known = in_flight_[sent.producer];
  if (sent.epoch > known.epoch) known.batches.clear();
  known.epoch = sent.epoch;
  known.batches.push_back({.index = index, .batch = batch});
  if (sent.number == 0 || OpenSince(sent).has_value()) return;
  appended_[sent.producer] = {.index = index,
                              .transaction = {.epoch = sent.epoch,
                                              .number = sent.number,
                                              .first_offset = batch.base_offset,
                                              .since_ms = batch.append_time_ms}};
}

std::optional<Offset> ProducerTable::OpenSince(const TransactionName& name) const {
  const ProducerTransaction* newest = NewestTransaction(name.producer);
  if (newest == nullptr || !newest->is_open) return std::nullopt;
  const bool is_meant =
      NameOf(name.producer, *newest) == name || MILLRACE_MUTANT(kMarkerEndsWhateverIsOpen);
  if (!is_meant) return std::nullopt;
  return newest->first_offset;
}

bool ProducerTable::HasEnded(const TransactionName& name) const {
  const RememberedProducer* applied = Find(name.producer);
  if (applied == nullptr || applied->transaction == nullptr) return false;
  const ProducerTransaction& newest = *applied->transaction;
  const TransactionName newest_name = NameOf(name.producer, newest);
  return name < newest_name || (name == newest_name && !newest.is_open);
}

void ProducerTable::AddEndInFlight(const End& end) {
  if (!OpenSince(end.name).has_value()) return;
  ProducerTransaction ended = *NewestTransaction(end.name.producer);
  ended.is_open = false;
  ended.end_index = end.index;
  ended.end_offset = end.offset;
  appended_[end.name.producer] = {.index = end.index, .transaction = ended};
}

std::optional<Offset> ProducerTable::ApplyEnd(const End& end) {
  Land(end.name.producer, end.index);
  const auto found = by_id_.find(end.name.producer);
  if (found == by_id_.end()) return std::nullopt;
  const RememberedProducer& known = producers_[*found->second];
  if (!HasOpen(known)) return std::nullopt;
  const bool is_meant = NameOf(known.id, *known.transaction) == end.name ||
                        MILLRACE_MUTANT(kMarkerEndsWhateverIsOpen);
  if (!is_meant) return std::nullopt;
  auto ended = std::make_shared<ProducerTransaction>(*known.transaction);
  ended->is_open = false;
  ended->end_index = end.index;
  ended->end_offset = end.offset;
  const Offset first_offset = ended->first_offset;
  producers_.Change(*found->second).transaction = std::move(ended);
  MakeRoom();
  by_append_.splice(by_append_.end(), open_, found->second);
  memory_->Grew(1);  // last, for it may forget any
  return first_offset;
}

void ProducerTable::Open(Order::iterator at,
                         std::shared_ptr<const ProducerTransaction> transaction) {
  RememberedProducer& producer = producers_.Change(*at);
  CHECK(!HasOpen(producer)) << NameOf(producer.id, *producer.transaction) << " is open, and "
                            << NameOf(producer.id, *transaction) << " begins";
  producer.transaction = std::move(transaction);
  open_.splice(open_.end(), by_append_, at);
  memory_->Shrank(1);
}

std::optional<Offset> ProducerTable::oldest_open() const {
  if (open_.empty()) return std::nullopt;
  return producers_[open_.front()].transaction->first_offset;
}

void ProducerTable::Apply(const TransactionName& sent, const ProducedBatch& batch, LogIndex index) {
  Land(sent.producer, index);
  Expire(batch.append_time_ms);
  const auto found = by_id_.find(sent.producer);
  if (found == by_id_.end()) {
    return Add({.id = sent.producer,
                .epoch = sent.epoch,
                .batches = {batch},
                .transaction = sent.number == 0 ? nullptr : OpenedBy(sent, batch)});
  }
  RememberedProducer& known = producers_.Change(*found->second);
  Note(&known, sent.epoch, batch);
  if (!HasOpen(known)) by_append_.splice(by_append_.end(), by_append_, found->second);
  if (sent.number == 0) return;
  const ProducerTransaction* newest = known.transaction.get();
  const bool is_new = newest == nullptr || NameOf(known.id, *newest) != sent;
  if (is_new) Open(found->second, OpenedBy(sent, batch));
}

// The batch is the producer's newest.
void ProducerTable::Note(RememberedProducer* producer, uint32_t epoch, const ProducedBatch& batch) {
  RememberedProducer& known = *producer;
  const bool follows_on =
      epoch == known.epoch && batch.first_sequence == NextSequence(known.batches.back());
  if (!follows_on) known.batches.clear();
  known.epoch = epoch;
  if (known.batches.size() == kProducerBatchesKept) known.batches.erase(known.batches.begin());
  known.batches.push_back(batch);
}

void ProducerTable::Add(RememberedProducer producer) {
  const bool is_open = HasOpen(producer);
  if (!is_open) MakeRoom();
  Order& order = is_open ? open_ : by_append_;
  order.push_back(producers_.size());
  by_id_.emplace(producer.id, std::prev(order.end()));
  producers_.PushBack(std::move(producer));
  if (!is_open) memory_->Grew(1);  // last, for it may forget any
}

// For one more.
void ProducerTable::MakeRoom() {
  if (by_append_.size() >= memory_->limits().per_partition) ForgetFront();
}

// What is applied up to `index` is not in flight any more.
void ProducerTable::Land(ProducerId producer, LogIndex index) {
  if (!appended_.empty()) {
    const auto appended = appended_.find(producer);
    if (appended != appended_.end() && appended->second.index <= index) appended_.erase(appended);
  }
  const auto flying = in_flight_.find(producer);
  if (flying == in_flight_.end()) return;
  std::vector<Flying>& batches = flying->second.batches;
  const auto first_left = std::find_if(batches.begin(), batches.end(),
                                       [index](const Flying& one) { return one.index > index; });
  batches.erase(batches.begin(), first_left);
  if (batches.empty()) in_flight_.erase(flying);
}

void ProducerTable::Expire(int64_t append_time_ms) {
  while (!by_append_.empty() &&
         Front().batches.back().append_time_ms < append_time_ms - kProducerExpiryMs) {
    DropFront();
  }
}

// To make room: whoever is forgotten so may still repeat what it sent.
void ProducerTable::ForgetFront() {
  forgotten_number_ = std::max(forgotten_number_, ProducerNumber(Front().id));
  DropFront();
}

void ProducerTable::DropFront() {
  const size_t place = by_append_.front();
  by_id_.erase(Front().id);
  by_append_.pop_front();
  RememberedProducer last = producers_.TakeBack();
  if (place < producers_.size()) {  // the last one goes where this one was
    *by_id_.at(last.id) = place;
    producers_.Change(place) = std::move(last);
  }
  memory_->Shrank(1);
}

void ProducerTable::ForgetOldest(const Oldest& oldest) {
  for (size_t forgotten = 0; forgotten < oldest.count_max && !by_append_.empty(); ++forgotten) {
    if (Front().batches.back().append_time_ms > oldest.append_time_ms_max) return;
    ForgetFront();
  }
}

void ProducerTable::AddAppendTimes(std::vector<int64_t>* times) const {
  for (const size_t place : by_append_) {
    times->push_back(producers_[place].batches.back().append_time_ms);
  }
}

void ProducerTable::Clear() {
  memory_->Shrank(by_append_.size());
  by_append_.clear();
  open_.clear();
  by_id_.clear();
  producers_.Clear();
  forgotten_number_ = 0;
  DropInFlight();
}

FrozenProducers ProducerTable::Freeze() const {
  FrozenProducers frozen;
  frozen.producers_ = producers_;
  frozen.forgotten_number_ = forgotten_number_;
  return frozen;
}

void FrozenProducers::SaveTo(internal::v1::PartitionState* state) const {
  state->set_forgotten_producer_number(forgotten_number_);
  std::vector<std::pair<LastHeard, const RememberedProducer*>> producers;
  size_t batch_count = 0;
  producers.reserve(producers_.size());
  producers_.ForEach([&](const RememberedProducer& producer) {
    producers.emplace_back(LastHeardOf(producer), &producer);
    batch_count += producer.batches.size();
  });
  std::sort(producers.begin(), producers.end());
  internal::v1::ProducersSnapshot& saved = *state->mutable_producers();
  saved.mutable_record_counts()->Reserve(static_cast<int>(batch_count));
  saved.mutable_base_offset_steps()->Reserve(static_cast<int>(batch_count));
  saved.mutable_append_time_steps_ms()->Reserve(static_cast<int>(batch_count));
  for (const auto& [last_heard, producer] : producers) {
    if (producer->transaction != nullptr) {
      Save(*producer->transaction, static_cast<uint32_t>(saved.producer_ids_size()), &saved);
    }
    saved.add_producer_ids(producer->id.value());
    saved.add_epochs(producer->epoch);
    saved.add_batch_counts(static_cast<uint32_t>(producer->batches.size()));
    saved.add_first_sequences(producer->batches.front().first_sequence);
    ProducedBatch before;
    for (const ProducedBatch& batch : producer->batches) {
      saved.add_record_counts(batch.record_count);
      saved.add_base_offset_steps(static_cast<uint64_t>(batch.base_offset - before.base_offset));
      saved.add_append_time_steps_ms(
          static_cast<uint64_t>(batch.append_time_ms - before.append_time_ms));
      before = batch;
    }
  }
}

Status ProducerTable::LoadFrom(const internal::v1::PartitionState& state) {
  Clear();
  forgotten_number_ = state.forgotten_producer_number();
  const internal::v1::ProducersSnapshot& saved = state.producers();
  if (!AreColumnsWhole(saved)) {
    return DataLoss("the partition's state in its segment is not whole about producers");
  }
  LastHeard last_heard{Offset(-1), LogIndex()};
  int first = 0;        // row of the producer's batches
  int transaction = 0;  // of those saved, the next one
  for (int i = 0; i < saved.producer_ids_size(); ++i) {
    std::optional<RememberedProducer> producer = Load(saved, i, first);
    bool is_whole = producer.has_value();
    if (is_whole && transaction < saved.transactions_size() &&
        saved.transactions(transaction).place() == static_cast<uint32_t>(i)) {
      producer->transaction =
          std::make_shared<const ProducerTransaction>(Load(saved.transactions(transaction++)));
      is_whole = CanBeOf(*producer->transaction, *producer);
    }
    if (!is_whole || LastHeardOf(*producer) <= last_heard || by_id_.contains(producer->id)) {
      return DataLoss("the partition's state in its segment is wrong about " +
                      NameOf(ProducerId(saved.producer_ids(i))));
    }
    first += static_cast<int>(producer->batches.size());
    last_heard = LastHeardOf(*producer);
    Add(*std::move(producer));
  }
  if (transaction < saved.transactions_size()) {
    return DataLoss("the partition's state in its segment has transactions of nobody");
  }
  open_.sort([this](size_t a, size_t b) {
    return producers_[a].transaction->first_offset < producers_[b].transaction->first_offset;
  });
  return {};
}

}  // namespace millrace::broker
