#include "tests/simulation/broker/offsets_load.h"

#include <algorithm>
#include <chrono>

#include "proto/base/coverage.h"

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr size_t kGroups = 6;

template <typename Response>
std::optional<Response> Parsed(const Result<Bytes>& answer) {
  Response response;
  if (!answer.ok()) return std::nullopt;
  CHECK(response.ParseFromArray(answer->data(), static_cast<int>(answer->size())));
  return response;
}

}  // namespace

OffsetsLoad::OffsetsLoad(SimWorld& world, SimCluster& cluster, History& history, Random random,
                         std::function<std::vector<Offset>()> ends)
    : world_(world),
      cluster_(cluster),
      history_(history),
      random_(random),
      ends_(std::move(ends)),
      process_(world.AddProcess("committers")),
      connector_(cluster.edge(), process_) {
  for (size_t i = 0; i < kGroups; ++i) {
    committers_.push_back({.group = "group" + std::to_string(i), .offsets = {}});
  }
}

void OffsetsLoad::Start() {
  for (Committer& committer : committers_) Next(&committer);
}

bool OffsetsLoad::is_idle() const {
  return std::ranges::all_of(committers_, [](const Committer& one) { return one.is_done; });
}

void OffsetsLoad::Next(Committer* committer) {
  process_.executor().RunAfter(milliseconds(random_.Between(5, 200)), [this, committer] {
    const uint64_t drawn = is_stopped_ ? 0 : random_.Below(12);
    if (drawn < 4) return Fetch(committer);
    if (drawn == 4) return Reset(committer);
    if (drawn == 5) return Delete(committer);
    Commit(committer);
  });
}

template <typename Request>
void OffsetsLoad::Call(const std::string& method, const Request& request, client::RpcDone done) {
  const std::vector<std::string> addresses = cluster_.addresses();
  connector_.Call({.address = addresses[random_.Below(addresses.size())],
                   .method = "/millrace.v1.GroupService/" + method,
                   .body = Bytes::Own(request.SerializeAsString()),
                   .timeout = milliseconds(random_.Between(50, 4000))},
                  std::move(done));
}

// Not back, but for what is open: whether that counts is not known.
void OffsetsLoad::Commit(Committer* committer) {
  const std::vector<Offset> ends = ends_();
  v1::CommitOffsetsRequest request;
  request.set_group(committer->group);
  auto& topic = *request.add_topics();
  topic.set_topic("t");
  for (uint32_t partition = 0; partition < ends.size(); ++partition) {
    if (random_.OneIn(2)) continue;
    Known& known = committer->offsets[partition];
    int64_t offset = known.acknowledged.value_or(0);
    if (!known.open.empty()) offset = std::max(offset, *known.open.rbegin());
    offset = std::min(offset + static_cast<int64_t>(random_.Below(20)), ends[partition].value());
    auto& commit = *topic.add_partitions();
    commit.set_partition(partition);
    commit.set_offset(offset);
    known.open.insert(offset);
  }
  Call("CommitOffsets", request, [this, committer, request](const Result<Bytes>& answer) {
    OnCommitted(committer, request, answer);
    Next(committer);
  });
}

void OffsetsLoad::OnCommitted(Committer* committer, const v1::CommitOffsetsRequest& request,
                              const Result<Bytes>& answer) {
  const auto response = Parsed<v1::CommitOffsetsResponse>(answer);
  MILLRACE_SOMETIMES_IF("a commit had no answer", !response.has_value());
  if (!response.has_value()) return;
  std::set<uint32_t> refused;
  for (const auto& one : response->refused()) refused.insert(one.partition());
  for (const auto& commit : request.topics(0).partitions()) {
    // What is refused may have been tried before by its broker, and counts if that came through.
    if (refused.contains(commit.partition())) continue;
    Known& known = committer->offsets[commit.partition()];
    known.Close(commit.offset());
    known.acknowledged = commit.offset();
    MILLRACE_SOMETIMES("an offset was committed");
  }
}

// To the beginning, of one partition.
void OffsetsLoad::Reset(Committer* committer) {
  const auto partition = static_cast<uint32_t>(random_.Below(3));
  v1::ResetOffsetsRequest request;
  request.set_group(committer->group);
  request.set_offset(0);
  auto& topic = *request.add_topics();
  topic.set_topic("t");
  topic.add_partitions(partition);
  Known& known = committer->offsets[partition];
  known.open.insert(0);
  Call("ResetOffsets", request, [this, committer, partition](const Result<Bytes>& answer) {
    const auto response = Parsed<v1::ResetOffsetsResponse>(answer);
    if (response.has_value()) {
      Known& moved = committer->offsets[partition];
      moved.Close(0);
      // Where the log starts later it is refused.
      if (!response->offsets(0).has_error()) moved.acknowledged = 0;
    }
    Next(committer);
  });
}

void OffsetsLoad::Delete(Committer* committer) {
  const auto partition = static_cast<uint32_t>(random_.Below(3));
  v1::DeleteOffsetsRequest request;
  request.set_group(committer->group);
  auto& topic = *request.add_topics();
  topic.set_topic("t");
  topic.add_partitions(partition);
  ++committer->offsets[partition].open_deletions;
  Call("DeleteOffsets", request, [this, committer, partition](const Result<Bytes>& answer) {
    if (Parsed<v1::DeleteOffsetsResponse>(answer).has_value()) {
      Known& deleted = committer->offsets[partition];
      --deleted.open_deletions;
      deleted.acknowledged.reset();
    }
    Next(committer);
  });
}

void OffsetsLoad::Fetch(Committer* committer) {
  v1::FetchOffsetsRequest request;
  request.set_group(committer->group);
  Call("FetchOffsets", request,
       [this, committer, was_stopped = is_stopped_](const Result<Bytes>& answer) {
         OnFetched(committer, answer);
         committer->is_done = was_stopped && answer.ok();
         if (!committer->is_done) Next(committer);
       });
}

void OffsetsLoad::OnFetched(Committer* committer, const Result<Bytes>& answer) {
  const auto response = Parsed<v1::FetchOffsetsResponse>(answer);
  if (!response.has_value()) return;
  std::map<uint32_t, int64_t> fetched;
  for (const auto& topic : response->topics()) {
    for (const auto& one : topic.partitions()) fetched[one.partition()] = one.offset();
  }
  for (const auto& [partition, known] : committer->offsets) {
    const auto found = fetched.find(partition);
    Check(*committer, partition,
          found == fetched.end() ? std::nullopt : std::optional(found->second));
  }
}

void OffsetsLoad::Check(const Committer& committer, uint32_t partition,
                        std::optional<int64_t> offset) {
  const Known& known = committer.offsets.at(partition);
  const std::string name = committer.group + " partition " + std::to_string(partition);
  if (!offset.has_value()) {
    if (!known.acknowledged.has_value() || known.open_deletions > 0) return;
    return history_.SawOffset("none is fetched of " + name + ", which has committed " +
                              std::to_string(*known.acknowledged));
  }
  if (offset == known.acknowledged || known.open.contains(*offset)) return;
  history_.SawOffset(std::to_string(*offset) + " is fetched of " + name + ", which has committed " +
                     std::to_string(known.acknowledged.value_or(-1)));
}

}  // namespace millrace::sim
