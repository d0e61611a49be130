#include "storage/segment/format.h"

#include <charconv>
#include <cstdio>
#include <cstring>

#include "proto/base/checksum.h"
#include "proto/frame/frame.h"

namespace millrace::storage {
namespace {

template <typename T>
uint32_t CrcOf(T value) {
  value.crc = 0;
  return Crc32c({reinterpret_cast<const char*>(&value), sizeof(value)});
}

constexpr std::string_view kSuffix = ".segment";

raft::core::EntryType TypeOf(FrameType type) {
  if (type == FrameType::kNoOp) return raft::core::EntryType::kNoOp;
  if (type == FrameType::kConfiguration) return raft::core::EntryType::kConfiguration;
  return raft::core::EntryType::kCommand;
}

}  // namespace

std::string SegmentDirectory(RaftGroupId group) {
  return "groups/" + std::to_string(group.value());
}

std::string SegmentPath(RaftGroupId group, LogIndex first_index) {
  char name[40];
  std::snprintf(name, sizeof(name), "/%020llu.segment",
                static_cast<unsigned long long>(first_index.value()));
  return SegmentDirectory(group) + name;
}

std::optional<LogIndex> ParseSegmentName(std::string_view name) {
  if (!name.ends_with(kSuffix)) return std::nullopt;
  name.remove_suffix(kSuffix.size());
  uint64_t index = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return LogIndex(index);
}

Bytes EncodeSegmentHeader(RaftGroupId group, LogIndex first_index) {
  SegmentHeader header;
  header.group = group.value();
  header.first_index = first_index.value();
  header.crc = CrcOf(header);
  return Bytes::CopyOf({reinterpret_cast<const char*>(&header), sizeof(header)});
}

Status CheckSegmentHeader(std::string_view bytes, RaftGroupId group, LogIndex first_index) {
  SegmentHeader header;
  if (bytes.size() < sizeof(header)) return DataLoss("segment header is cut off");
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.magic != SegmentHeader().magic) return DataLoss("segment has a wrong magic number");
  if (header.crc != CrcOf(header)) return DataLoss("segment header checksum mismatch");
  if (header.version != 1) return DataLoss("segment version is not known");
  if (header.group != group.value() || header.first_index != first_index.value()) {
    return DataLoss("segment is another group's or begins at another index");
  }
  return {};
}

Bytes EncodeSegmentEnding(const internal::v1::SegmentFooter& footer, uint64_t frames_end) {
  std::string ending = footer.SerializeAsString();
  SegmentTrailer trailer;
  trailer.footer_size = static_cast<uint32_t>(ending.size());
  trailer.footer_crc = Crc32c(ending);
  trailer.frames_end = frames_end;
  trailer.crc = CrcOf(trailer);
  ending.append(reinterpret_cast<const char*>(&trailer), sizeof(trailer));
  return Bytes::Own(std::move(ending));
}

std::optional<SegmentTrailer> ParseSegmentTrailer(std::string_view bytes) {
  if (bytes.size() < sizeof(SegmentTrailer)) return std::nullopt;
  SegmentTrailer trailer;
  std::memcpy(&trailer, bytes.data() + bytes.size() - sizeof(trailer), sizeof(trailer));
  if (trailer.magic != SegmentTrailer().magic || trailer.crc != CrcOf(trailer)) {
    return std::nullopt;
  }
  return trailer;
}

Result<raft::core::Entry> ParseEntry(const Bytes& bytes) {
  ASSIGN_OR_RETURN(const FrameHeader header, ParseFrame(bytes.view()));
  return raft::core::Entry{.term = header.term,
                           .index = header.index,
                           .type = TypeOf(header.type),
                           .chain = header.chain,
                           .frame = bytes.Slice(0, FrameSize(header.payload_size)),
                           .configuration = nullptr};
}

}  // namespace millrace::storage
