#include "storage/segment/format.h"

#include <charconv>
#include <cstdio>
#include <cstring>

#include "proto/base/checksum.h"

namespace millrace::storage {

using journal::LogPoint;

namespace {

template <typename T>
uint32_t CrcOf(T value) {
  value.crc = 0;
  return Crc32c({reinterpret_cast<const char*>(&value), sizeof(value)});
}

constexpr std::string_view kSuffix = ".segment";

}  // namespace

std::string GroupDirectory(RaftGroupId group) { return "groups/" + std::to_string(group.value()); }

std::string SegmentDirectory(const SegmentFolder& folder) {
  return GroupDirectory(folder.group) + "/" + std::to_string(folder.number.value()) + "." +
         std::to_string(folder.generation);
}

std::string SegmentName(LogIndex first_index) {
  char name[40];
  std::snprintf(name, sizeof(name), "%020llu.segment",
                static_cast<unsigned long long>(first_index.value()));
  return name;
}

std::string SegmentPath(const SegmentFolder& folder, LogIndex first_index) {
  return SegmentDirectory(folder) + "/" + SegmentName(first_index);
}

std::string CheckpointPath(const SegmentFolder& folder) {
  return SegmentDirectory(folder) + "/checkpoint";
}

std::optional<SegmentFolder> ParseFolderName(RaftGroupId group, std::string_view name) {
  const char* const end = name.data() + name.size();
  uint32_t number = 0;
  const auto dot = std::from_chars(name.data(), end, number);
  if (dot.ec != std::errc() || dot.ptr == end || *dot.ptr != '.') return std::nullopt;
  SegmentFolder folder{.group = group, .number = ReplicaNumber(number)};
  const auto rest = std::from_chars(dot.ptr + 1, end, folder.generation);
  if (rest.ec != std::errc() || rest.ptr != end) return std::nullopt;
  // "01.0" and the like are nobody's.
  const std::string exact = SegmentDirectory(folder);
  if (!exact.ends_with("/" + std::string(name)) || number == 0) return std::nullopt;
  return folder;
}

std::optional<LogIndex> ParseSegmentName(std::string_view name) {
  constexpr size_t kDigits = 20;
  if (name.size() != kDigits + kSuffix.size() || !name.ends_with(kSuffix)) return std::nullopt;
  name.remove_suffix(kSuffix.size());
  uint64_t index = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
  if (error != std::errc() || end != name.data() + name.size() || index == 0) return std::nullopt;
  return LogIndex(index);
}

Bytes EncodeSegmentHeader(const SegmentFolder& folder, const LogPoint& before) {
  SegmentHeader header;
  header.group = folder.group.value();
  header.first_index = before.index.value() + 1;
  header.base_offset = static_cast<uint64_t>(before.next_offset.value());
  header.term_before = before.term.value();
  header.chain_before = before.chain;
  header.number = folder.number.value();
  header.crc = CrcOf(header);
  return Bytes::CopyOf({reinterpret_cast<const char*>(&header), sizeof(header)});
}

Status CheckSegmentHeader(std::string_view bytes, const SegmentFolder& folder,
                          const LogPoint& before) {
  SegmentHeader header;
  if (bytes.size() < sizeof(header)) return DataLoss("segment header is cut off");
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.magic != SegmentHeader().magic) return DataLoss("segment has a wrong magic number");
  if (header.crc != CrcOf(header)) return DataLoss("segment header checksum mismatch");
  const SegmentHeader ours;
  if (header.version != ours.version) {
    return Unimplemented("segment version " + std::to_string(header.version) +
                         " is of another build; this one knows version " +
                         std::to_string(ours.version));
  }
  if (header.group != folder.group.value() || header.first_index != before.index.value() + 1) {
    return DataLoss("segment is another group's or begins at another index");
  }
  if (header.number != folder.number.value()) {
    return DataLoss("segment is of replica " + std::to_string(header.number) + " instead of " +
                    std::to_string(folder.number.value()));
  }
  if (header.pass != 0 || header.key_id != 0) {
    return Unimplemented("segment of pass " + std::to_string(header.pass) + " and key " +
                         std::to_string(header.key_id) +
                         " is of another build; this one neither rewrites nor encrypts");
  }
  if (header.base_offset != static_cast<uint64_t>(before.next_offset.value()) ||
      header.term_before != before.term.value() || header.chain_before != before.chain) {
    return DataLoss("segment does not follow on what is before it");
  }
  return {};
}

Result<LogPoint> ParseSegmentHeader(std::string_view bytes, const SegmentFolder& folder,
                                    LogIndex first_index) {
  SegmentHeader header;
  if (bytes.size() >= sizeof(header)) std::memcpy(&header, bytes.data(), sizeof(header));
  const LogPoint stated{.index = first_index - 1,
                        .term = Term(header.term_before),
                        .chain = header.chain_before,
                        .next_offset = Offset(static_cast<int64_t>(header.base_offset))};
  RETURN_IF_ERROR(CheckSegmentHeader(bytes, folder, stated));
  return stated;
}

bool MayFollowFrames(std::string_view bytes) {
  return bytes.empty() || (bytes.front() != '\0' && !bytes.starts_with(kFrameMagicBytes));
}

std::vector<Bytes> EncodeSegmentEnding(internal::v1::SegmentFooter footer, uint64_t frames_end,
                                       const std::optional<Bytes>& state) {
  if (state.has_value()) {
    footer.set_state_size(state->size());
    footer.set_state_crc(Crc32c(state->view()));
  }
  std::string ending = footer.SerializeAsString();
  SegmentTrailer trailer;
  trailer.footer_size = static_cast<uint32_t>(ending.size());
  trailer.footer_crc = Crc32c(ending);
  trailer.frames_end = frames_end;
  trailer.crc = CrcOf(trailer);
  ending.append(reinterpret_cast<const char*>(&trailer), sizeof(trailer));
  std::vector<Bytes> pieces;
  if (state.has_value() && !state->empty()) pieces.push_back(*state);
  pieces.push_back(Bytes::Own(std::move(ending)));
  return pieces;
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

Result<internal::v1::SegmentFooter> ParseSegmentFooter(std::string_view bytes,
                                                       const SegmentTrailer& trailer,
                                                       uint64_t footer_at,
                                                       const SegmentFolder& folder,
                                                       LogIndex first_index) {
  if (bytes.size() != trailer.footer_size) return DataLoss("segment footer is cut off");
  if (Crc32c(bytes) != trailer.footer_crc) return DataLoss("segment footer checksum mismatch");
  internal::v1::SegmentFooter footer;
  if (!footer.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return DataLoss("segment footer can't be parsed");
  }
  if (footer.group_id() != folder.group.value() || footer.first_index() != first_index.value() ||
      footer.number() != folder.number.value() || footer.last_index() < footer.first_index()) {
    return DataLoss("segment footer is another segment's");
  }
  if (footer_at < trailer.frames_end || footer_at - trailer.frames_end != footer.state_size()) {
    return DataLoss("segment footer does not stand where its state ends");
  }
  return footer;
}

}  // namespace millrace::storage
