#include "storage/logstore/scrubber.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "raft/runtime/pace.h"
#include "raft/runtime/run_on.h"

namespace millrace::storage {
namespace {

constexpr uint64_t kPieceBytes = 1 << 20;
// A broker that just came up has other things to do.
constexpr Duration kFirstWait = std::chrono::minutes(1);

}  // namespace

void JournalLogStore::Scrubber::After(Duration wait, void (Scrubber::*then)()) {
  store_.environment_.shard.RunAfter(wait,
                                     store_.lifetime_.Guard([this, then] { (this->*then)(); }));
}

void JournalLogStore::Scrubber::Start() {
  if (store_.options_.scrub_bytes_per_second == 0) return;
  After(std::min(kFirstWait, store_.options_.scrub_interval), &Scrubber::BeginRound);
}

void JournalLogStore::Scrubber::BeginRound() {
  After(store_.options_.scrub_interval, &Scrubber::BeginRound);
  if (groups_left_ > 0) return;  // the last one goes on
  groups_left_ = store_.groups_.size();
  if (groups_left_ == 0) return;
  Next();
}

void JournalLogStore::Scrubber::NextGroup() {
  next_ = LogIndex();
  const auto after = store_.groups_.upper_bound(group_);
  group_ = after == store_.groups_.end() ? RaftGroupId() : after->first;
  if (--groups_left_ > 0) return Next();
  MILLRACE_SOMETIMES("all segments of a broker were scrubbed");
}

void JournalLogStore::Scrubber::Next() {
  const auto at = store_.groups_.lower_bound(group_);
  if (at == store_.groups_.end()) return NextGroup();
  group_ = at->first;
  const Group& group = at->second;
  const bool is_read = !group.is_faulty && group.stall.ok() && !group.sealed.empty();
  if (!is_read || next_ > group.sealed.back().end.index) return NextGroup();
  next_ = std::max(next_, group.log.begin.index + 1);
  store_.OnSegments(
      [segments = group.segments, first = next_,
       done = RunOn(
           store_.environment_.shard,
           store_.lifetime_.Guard([this, id = group_](Result<GroupSegments::Scrubbed> scrubbed) {
             OnScrubbed(id, std::move(scrubbed));
           }))]() mutable { segments->ScrubFrom(first, kPieceBytes, std::move(done)); });
}

void JournalLogStore::Scrubber::OnScrubbed(RaftGroupId group,
                                           Result<GroupSegments::Scrubbed> scrubbed) {
  CHECK_EQ(group, group_);
  if (!scrubbed.ok()) {
    LOG_EVERY_T(WARNING, 60) << "cannot scrub a group's segments just now group=" << group
                             << " why=" << scrubbed.status();
    return NextGroup();
  }
  next_ = scrubbed->last + 1;
  After(TimeOf(scrubbed->bytes, store_.options_.scrub_bytes_per_second), &Scrubber::Next);
}

}  // namespace millrace::storage
