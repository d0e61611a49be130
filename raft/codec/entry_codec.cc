#include "raft/codec/entry_codec.h"

#include <memory>
#include <utility>
#include <vector>

#include "millrace/internal/v1/peer.pb.h"
#include "raft/core/gap_entry.h"

namespace millrace::raft {
namespace {

namespace wire = ::millrace::internal::v1;
using VoterFields = google::protobuf::RepeatedPtrField<wire::RaftVoter>;

Result<core::EntryType> EntryTypeOf(const FrameHeader& header) {
  if (!IsLogEntry(header.type)) {
    if (header.type == FrameType::kGap) {
      RETURN_IF_ERROR(CheckGap(header));
      return core::EntryType::kGap;
    }
    return DataLoss("frame type " + std::to_string(static_cast<int>(header.type)) +
                    " is no log entry");
  }
  if (!IsUnderstood(header)) {
    // A configuration works from the moment that it is appended, understood or not.
    if (header.type != FrameType::kConfiguration) return core::EntryType::kUnknown;
    return NotUnderstood(header);
  }
  if (header.type == FrameType::kNoOp) return core::EntryType::kNoOp;
  if (header.type == FrameType::kConfiguration) return core::EntryType::kConfiguration;
  return core::EntryType::kCommand;
}

void AddVoters(const std::vector<Voter>& voters, VoterFields* out) {
  for (const Voter& voter : voters) {
    wire::RaftVoter* added = out->Add();
    added->set_broker_id(voter.broker.value());
    added->set_incarnation(voter.incarnation.value());
    added->set_number(voter.number.value());
  }
}

std::vector<Voter> ReadVoters(const VoterFields& in) {
  std::vector<Voter> voters;
  for (const wire::RaftVoter& voter : in) {
    voters.push_back({BrokerId(voter.broker_id()), Incarnation(voter.incarnation()),
                      ReplicaNumber(voter.number())});
  }
  return voters;
}

// Rare, and kept out of the way of all other entries.
Status ReadConfiguration(core::Entry* entry) {
  const Bytes payload = entry->frame.payload();
  ASSIGN_OR_RETURN(core::Configuration configuration, DecodeConfiguration(payload.view()));
  entry->configuration = std::make_shared<const core::Configuration>(std::move(configuration));
  return {};
}

// The frame that `bytes` begin with.
Result<Frame> FirstFrame(const Bytes& bytes) {
  ASSIGN_OR_RETURN(const FrameHeader header, ParseFrameHeader(bytes.view()));
  const size_t size = FrameSize(header.payload_size);
  if (bytes.size() < size) return FrameIsCutOff(bytes.size(), size);
  return Frame::OfChecked(bytes.Slice(0, size));
}

Result<core::Entry> EntryOf(const FrameHeader& header, Frame frame) {
  ASSIGN_OR_RETURN(const core::EntryType type, EntryTypeOf(header));
  core::Entry entry{.term = header.term,
                    .index = header.index,
                    .type = type,
                    .chain = header.chain,
                    .frame = std::move(frame),
                    .configuration = nullptr};
  if (type == core::EntryType::kConfiguration) RETURN_IF_ERROR(ReadConfiguration(&entry));
  return entry;
}

// Pre: IsRewritten(header).
Status NotWhole(const FrameHeader& header) {
  return DataLoss("what compaction left of entry " + std::to_string(header.index.value()) +
                  " is no log entry");
}

// ... whose payload and padding are looked at.
Result<core::Entry> CheckedEntry(const FrameHeader& header, Frame frame) {
  RETURN_IF_ERROR(frame.CheckPayload());
  const std::string_view padding = frame.view().substr(kFrameHeaderSize + header.payload_size);
  if (padding.find_first_not_of('\0') != std::string_view::npos) {
    return DataLoss("frame has padding that is not zero");
  }
  return EntryOf(header, std::move(frame));
}

// The rest of a gap behind `end`, and of that what lies up to `limit`.
core::Entry CutGap(const core::LogPoint& end, const core::LogPoint& limit,
                   const FrameHeader& header) {
  const core::LogPoint gap_end = EndAfter(header);
  const core::LogPoint last = gap_end.index > limit.index ? limit : gap_end;
  return core::GapEntry({
      .group = header.group,
      .term = header.term,
      .first = end.index + 1,
      .last = last.index,
      .base_offset = end.next_offset,
      .offset_span = static_cast<uint32_t>(last.next_offset - end.next_offset),
      .append_time_ms = header.append_time_ms,
      .chain = last.chain,
  });
}

}  // namespace

Result<core::Entry> DecodeEntry(const Bytes& bytes) {
  ASSIGN_OR_RETURN(Frame frame, FirstFrame(bytes));
  return DecodeEntry(std::move(frame));
}

Result<core::Entry> DecodeEntry(Frame frame) {
  const FrameHeader header = frame.header();
  if (IsRewritten(header)) return NotWhole(header);
  return CheckedEntry(header, std::move(frame));
}

Result<core::Entry> DecodeStored(const Bytes& bytes) {
  ASSIGN_OR_RETURN(Frame frame, FirstFrame(bytes));
  return DecodeStored(std::move(frame));
}

Result<core::Entry> DecodeStored(Frame frame) {
  const FrameHeader header = frame.header();
  return CheckedEntry(header, std::move(frame));
}

Result<core::Entry> MakeEntry(const FrameHeader& header, Frame frame) {
  if (IsRewritten(header)) return NotWhole(header);
  return EntryOf(header, std::move(frame));
}

Status CheckFollows(const core::LogPoint& end, RaftGroupId group, const FrameHeader& header) {
  if (header.group != group) {
    return DataLoss("the entry is of group " + std::to_string(header.group.value()));
  }
  if (header.index != end.index + 1 || header.term < end.term) {
    return DataLoss("entry " + std::to_string(header.index.value()) + " of term " +
                    std::to_string(header.term.value()) + " does not follow entry " +
                    std::to_string(end.index.value()) + " of term " +
                    std::to_string(end.term.value()));
  }
  if (header.base_offset != end.next_offset) {
    return DataLoss("entry " + std::to_string(header.index.value()) + " begins at offset " +
                    std::to_string(header.base_offset.value()) + " instead of " +
                    std::to_string(end.next_offset.value()));
  }
  if (header.type == FrameType::kGap) return CheckGap(header);
  if (header.chain != FrameChain(end.chain, header)) {
    return DataLoss("the chain is broken at entry " + std::to_string(header.index.value()));
  }
  return {};
}

core::LogPoint EndAfter(const FrameHeader& header) {
  return {.index = LastIndexOf(header),
          .term = header.term,
          .chain = header.chain,
          .next_offset = header.base_offset + header.offset_span};
}

std::vector<core::Entry> FitBetween(const core::LogPoint& end, const core::LogPoint& limit,
                                    std::vector<core::Entry> entries) {
  std::vector<core::Entry> fitting;
  core::LogPoint reached = end;
  for (core::Entry& entry : entries) {
    const FrameHeader header = entry.frame.header();
    if (LastIndexOf(header) <= end.index || entry.index > limit.index) continue;
    const bool is_cut = entry.type == core::EntryType::kGap &&
                        (entry.index <= end.index || LastIndexOf(header) > limit.index);
    fitting.push_back(is_cut ? CutGap(reached, limit, header) : std::move(entry));
    reached = EndAfter(fitting.back().frame.header());
  }
  return fitting;
}

std::string EncodeConfiguration(const core::Configuration& configuration) {
  wire::RaftConfiguration out;
  AddVoters(configuration.voters, out.mutable_voters());
  AddVoters(configuration.outgoing, out.mutable_outgoing());
  AddVoters(configuration.learners, out.mutable_learners());
  return out.SerializeAsString();
}

Result<core::Configuration> DecodeConfiguration(std::string_view payload) {
  wire::RaftConfiguration in;
  if (!in.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) {
    return DataLoss("configuration entry does not parse");
  }
  core::Configuration configuration;
  configuration.voters = ReadVoters(in.voters());
  configuration.outgoing = ReadVoters(in.outgoing());
  configuration.learners = ReadVoters(in.learners());
  if (const Status flaw = core::CheckConfiguration(configuration); !flaw.ok()) {
    return DataLoss("configuration entry holds " + std::string(flaw.message()));
  }
  return configuration;
}

}  // namespace millrace::raft
