// Entries read back out of the journal's files, for segments that have to be written again: until a
// segment's sync succeeded the journal is the only place that certainly has them.
#include <algorithm>
#include <utility>

#include "proto/frame/frame.h"
#include "raft/codec/entry_codec.h"
#include "storage/journal/journal.h"

namespace millrace::storage::journal {

void JournalClient::ReadBack(const ReadBackRequest& request, Executor& done_on,
                             raft::EntriesDone done) const {
  executor_->Post(
      [shared = shared_, request, done_on = &done_on, done = std::move(done)]() mutable {
        if (shared->journal == nullptr) return;
        shared->journal->ReadBack(request, *done_on, std::move(done));
      });
}

void Journal::ReadBack(const ReadBackRequest& request, Executor& done_on, raft::EntriesDone done) {
  owner_.Check();
  if (is_failed_) return;
  auto reading = std::make_shared<Reading>();
  reading->request = request;
  reading->done_on = &done_on;
  reading->done = std::move(done);
  waiting_readings_.push_back(std::move(reading));
  if (!is_busy_) ServeReadings();
}

// While nothing is being written: what the ledger knows is durable then, and where it says.
void Journal::ServeReadings() {
  CHECK(!is_busy_);
  std::vector<std::shared_ptr<Reading>> left;
  for (std::shared_ptr<Reading>& reading : std::exchange(waiting_readings_, {})) {
    const ReadBackRequest& request = reading->request;
    if (!ledger_.IsLive(request.replica)) {
      Finish(*reading, NotFound("the journal keeps nothing of group " +
                                std::to_string(request.replica.group.value())));
      continue;
    }
    const auto& entries = ledger_.at(request.replica.group).entries;
    uint64_t bytes = 0;
    for (auto at = entries.find(request.first); at != entries.end(); ++at) {
      bytes += at->second.place.size;
      if (!reading->places.empty() && bytes > request.bytes_max) break;
      reading->places.push_back(at->second.place);
    }
    if (reading->places.empty()) {
      left.push_back(std::move(reading));
    } else {
      ReadOn(std::move(reading));
    }
  }
  std::move(left.begin(), left.end(), std::back_inserter(waiting_readings_));
}

void Journal::ReadOn(std::shared_ptr<Reading> reading) {
  const size_t at = reading->entries.size();
  if (at == reading->places.size()) return Finish(*reading, Status::Ok());
  const EntryPlace& place = reading->places[at];
  const auto live = live_.find(place.file);
  // Copied forward meanwhile, and its file given back: it is looked up again.
  if (live == live_.end()) return ReadAgain(std::move(reading));
  const std::shared_ptr<File> file = live->second.file;
  file->Read(place.offset, place.size,
             lifetime_.Guard([this, file, reading](const Result<Bytes>& frame) mutable {
               if (!is_failed_) OnReadBack(std::move(reading), frame);
             }));
}

void Journal::OnReadBack(std::shared_ptr<Reading> reading, const Result<Bytes>& frame) {
  if (!frame.ok()) return Finish(*reading, frame.status());
  const size_t at = reading->entries.size();
  if (!live_.contains(reading->places[at].file)) return ReadAgain(std::move(reading));
  Result<raft::core::Entry> entry = raft::DecodeEntry(*frame);
  if (!entry.ok()) {
    return Finish(*reading, entry.status().With("read an entry back from the journal"));
  }
  if (entry->frame.header().group != reading->request.replica.group ||
      entry->index != reading->request.first + at) {
    return Finish(*reading,
                  DataLoss("the journal's file holds another entry than was written there"));
  }
  reading->entries.push_back(std::move(*entry));
  ReadOn(std::move(reading));
}

void Journal::ReadAgain(std::shared_ptr<Reading> reading) {
  if (!reading->entries.empty()) return Finish(*reading, Status::Ok());
  reading->places.clear();
  waiting_readings_.push_back(std::move(reading));
  if (!is_busy_) ServeReadings();
}

// Ok with what was read until then, which is something.
void Journal::Finish(Reading& reading, const Status& status) {
  using Outcome = Result<std::vector<raft::core::Entry>>;
  Outcome outcome = reading.entries.empty() ? Outcome(status) : Outcome(std::move(reading.entries));
  reading.done_on->Post([done = std::move(reading.done), outcome = std::move(outcome)]() mutable {
    done(std::move(outcome));
  });
}

}  // namespace millrace::storage::journal
