#include "raft/host/pull_source.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

namespace millrace::raft {
namespace {

// Of one answer, whatever is asked for: it stands beside live records on its lane.
constexpr uint64_t kRangeBytesMax = 4 << 20;
constexpr uint64_t kPieceBytes = 512 << 10;

}  // namespace

Replica* PullSource::Find(const PullRoute& route) const {
  Replica* replica = replicas_->Find(ReplicaId{route.group, route.source});
  return replica != nullptr && replica->has_joined() ? replica : nullptr;
}

void PullSource::SendRange(BrokerId to, const PullRoute& route, std::vector<core::Entry> entries) {
  const Replica* replica = Find(route);
  if (replica == nullptr) return;
  const core::Raft& core = replica->core();
  std::erase_if(entries, [commit = core.commit_index()](const core::Entry& entry) {
    return entry.index > commit;
  });
  environment_.transport.SendPeer(to, Lane::kBulk, PeerKind::kRangeReply,
                                  {Encode(RangeReply{.route = route,
                                                     .begin = core.log().begin(),
                                                     .commit = core.commit_index(),
                                                     .entries = std::move(entries)})});
}

void PullSource::OnRangeRequest(const BrokerIncarnation& from, const Bytes& body) {
  const Result<RangeRequest> request = DecodeRangeRequest(body);
  const Replica* replica = request.ok() ? Find(request->route) : nullptr;
  if (replica == nullptr) return;
  const core::Log& log = replica->core().log();
  const LogIndex commit = replica->core().commit_index();
  const uint64_t bytes_max = std::min(request->bytes_max, kRangeBytesMax);
  const bool is_any = request->first > log.begin().index && request->first <= commit;
  if (!is_any || log.InTail(request->first)) {
    return SendRange(
        from.broker, request->route,
        is_any ? log.Slice(request->first, commit, bytes_max) : std::vector<core::Entry>());
  }
  environment_.log_store.Read(
      request->route.group, request->first, bytes_max,
      lifetime_.Guard([this, to = from.broker,
                       route = request->route](Result<std::vector<core::Entry>> entries) {
        // The begin may have passed it meanwhile: the answer tells so.
        const bool is_gone = entries.status().code() == Code::kOutOfRange;
        if (entries.ok() || is_gone) {
          return SendRange(to, route,
                           entries.ok() ? *std::move(entries) : std::vector<core::Entry>());
        }
        LOG_EVERY_T(WARNING, 10) << "cannot read entries for a replica that restores itself group="
                                 << route.group << " why=" << entries.status();
      }));
}

void PullSource::OnStateRequest(const BrokerIncarnation& from, const Bytes& body) {
  const Result<StateRequest> request = DecodeStateRequest(body);
  Replica* replica = request.ok() ? Find(request->route) : nullptr;
  if (replica == nullptr || !replica->apply_fault().ok()) return;
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
