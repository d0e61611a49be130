#include "raft/host/pull_source.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/mutants.h"

namespace millrace::raft {
namespace {

// Of one answer, whatever is asked for: it stands beside live records on its lane.
constexpr uint64_t kRangeBytesMax = 4 << 20;
constexpr uint64_t kPieceBytes = 512 << 10;

}  // namespace

std::optional<PullSource::Range> PullSource::FindRange(const PullRoute& route) const {
  const Replica* replica = replicas_->Find(ReplicaId{route.group, route.source});
  if (replica == nullptr) return std::nullopt;
  if (replica->has_joined()) {
    const core::Raft& core = replica->core();
    return Range{.begin = core.log().begin(), .commit = core.commit_index(), .log = &core.log()};
  }
  const auto begin = environment_.log_store.readable_begin(route.group);
  if (!begin.has_value()) return std::nullopt;
  return Range{
      .begin = *begin, .commit = environment_.log_store.readable_end(route.group), .log = nullptr};
}

void PullSource::SendRange(BrokerId to, RangeReply reply) {
  const auto range = FindRange(reply.route);
  if (!range.has_value()) return;
  reply.begin = range->begin;
  reply.commit = range->commit;
  std::erase_if(reply.entries, [commit = range->commit](const core::Entry& entry) {
    return entry.index > commit;
  });
  // A pass that was done while they were read they may not have had.
  reply.compacted = reply.compacted.With(environment_.log_store.compacted(reply.route.group));
  environment_.transport.SendPeer(to, Lane::kBulk, PeerKind::kRangeReply, {Encode(reply)});
}

void PullSource::OnRangeRequest(const BrokerIncarnation& from, const Bytes& body) {
  const Result<RangeRequest> request = DecodeRangeRequest(body);
  const auto range = request.ok() ? FindRange(request->route) : std::nullopt;
  if (!range.has_value()) return;
  const LogIndex first = request->first;
  const uint64_t bytes_max = std::min(request->bytes_max, kRangeBytesMax);
  RangeReply reply{.route = request->route,
                   .compacted = environment_.log_store.compacted(request->route.group)};
  if (first <= range->begin.index || first > range->commit) {
    return SendRange(from.broker, std::move(reply));
  }
  // Memory has what was appended, files what compaction left of it, of which the answer tells.
  const bool is_compacted = reply.compacted.pass > 0 && !MILLRACE_MUTANT(kPulledFromMemory) &&
                            first <= environment_.log_store.readable_end(request->route.group);
  if (!is_compacted && range->log != nullptr && range->log->InTail(first)) {
    reply.entries = range->log->Slice(first, range->commit, bytes_max);
    return SendRange(from.broker, std::move(reply));
  }
  // Who asks proves each entry by the chain.
  environment_.log_store.Salvage(
      request->route.group, first, bytes_max,
      lifetime_.Guard([this, to = from.broker,
                       reply = std::move(reply)](Result<std::vector<core::Entry>> entries) mutable {
        // The begin may have passed it meanwhile: the answer tells so.
        const Code code = entries.status().code();
        if (!entries.ok() && code != Code::kOutOfRange) {
          LOG_EVERY_T(WARNING, 10)
              << "cannot read entries that another replica lacks "
              << replicas_->NameOf(reply.route.group) << " why=" << entries.status();
        }
        if (entries.ok()) reply.entries = *std::move(entries);
        reply.is_damaged = code == Code::kDataLoss;
        SendRange(to, std::move(reply));
      }));
}

void PullSource::OnStateRequest(const BrokerIncarnation& from, const Bytes& body) {
  const Result<StateRequest> request = DecodeStateRequest(body);
  if (!request.ok()) return;
  Replica* replica = replicas_->Find(ReplicaId{request->route.group, request->route.source});
  const bool has_state = replica != nullptr && replica->has_joined() && replica->apply_fault().ok();
  if (!has_state) return;
  const Bytes state = replica->machine().TakeSnapshot()();
  StatePiece piece{.route = request->route, .at = replica->applied_point(), .size = state.size()};
  std::tie(piece.configuration_index, piece.configuration) =
      replica->core().ConfigurationAt(piece.at.index);
  do {
    const uint64_t bytes = std::min(kPieceBytes, state.size() - piece.position);
    piece.piece = state.Slice(piece.position, bytes);
    environment_.transport.SendPeer(from.broker, Lane::kBulk, PeerKind::kStatePiece,
                                    {Encode(piece)});
    piece.position += bytes;
  } while (piece.position < state.size());
}

}  // namespace millrace::raft
