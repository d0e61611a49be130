#include "tests/checker/key_history.h"

#include <algorithm>
#include <string>
#include <utility>

#include <glog/logging.h>

namespace millrace::checker {
namespace {

struct Completion {
  Value value = 0;
  OpType type = OpType::kInfo;
  std::optional<Offset> offset;
  size_t op = 0;
  int64_t time_ns = 0;
};

using Completions = std::map<Key, std::vector<Completion>>;

std::string Named(Key key, Value value) {
  return "value " + std::to_string(value) + " of key " + std::to_string(key.value());
}

template <typename T>
void SortUnique(std::vector<T>* items) {
  std::sort(items->begin(), items->end());
  items->erase(std::unique(items->begin(), items->end()), items->end());
}

// What a process reads a key by.
struct Assignment {
  uint64_t number = 0;
  int64_t begun_ns = kEver;
};

// Takes the deletes and offsets of a history, in its order.
class DeletionGatherer {
 public:
  explicit DeletionGatherer(std::map<Key, KeyHistory>* keys) : keys_(keys) {}

  Status Take(const Op& op) {
    if (op.type == OpType::kInvoke) return Invoke(op);
    const auto begun = begun_.find(op.process);
    if (begun == begun_.end()) {
      return InvalidArgument("process " + std::to_string(op.process) +
                             " completed what it never invoked");
    }
    for (const Deletion& deletion : op.deletes) RETURN_IF_ERROR(Complete(op, deletion));
    for (const LogStart& start : op.log_starts) {
      (*keys_)[start.key].log_starts.push_back({.process = op.process,
                                                .offset = start.offset,
                                                .begun_ns = begun->second,
                                                .seen_ns = op.time_ns});
    }
    begun_.erase(begun);
    return {};
  }

 private:
  Status Invoke(const Op& op) {
    if (!begun_.emplace(op.process, op.time_ns).second) {
      return InvalidArgument("process " + std::to_string(op.process) +
                             " has two deletes or offsets under way");
    }
    for (const Deletion& deletion : op.deletes) {
      std::vector<KeyDeletion>& deletions = (*keys_)[deletion.key].deletions;
      deletions.push_back({.process = op.process, .before = deletion.before});
      places_[{op.process, deletion.key}] = deletions.size() - 1;
    }
    return {};
  }

  Status Complete(const Op& op, const Deletion& deletion) {
    const auto place = places_.find({op.process, deletion.key});
    const bool is_known = place != places_.end() &&
                          (*keys_)[deletion.key].deletions[place->second].before == deletion.before;
    if (!is_known) {
      return InvalidArgument("process " + std::to_string(op.process) + " never invoked to delete " +
                             "key " + std::to_string(deletion.key.value()) + " before " +
                             std::to_string(deletion.before.value()));
    }
    KeyDeletion& known = (*keys_)[deletion.key].deletions[place->second];
    known.outcome = op.type;
    known.acknowledged_ns = op.time_ns;
    for (const LogStart& start : op.log_starts) {
      if (start.key == deletion.key) known.start = start.offset;
    }
    places_.erase(place);
    return {};
  }

  std::map<Key, KeyHistory>* const keys_;
  std::map<uint64_t, int64_t> begun_;                  // by process
  std::map<std::pair<uint64_t, Key>, size_t> places_;  // of those under way
};

// One walk over the history, in its order; completions are kept aside until the writes are sorted.
Status Gather(const History& history, std::map<Key, KeyHistory>* keys, Completions* completions) {
  std::map<std::pair<uint64_t, Key>, Assignment> assignments;  // by process
  DeletionGatherer deletions(keys);
  for (size_t at = 0; at < history.size(); ++at) {
    const Op& op = history[at];
    if (op.kind == OpKind::kDelete || op.kind == OpKind::kOffsets) {
      RETURN_IF_ERROR(deletions.Take(op));
      continue;
    }
    if (op.kind == OpKind::kAssign && op.type == OpType::kOk) {
      for (const Key key : op.keys) {
        Assignment& assignment = assignments[{op.process, key}];
        ++assignment.number;
        assignment.begun_ns = op.time_ns;
      }
    }
    for (const Send& send : op.sends) {
      if (op.type == OpType::kInvoke) {
        std::vector<Write>& writes = (*keys)[send.key].writes;
        writes.push_back({.value = send.value,
                          .process = op.process,
                          .invoked_by = at,
                          .place = writes.size(),
                          .invoked_ns = op.time_ns});
      } else {
        (*completions)[send.key].push_back({send.value, op.type, send.offset, at, op.time_ns});
      }
    }
    for (const Read& read : op.reads) {
      const Assignment& by = assignments[{op.process, read.key}];
      (*keys)[read.key].reads.push_back({.process = op.process,
                                         .assignment = by.number,
                                         .begun_ns = by.begun_ns,
                                         .op = at,
                                         .offset = read.offset,
                                         .value = read.value});
    }
    for (const HighWatermark& seen : op.high_watermarks) {
      (*keys)[seen.key].high_watermarks.push_back({op.process, seen.offset});
    }
    for (const LogStart& start : op.log_starts) {
      (*keys)[start.key].log_starts.push_back(
          {.process = op.process,
           .offset = start.offset,
           .begun_ns = assignments[{op.process, start.key}].begun_ns,
           .seen_ns = op.time_ns});
    }
  }
  return {};
}

Status SortWrites(Key key, std::vector<Write>* writes) {
  std::stable_sort(writes->begin(), writes->end(),
                   [](const Write& a, const Write& b) { return a.value < b.value; });
  for (size_t i = 1; i < writes->size(); ++i) {
    const Value value = (*writes)[i].value;
    if ((*writes)[i - 1].value == value) {
      return InvalidArgument(Named(key, value) + " was sent twice: values must be unique");
    }
  }
  return {};
}

Status Complete(Key key, const std::vector<Completion>& completions, KeyHistory* history) {
  for (const Completion& completion : completions) {
    Write* write = history->FindWrite(completion.value);
    if (write == nullptr) {
      return InvalidArgument(Named(key, completion.value) + " completed, but was never invoked");
    }
    const bool is_acknowledged_before = write->outcome == OpType::kOk;
    if (completion.type == OpType::kOk && !is_acknowledged_before) {
      write->acknowledged_ns = completion.time_ns;
    }
    if (!is_acknowledged_before) write->outcome = completion.type;
    write->completed_by = completion.op;
    if (completion.offset.has_value()) {
      write->offsets.push_back(*completion.offset);
      if (!write->offset.has_value()) write->offset = completion.offset;
    }
  }
  for (Write& write : history->writes) SortUnique(&write.offsets);
  return {};
}

// Jepsen's rule for what is in the log although nobody was told: a batch of which anything was
// read.
void DecideCommitted(KeyHistory* history) {
  std::vector<size_t> read_batches;
  for (const KeyRead& read : history->reads) {
    if (!read.value.has_value()) continue;
    Write* write = history->FindWrite(*read.value);
    if (write == nullptr) continue;
    write->is_read = true;
    if (!write->offset.has_value()) write->offset = read.offset;
    if (write->completed_by.has_value()) read_batches.push_back(*write->completed_by);
  }
  SortUnique(&read_batches);
  for (Write& write : history->writes) {
    const bool has_read_batch =
        write.completed_by.has_value() &&
        std::binary_search(read_batches.begin(), read_batches.end(), *write.completed_by);
    write.is_committed = write.outcome == OpType::kOk ||
                         (write.outcome == OpType::kInfo && (write.is_read || has_read_batch));
  }
}

void BuildLog(KeyHistory* history) {
  for (const KeyRead& read : history->reads) {
    history->known_offsets.push_back(read.offset);
    if (read.value.has_value()) history->log.emplace_back(read.offset, *read.value);
  }
  for (const Write& write : history->writes) {
    if (!write.is_committed) continue;
    for (const Offset offset : write.offsets) {
      history->known_offsets.push_back(offset);
      history->log.emplace_back(offset, write.value);
    }
  }
  SortUnique(&history->known_offsets);
  SortUnique(&history->log);
}

}  // namespace

Offset KeyHistory::gone_before() const {
  Offset gone;
  for (const KeyDeletion& deletion : deletions) {
    if (deletion.outcome != OpType::kFail) gone = std::max(gone, deletion.before);
  }
  return gone;
}

Write* KeyHistory::FindWrite(Value value) {
  const auto at = std::lower_bound(writes.begin(), writes.end(), value,
                                   [](const Write& write, Value v) { return write.value < v; });
  return at != writes.end() && at->value == value ? &*at : nullptr;
}

size_t KeyHistory::IndexOf(Offset offset) const {
  const auto at = std::lower_bound(known_offsets.begin(), known_offsets.end(), offset);
  CHECK(at != known_offsets.end() && *at == offset) << "offset " << offset << " is not known";
  return static_cast<size_t>(at - known_offsets.begin());
}

Result<std::map<Key, KeyHistory>> SplitByKey(const History& history) {
  std::map<Key, KeyHistory> keys;
  Completions completions;
  RETURN_IF_ERROR(Gather(history, &keys, &completions));
  for (auto& [key, of_key] : completions) {
    RETURN_IF_ERROR(SortWrites(key, &keys[key].writes));
    RETURN_IF_ERROR(Complete(key, of_key, &keys[key]));
  }
  for (auto& [key, key_history] : keys) {
    if (!completions.contains(key)) RETURN_IF_ERROR(SortWrites(key, &key_history.writes));
    DecideCommitted(&key_history);
    BuildLog(&key_history);
  }
  return keys;
}

}  // namespace millrace::checker
