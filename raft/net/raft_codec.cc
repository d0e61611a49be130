#include "raft/net/raft_codec.h"

#include <string>
#include <utility>
#include <variant>

#include <glog/logging.h>

#include "proto/frame/frame.h"
#include "raft/codec/entry_codec.h"

namespace millrace::raft::net {
namespace {

// Fills the one message of the oneof that fits each of core's structs.
struct MessageEncoder {
  wire::GroupMessage* out;

  void operator()(const core::VoteRequest& message) const {
    auto* vote = out->mutable_vote_request();
    vote->set_term(message.term.value());
    vote->set_is_pre_vote(message.is_pre_vote);
    vote->set_last_log_term(message.last_log_term.value());
    vote->set_last_log_index(message.last_log_index.value());
    vote->set_is_transfer(message.is_transfer);
  }
  void operator()(const core::VoteReply& message) const {
    auto* reply = out->mutable_vote_reply();
    reply->set_term(message.term.value());
    reply->set_is_pre_vote(message.is_pre_vote);
    reply->set_granted(message.granted);
  }
  void operator()(const core::AppendRequest&) const {
    LOG(FATAL) << "an AppendRequest has a frame of its own";
  }
  void operator()(const core::AppendReply& message) const {
    auto* reply = out->mutable_append_reply();
    reply->set_term(message.term.value());
    reply->set_success(message.success);
    reply->set_index(message.index.value());
    reply->set_hint_index(message.hint_index.value());
    reply->set_hint_term(message.hint_term.value());
    reply->set_pass(message.pass);
  }
  void operator()(const core::Heartbeat& message) const {
    auto* heartbeat = out->mutable_heartbeat();
    heartbeat->set_term(message.term.value());
    heartbeat->set_commit_index(message.commit_index.value());
    heartbeat->set_round(message.round);
  }
  void operator()(const core::HeartbeatReply& message) const {
    auto* reply = out->mutable_heartbeat_reply();
    reply->set_term(message.term.value());
    reply->set_round(message.round);
  }
  void operator()(const core::Behind& message) const {
    auto* behind = out->mutable_behind();
    behind->set_term(message.term.value());
    behind->set_begin_index(message.begin.value());
  }
};

core::VoteRequest Decode(const wire::VoteRequest& in) {
  return {.term = Term(in.term()),
          .is_pre_vote = in.is_pre_vote(),
          .last_log_term = Term(in.last_log_term()),
          .last_log_index = LogIndex(in.last_log_index()),
          .is_transfer = in.is_transfer()};
}

core::VoteReply Decode(const wire::VoteReply& in) {
  return {.term = Term(in.term()), .is_pre_vote = in.is_pre_vote(), .granted = in.granted()};
}

core::AppendReply Decode(const wire::AppendReply& in) {
  return {.term = Term(in.term()),
          .success = in.success(),
          .index = LogIndex(in.index()),
          .hint_index = LogIndex(in.hint_index()),
          .hint_term = Term(in.hint_term()),
          .pass = in.pass()};
}

core::Heartbeat Decode(const wire::Heartbeat& in) {
  return {
      .term = Term(in.term()), .commit_index = LogIndex(in.commit_index()), .round = in.round()};
}

core::HeartbeatReply Decode(const wire::HeartbeatReply& in) {
  return {.term = Term(in.term()), .round = in.round()};
}

core::Behind Decode(const wire::Behind& in) {
  return {.term = Term(in.term()), .begin = LogIndex(in.begin_index())};
}

}  // namespace

void EncodeGroupMessage(const RaftRoute& route, const core::Message& message,
                        wire::GroupMessage* out) {
  out->set_group_id(route.group.value());
  out->set_receiver_number(route.to.number.value());
  out->set_sender_number(route.from.value());
  std::visit(MessageEncoder{out}, message);
}

Result<core::Message> DecodeGroupMessage(const wire::GroupMessage& in) {
  switch (in.message_case()) {
    case wire::GroupMessage::kVoteRequest:
      return core::Message(Decode(in.vote_request()));
    case wire::GroupMessage::kVoteReply:
      return core::Message(Decode(in.vote_reply()));
    case wire::GroupMessage::kAppendReply:
      return core::Message(Decode(in.append_reply()));
    case wire::GroupMessage::kHeartbeat:
      return core::Message(Decode(in.heartbeat()));
    case wire::GroupMessage::kHeartbeatReply:
      return core::Message(Decode(in.heartbeat_reply()));
    case wire::GroupMessage::kBehind:
      return core::Message(Decode(in.behind()));
    case wire::GroupMessage::MESSAGE_NOT_SET:
      break;
  }
  return Unimplemented("a raft message of unknown kind");
}

wire::GroupAppend EncodeGroupAppend(const RaftRoute& route, const core::AppendRequest& append,
                                    std::vector<Bytes>* body) {
  wire::GroupAppend out;
  out.set_group_id(route.group.value());
  out.set_receiver_number(route.to.number.value());
  out.set_sender_number(route.from.value());
  wire::AppendRequest* request = out.mutable_append();
  request->set_term(append.term.value());
  request->set_prev_index(append.prev_index.value());
  request->set_prev_term(append.prev_term.value());
  request->set_commit_index(append.commit_index.value());
  request->set_entry_count(static_cast<uint32_t>(append.entries.size()));
  request->set_log_start_offset(append.log_start.value());
  for (const core::Entry& entry : append.entries) body->push_back(entry.frame.bytes());
  return out;
}

Result<core::AppendRequest> DecodeGroupAppend(const wire::GroupAppend& in, const Bytes& body) {
  const wire::AppendRequest& request = in.append();
  core::AppendRequest append{.term = Term(request.term()),
                             .prev_index = LogIndex(request.prev_index()),
                             .prev_term = Term(request.prev_term()),
                             .commit_index = LogIndex(request.commit_index()),
                             .entries = {},
                             .log_start = Offset(request.log_start_offset())};
  const uint32_t count = request.entry_count();
  if (count > body.size() / kFrameHeaderSize)
    return DataLoss("append has too few bytes of entries");
  append.entries.reserve(count);
  size_t at = 0;
  Term term_before = append.prev_term;
  for (uint32_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(const FrameHeader header, ParseFrame(body.view().substr(at)));
    const LogIndex expected = append.prev_index + (uint64_t{i} + 1);
    if (header.group.value() != in.group_id() || header.index != expected) {
      return DataLoss("append to group " + std::to_string(in.group_id()) + " at index " +
                      std::to_string(expected.value()) + " holds an entry of group " +
                      std::to_string(header.group.value()) + " at index " +
                      std::to_string(header.index.value()));
    }
    if (header.term < term_before || header.term > append.term) {
      return DataLoss("append holds an entry of a term out of order");
    }
    if (i > 0 && FrameChain(append.entries.back().chain, header) != header.chain) {
      return DataLoss("append holds an entry that breaks the chain");
    }
    term_before = header.term;
    const size_t size = FrameSize(header.payload_size);
    ASSIGN_OR_RETURN(core::Entry entry, MakeEntry(header, Frame::OfChecked(body.Slice(at, size))));
    append.entries.push_back(std::move(entry));
    at += size;
  }
  if (at != body.size()) return DataLoss("append has bytes behind its last entry");
  return append;
}

}  // namespace millrace::raft::net
