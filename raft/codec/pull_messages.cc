#include "raft/codec/pull_messages.h"

#include <algorithm>
#include <string>
#include <utility>

#include <glog/logging.h>

#include "millrace/internal/v1/peer.pb.h"
#include "proto/frame/frame.h"
#include "raft/codec/entry_codec.h"

namespace millrace::raft {
namespace {

namespace wire = ::millrace::internal::v1;

void SetRoute(const PullRoute& route, wire::PullRoute* out) {
  out->set_group_id(route.group.value());
  out->set_source_number(route.source.value());
  out->set_puller_number(route.puller.value());
  out->set_request_id(route.request_id);
}

PullRoute RouteOf(const wire::PullRoute& in) {
  return {.group = RaftGroupId(in.group_id()),
          .source = ReplicaNumber(in.source_number()),
          .puller = ReplicaNumber(in.puller_number()),
          .request_id = in.request_id()};
}

void SetPoint(const core::LogPoint& point, wire::PulledPoint* out) {
  out->set_index(point.index.value());
  out->set_term(point.term.value());
  out->set_chain(point.chain);
  out->set_next_offset(point.next_offset.value());
}

core::LogPoint PointOf(const wire::PulledPoint& in) {
  return {.index = LogIndex(in.index()),
          .term = Term(in.term()),
          .chain = in.chain(),
          .next_offset = Offset(in.next_offset())};
}

template <typename Message>
Result<Message> Parse(const Bytes& bytes) {
  Message message;
  if (message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return message;
  return DataLoss("a message about restoring a replica cannot be read");
}

Result<std::vector<core::Entry>> DecodeEntries(RaftGroupId group, const Bytes& frames) {
  std::vector<core::Entry> entries;
  core::LogPoint end;
  size_t at = 0;
  while (at < frames.size()) {
    ASSIGN_OR_RETURN(core::Entry entry, DecodeStored(frames.Slice(at, frames.size() - at)));
    const FrameHeader header = entry.frame.header();
    if (header.group != group) return DataLoss("a range holds an entry of another group");
    if (!entries.empty()) {
      RETURN_IF_ERROR(CheckFollows(end, group, header).With("a range"));
    }
    end = EndAfter(header);
    at += entry.frame.size();
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace

Bytes Encode(const RangeRequest& request) {
  wire::RangeRequest out;
  SetRoute(request.route, out.mutable_route());
  out.set_first_index(request.first.value());
  out.set_bytes_max(static_cast<uint32_t>(std::min<uint64_t>(request.bytes_max, UINT32_MAX)));
  return Bytes::Own(out.SerializeAsString());
}

Bytes Encode(const RangeReply& reply) {
  wire::RangeReply out;
  SetRoute(reply.route, out.mutable_route());
  SetPoint(reply.begin, out.mutable_begin());
  out.set_commit_index(reply.commit.value());
  std::string& frames = *out.mutable_frames();
  for (const core::Entry& entry : reply.entries) frames += entry.frame.view();
  out.set_is_damaged(reply.is_damaged);
  out.set_pass(reply.compacted.pass);
  out.set_settled_pass(reply.compacted.settled);
  return Bytes::Own(out.SerializeAsString());
}

Bytes Encode(const StateRequest& request) {
  wire::StateRequest out;
  SetRoute(request.route, out.mutable_route());
  return Bytes::Own(out.SerializeAsString());
}

Bytes Encode(const StatePiece& piece) {
  wire::StatePiece out;
  SetRoute(piece.route, out.mutable_route());
  SetPoint(piece.at, out.mutable_at());
  CHECK(out.mutable_configuration()->ParseFromString(EncodeConfiguration(piece.configuration)));
  out.set_configuration_index(piece.configuration_index.value());
  out.set_size(piece.size);
  out.set_position(piece.position);
  out.set_piece(std::string(piece.piece.view()));
  return Bytes::Own(out.SerializeAsString());
}

Result<RangeRequest> DecodeRangeRequest(const Bytes& bytes) {
  ASSIGN_OR_RETURN(const auto in, Parse<wire::RangeRequest>(bytes));
  return RangeRequest{.route = RouteOf(in.route()),
                      .first = LogIndex(in.first_index()),
                      .bytes_max = in.bytes_max()};
}

Result<RangeReply> DecodeRangeReply(const Bytes& bytes) {
  ASSIGN_OR_RETURN(auto in, Parse<wire::RangeReply>(bytes));
  RangeReply reply{.route = RouteOf(in.route()),
                   .begin = PointOf(in.begin()),
                   .commit = LogIndex(in.commit_index()),
                   .entries = {},
                   .is_damaged = in.is_damaged(),
                   .compacted = {.pass = in.pass(), .settled = in.settled_pass()}};
  const Bytes frames = Bytes::Own(std::move(*in.mutable_frames()));
  ASSIGN_OR_RETURN(reply.entries, DecodeEntries(reply.route.group, frames));
  return reply;
}

Result<StateRequest> DecodeStateRequest(const Bytes& bytes) {
  ASSIGN_OR_RETURN(const auto in, Parse<wire::StateRequest>(bytes));
  return StateRequest{.route = RouteOf(in.route())};
}

Result<StatePiece> DecodeStatePiece(const Bytes& bytes) {
  ASSIGN_OR_RETURN(auto in, Parse<wire::StatePiece>(bytes));
  StatePiece piece{.route = RouteOf(in.route()),
                   .at = PointOf(in.at()),
                   .configuration = {},
                   .configuration_index = LogIndex(in.configuration_index()),
                   .size = in.size(),
                   .position = in.position(),
                   .piece = {}};
  ASSIGN_OR_RETURN(piece.configuration,
                   DecodeConfiguration(in.configuration().SerializeAsString()));
  piece.piece = Bytes::Own(std::move(*in.mutable_piece()));
  return piece;
}

}  // namespace millrace::raft
